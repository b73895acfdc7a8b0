# Studies: what single samples hold at every position, other pictures, and heads switched off.


# A few samples of each run, read at every position: for the explorer and the study of patches.
rule closeup:
    input:
        manifest="results/datasets/{dataset}/manifest.parquet",
        gate="results/models/{model}/gate.json",
        forms="results/models/{model}/forms.parquet",
        weights=catalog.weights,
    output:
        multiext(
            "results/closeups/{model}/{dataset}/",
            samples="samples.parquet",
            trajectory="trajectory.parquet",
            heads="heads.parquet",
            lenses="lenses.parquet",
            floors="floors.parquet",
            patches="patches.parquet",
            words="words.parquet",
            attention="attention.parquet",
            provenance="provenance.json",
        ),
    log:
        "logs/closeups/{model}-{dataset}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=catalog.resource("gpu"),
        mem_mb=catalog.resource("mem_mb"),
        runtime=catalog.resource("runtime"),
    params:
        source=catalog.source,
        commit=catalog.revision,
        options=catalog.options(
            config["extraction"],
            seed=config["seed"],
            shards=1,
            samples=config["closeups"]["n"],
            patches=True,
            words=True,
            attention=True,
        ),
        code=code_version("extract"),
    message:
        "closeup of {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench extract {wildcards.model} --source {params.source:q} --revision {params.commit:q}"
        " --dataset $(dirname {input.manifest}) --model-folder $(dirname {input.gate})"
        " --shard 0 --options {params.options:q} --out $(dirname {output.samples})"
        " 2>&1 | tee {log} >&2"


# The same questions with the pictures in other sizes, and with none worth the name.
rule variants:
    input:
        manifest="results/datasets/{dataset}/manifest.parquet",
        gate="results/models/{model}/gate.json",
        forms="results/models/{model}/forms.parquet",
        weights=catalog.weights,
    output:
        expand(
            "results/variants/{{model}}/{{dataset}}/{picture}/{table}.parquet",
            picture=PICTURES,
            table=["samples", "trajectory", "heads", "lenses", "floors"],
        ),
    log:
        "logs/variants/{model}-{dataset}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=catalog.resource("gpu"),
        mem_mb=catalog.resource("mem_mb"),
        runtime=catalog.resource("runtime"),
    params:
        source=catalog.source,
        commit=catalog.revision,
        pictures=PICTURES,
        options=catalog.options(
            config["extraction"],
            seed=config["seed"],
            shards=1,
            samples=config["variants"]["n"],
            patches=False,
        ),
        code=code_version("extract"),
    message:
        "other pictures for {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench variants {wildcards.model} --source {params.source:q} --revision {params.commit:q}"
        " --dataset $(dirname {input.manifest}) --model-folder $(dirname {input.gate})"
        " $(printf -- '--picture %s ' {params.pictures}) --options {params.options:q}"
        " --out results/variants/{wildcards.model}/{wildcards.dataset}"
        " 2>&1 | tee {log} >&2"
