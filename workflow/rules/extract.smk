# Extraction: what a model holds in its layers for each sample, as shards of a trace.
# A model's own rule, in models/, inherits from this one; this one never runs by itself.
rule extract:
    input:
        manifest="results/datasets/{dataset}/manifest.parquet",
        gate="results/models/{model}/gate.json",
        forms="results/models/{model}/forms.parquet",
        weights=catalog.weights,
    output:
        # Its shards lie beside it and are no outputs: of a job that fails snakemake removes these,
        # and the next one shall find the shards that are whole.
        "results/traces/{model}/{dataset}/parts/{part}.json",
    log:
        "logs/extract/{model}-{dataset}-{part}.log",
    benchmark:
        "logs/benchmarks/{model}-{dataset}-{part}.tsv"
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
        weights=catalog.digest,
        n_shards=cut.n_shards,
        gpus=gpus_of_job,
        options=catalog.options(
            config["extraction"],
            seed=config["seed"],
        ),
        code=code_version("extract"),
    message:
        "extract {wildcards.model} on {wildcards.dataset}, part {wildcards.part}"
    shell:
        "python -m lensbench extract {wildcards.model} --source {params.source:q} --revision={params.commit:q}"
        " --dataset $(dirname {input.manifest}) --model-folder $(dirname {input.gate})"
        " --part {wildcards.part} --n-shards {params.n_shards} --options {params.options:q}"
        " --code {params.code} --gpus {params.gpus} --out results/traces/{wildcards.model}/{wildcards.dataset}"
        " 2>&1 | tee {log} >&2"
