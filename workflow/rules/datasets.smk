# Datasets: a manifest with one row a sample, pictures beside it.


# The nodes of a cluster often have no network.
localrules:
    dataset_tallyqa,
    dataset_oxford_flowers,
    dataset_tf_flowers,


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
    output:
        manifest="results/datasets/flowers/manifest.parquet",
        images=directory("results/datasets/flowers/images"),
    log:
        "logs/datasets/flowers.log",
    params:
        name="flowers",
        # A folder of photographs, if the configuration names one.
        files=digests_of(config["datasets"]["flowers"]["folder"]),
        options=options(
            config["datasets"]["flowers"],
            seed=config["seed"],
            max_rejected=config["max_rejected"],
        ),


use rule dataset_scenes as dataset_facts with:
    output:
        manifest="results/datasets/facts/manifest.parquet",
    log:
        "logs/datasets/facts.log",
    params:
        name="facts",
        options=options(config["datasets"]["facts"], seed=config["seed"]),


# Of what must be fetched, whatever is whole stays in resources/downloads and is not fetched again.
use rule dataset_scenes as dataset_tallyqa with:
    output:
        manifest="results/datasets/tallyqa/manifest.parquet",
        selection="results/datasets/tallyqa/selection.json",
        images=directory("results/datasets/tallyqa/images"),
    log:
        "logs/datasets/tallyqa.log",
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        name="tallyqa",
        options=options(
            config["datasets"]["tallyqa"],
            seed=config["seed"],
            mirror=config["mirror"],
            max_rejected=config["max_rejected"],
        ),


use rule dataset_scenes as dataset_oxford_flowers with:
    output:
        manifest="results/datasets/oxford_flowers/manifest.parquet",
        images=directory("results/datasets/oxford_flowers/images"),
    log:
        "logs/datasets/oxford_flowers.log",
    resources:
        mem_mb=2000,
        runtime=480,
    params:
        name="oxford_flowers",
        options=options(
            config["datasets"]["oxford_flowers"],
            seed=config["seed"],
            mirror=config["mirror"],
            max_rejected=config["max_rejected"],
        ),


use rule dataset_scenes as dataset_tf_flowers with:
    output:
        manifest="results/datasets/tf_flowers/manifest.parquet",
        images=directory("results/datasets/tf_flowers/images"),
    log:
        "logs/datasets/tf_flowers.log",
    resources:
        mem_mb=2000,
        runtime=480,
    params:
        name="tf_flowers",
        options=options(
            config["datasets"]["tf_flowers"],
            seed=config["seed"],
            mirror=config["mirror"],
            max_rejected=config["max_rejected"],
        ),


use rule dataset_scenes as dataset_own with:
    output:
        manifest="results/datasets/own/manifest.parquet",
        # Questions in words alone have none.
        images=(
            directory("results/datasets/own/images")
            if config["datasets"]["own"]["folder"]
            else []
        ),
    log:
        "logs/datasets/own.log",
    params:
        name="own",
        files=digests_of(
            config["datasets"]["own"]["folder"],
            config["datasets"]["own"]["questions"],
        ),
        options=options(
            config["datasets"]["own"],
            seed=config["seed"],
            max_rejected=config["max_rejected"],
        ),
