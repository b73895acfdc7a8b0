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
        gpu_model=catalog.resource("gpu_model"),
        mem_mb=catalog.resource("mem_mb"),
        runtime=catalog.resource("runtime"),
    params:
        source=catalog.source,
        weights=catalog.digest,
        commit=catalog.revision,
        gpus=gpus_of_job,
        options=catalog.options(
            as_one_shard(config["extraction"]),
            seed=config["seed"],
            samples=config["closeups"]["n"],
            patches=True,
            words=True,
            attention=True,
        ),
        code=code_version("extract"),
    message:
        "closeup of {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench closeup {wildcards.model} --source {params.source:q} --revision={params.commit:q}"
        " --dataset $(dirname {input.manifest}) --model-folder $(dirname {input.gate})"
        " --options {params.options:q} --code {params.code} --gpus {params.gpus}"
        " --out $(dirname {output.samples})"
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
        expand(
            "results/variants/{{model}}/{{dataset}}/{picture}/provenance.json",
            picture=PICTURES,
        ),
    log:
        "logs/variants/{model}-{dataset}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=catalog.resource("gpu"),
        gpu_model=catalog.resource("gpu_model"),
        mem_mb=catalog.resource("mem_mb"),
        runtime=catalog.resource("runtime"),
    params:
        source=catalog.source,
        weights=catalog.digest,
        commit=catalog.revision,
        gpus=gpus_of_job,
        pictures=PICTURES,
        options=catalog.options(
            as_one_shard(config["extraction"]),
            seed=config["seed"],
            samples=config["variants"]["n"],
            patches=False,
        ),
        code=code_version("extract"),
    message:
        "other pictures for {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench variants {wildcards.model} --source {params.source:q} --revision={params.commit:q}"
        " --dataset $(dirname {input.manifest}) --model-folder $(dirname {input.gate})"
        " $(printf -- '--picture %s ' {params.pictures}) --options {params.options:q}"
        " --code {params.code} --gpus {params.gpus} --out results/variants/{wildcards.model}/{wildcards.dataset}"
        " 2>&1 | tee {log} >&2"


# Image heads switched off, and as many random others, one group at a time.
rule ablate:
    input:
        manifest="results/datasets/{dataset}/manifest.parquet",
        gate="results/models/{model}/gate.json",
        forms="results/models/{model}/forms.parquet",
        heads="results/metrics/{model}/{dataset}/heads.parquet",
        stages="results/metrics/{model}/{dataset}/stages.parquet",
        weights=catalog.weights,
    output:
        "results/ablations/{model}/{dataset}.parquet",
    log:
        "logs/ablations/{model}-{dataset}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=catalog.resource("gpu"),
        gpu_model=catalog.resource("gpu_model"),
        mem_mb=catalog.resource("mem_mb"),
        runtime=catalog.resource("runtime"),
    params:
        source=catalog.source,
        weights=catalog.digest,
        commit=catalog.revision,
        gpus=gpus_of_job,
        options=catalog.options(
            {
                key: config["extraction"][key]
                for key in (
                    "batch_size",
                    "batch_positions",
                    "workers",
                    "dtype",
                    "device",
                    "date",
                )
            },
            seed=config["seed"],
            samples=config["ablation"]["n"],
            randoms=config["ablation"]["random_groups"],
        ),
        code=code_version("ablate"),
    message:
        "heads of {wildcards.model} switched off on {wildcards.dataset}"
    shell:
        "python -m lensbench ablate {wildcards.model} --source {params.source:q} --revision={params.commit:q}"
        " --dataset $(dirname {input.manifest}) --model-folder $(dirname {input.gate})"
        " --heads {input.heads} --stages {input.stages} --options {params.options:q}"
        " --gpus {params.gpus} --out {output}"
        " 2>&1 | tee {log} >&2"


rule patch_metrics:
    input:
        closeup=expand(
            "results/closeups/{{model}}/{{dataset}}/{table}.parquet",
            table=["samples", "patches"],
        ),
        vocabulary="results/models/{model}/vocabulary.parquet",
        forms="results/models/{model}/forms.parquet",
        manifest="results/datasets/{dataset}/manifest.parquet",
    output:
        expand(
            "results/studies/{{model}}/{{dataset}}/{table}.parquet", table=PATCH_TABLES
        ),
    log:
        "logs/studies/patches-{model}-{dataset}.log",
    wildcard_constraints:
        model=OF_A_RUN,
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        options=options(
            seed=config["seed"],
            resamples=config["metrics"]["resamples"],
            confidence=config["metrics"]["confidence"],
        ),
        code=code_version("metrics"),
    message:
        "what every patch says to {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench patch-metrics $(dirname {input.closeup} | sort -u)"
        " --model-folder $(dirname {input.forms}) --manifest $(dirname {input.manifest})"
        " --options {params.options:q} --out $(dirname {output} | sort -u)"
        " 2>&1 | tee {log} >&2"


