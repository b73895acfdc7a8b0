# Datasets: a manifest with one row a sample, pictures beside it.
rule dataset_scenes:
    output:
        manifest="results/datasets/scenes/manifest.parquet",
        records="results/datasets/scenes/records.json",
        images=directory("results/datasets/scenes/images"),
    log:
        "logs/datasets/scenes.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        name="scenes",
        options=options(config["datasets"]["scenes"], seed=config["seed"]),
        code=code_version("dataset"),
    message:
        "dataset {params.name}"
    shell:
        "python -m lensbench dataset {params.name} --options {params.options:q} --out $(dirname {output.manifest})"
        " 2>&1 | tee {log} >&2"


use rule dataset_scenes as dataset_fills with:
    output:
        manifest="results/datasets/fills/manifest.parquet",
        images=directory("results/datasets/fills/images"),
    log:
        "logs/datasets/fills.log",
    params:
        name="fills",
        options=options(config["datasets"]["fills"], seed=config["seed"]),


use rule dataset_scenes as dataset_flowers with:
    input:
        # A folder of photographs, if the configuration names one.
        config["datasets"]["flowers"]["folder"] or [],
    output:
        manifest="results/datasets/flowers/manifest.parquet",
        images=directory("results/datasets/flowers/images"),
    log:
        "logs/datasets/flowers.log",
    params:
        name="flowers",
        options=options(config["datasets"]["flowers"], seed=config["seed"]),


use rule dataset_scenes as dataset_facts with:
    output:
        manifest="results/datasets/facts/manifest.parquet",
    log:
        "logs/datasets/facts.log",
    params:
        name="facts",
        options=options(config["datasets"]["facts"], seed=config["seed"]),
