# Extraction: what a model holds in its layers for each sample, as one shard of a trace.
# A model's own rule, in models/, inherits from this one; this one never runs by itself.
rule extract:
    input:
        manifest="results/datasets/{dataset}/manifest.parquet",
        gate="results/models/{model}/gate.json",
        forms="results/models/{model}/forms.parquet",
        weights=catalog.weights,
    output:
        multiext(
            "results/traces/{model}/{dataset}/{shard}/",
            samples="samples.parquet",
            trajectory="trajectory.parquet",
            heads="heads.parquet",
            lenses="lenses.parquet",
            floors="floors.parquet",
            provenance="provenance.json",
        ),
    log:
        "logs/extract/{model}-{dataset}-{shard}.log",
    benchmark:
        "logs/benchmarks/{model}-{dataset}-{shard}.tsv"
    wildcard_constraints:
        # No name matches this: a model's rule puts its own here.
        model="(?!)",
    conda:
        ENVIRONMENT
    threads: 1
    params:
        source="",
        revision="",
        task="",
        # How a large model is laid on GPUs ("auto"), and in how many bits ("8bit", "4bit").
        device_map="",
        quantization="",
        # How it is asked (Jinja), if its own files don't say.
        chat_template="",
        commit=catalog.revision,
        options=catalog.options(
            config["extraction"],
            seed=config["seed"],
        ),
        code=code_version("extract"),
    message:
        "extract {wildcards.model} on {wildcards.dataset}, shard {wildcards.shard}"
    shell:
        "python -m lensbench extract {wildcards.model} --source {params.source:q} --revision {params.commit:q}"
        " --dataset $(dirname {input.manifest}) --model-folder $(dirname {input.gate})"
        " --shard {wildcards.shard} --options {params.options:q} --out $(dirname {output.samples})"
        " 2>&1 | tee {log} >&2"