rule variant_metrics:
    input:
        traces=rules.variants.output,
        vocabulary="results/models/{model}/vocabulary.parquet",
        forms="results/models/{model}/forms.parquet",
    output:
        expand(
            "results/studies/{{model}}/{{dataset}}/{table}.parquet",
            table=VARIANT_TABLES,
        ),
    log:
        "logs/studies/variants-{model}-{dataset}.log",
    wildcard_constraints:
        model=OF_A_RUN,
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        options=options(
            config["metrics"],
            seed=config["seed"],
            max_rejected=config["max_rejected"],
        ),
        code=code_version("metrics"),
    message:
        "other pictures held against the native ones, {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench variant-metrics $(dirname {input.traces} | sort -u)"
        " --model-folder $(dirname {input.forms}) --options {params.options:q}"
        " --out $(dirname {output} | sort -u) 2>&1 | tee {log} >&2"


rule ablation_metrics:
    input:
        rules.ablate.output,
    output:
        expand(
            "results/studies/{{model}}/{{dataset}}/{table}.parquet",
            table=ABLATION_TABLES,
        ),
    log:
        "logs/studies/ablations-{model}-{dataset}.log",
    wildcard_constraints:
        model=OF_A_RUN,
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        options=options(config["metrics"], seed=config["seed"]),
        code=code_version("metrics"),
    message:
        "image heads held against random others, {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench ablation-metrics {input} --options {params.options:q}"
        " --out $(dirname {output} | sort -u) 2>&1 | tee {log} >&2"


# A lens that somebody else made, named by the configuration.
rule import_lens:
    output:
        multiext(
            "results/imported/{lens}/",
            samples="samples.parquet",
            patches="patches.parquet",
            words="words.parquet",
            vocabulary="vocabulary.parquet",
            provenance="provenance.json",
        ),
    log:
        "logs/imported/{lens}.log",
    wildcard_constraints:
        lens="|".join(imports.names) or "(?!)",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=5000,
        runtime=30,
    params:
        file=imports.file,
        picture=imports.option,
        digests=imports.digests,
        code=code_version("import"),
    message:
        "import {wildcards.lens}"
    shell:
        "python -m lensbench import-patch-lens {params.file:q} {params.picture}"
        " --out $(dirname {output.samples}) 2>&1 | tee {log} >&2"


rule patch_metrics_imported:
    input:
        samples="results/imported/{lens}/samples.parquet",
        patches="results/imported/{lens}/patches.parquet",
        vocabulary="results/imported/{lens}/vocabulary.parquet",
    output:
        expand("results/studies/imported/{{lens}}/{table}.parquet", table=PATCH_TABLES),
    log:
        "logs/studies/imported-{lens}.log",
    wildcard_constraints:
        lens="|".join(imports.names) or "(?!)",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        options=options(
            seed=config["seed"],
            resamples=config["metrics"]["resamples"],
            confidence=config["metrics"]["confidence"],
        ),
        code=code_version("metrics"),
    message:
        "what every patch of {wildcards.lens} says"
    shell:
        "python -m lensbench patch-metrics $(dirname {input.samples}) --options {params.options:q}"
        " --out $(dirname {output} | sort -u) 2>&1 | tee {log} >&2"


rule collect_studies:
    input:
        expand(
            "results/studies/{run.model}/{run.dataset}/{table}.parquet",
            run=PICTURED,
            table=PATCH_TABLES,
        ),
        expand(
            "results/studies/{run.model}/{run.dataset}/{table}.parquet",
            run=VARIED,
            table=VARIANT_TABLES,
        ),
        expand(
            "results/studies/{run.model}/{run.dataset}/{table}.parquet",
            run=ABLATED,
            table=ABLATION_TABLES,
        ),
        expand(
            "results/studies/imported/{lens}/{table}.parquet",
            lens=imports.names,
            table=PATCH_TABLES,
        ),
    output:
        expand("results/metrics/{table}.csv", table=STUDY_TABLES),
    log:
        "logs/studies/collect.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        folders=folders_of,
        code=code_version("metrics"),
    message:
        "tables of all studies"
    shell:
        "python -m lensbench collect-studies {params.folders} --out $(dirname {output} | sort -u)"
        " 2>&1 | tee {log} >&2"
