# Numbers elsewhere: a few samples of each model read again under other conditions, and compared.
rule numerics:
    input:
        manifest=manifest_of(REREAD),
        gate="results/models/{model}/gate.json",
        forms="results/models/{model}/forms.parquet",
        weights=catalog.weights,
    output:
        "results/numerics/{model}.parquet",
    log:
        "logs/numerics/{model}.log",
    wildcard_constraints:
        model="|".join(REREAD) or "(?!)",
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
        # Two steps and one lens: what can move moves there as it does elsewhere.
        options=catalog.options(
            as_one_shard(config["extraction"]),
            seed=config["seed"],
            samples=config["numerics"]["n"],
            max_new_tokens=2,
            lenses=[],
        ),
        on_cpu="--on-cpu" if config["numerics"]["on_cpu"] else "",
        code=code_version("numerics"),
    message:
        "numbers of {wildcards.model} under other conditions"
    shell:
        "python -m lensbench numerics {wildcards.model} --source {params.source:q} --revision={params.commit:q}"
        " --dataset $(dirname {input.manifest}) --model-folder $(dirname {input.gate})"
        " {params.on_cpu} --gpus {params.gpus} --options {params.options:q} --out {output} 2>&1 | tee {log} >&2"


rule collect_numerics:
    input:
        expand("results/numerics/{model}.parquet", model=REREAD),
    output:
        "results/metrics/numerics.csv",
    log:
        "logs/numerics/collect.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        code=code_version("numerics"),
    message:
        "numbers of all models under other conditions"
    shell:
        "python -m lensbench collect-numerics {input} --out $(dirname {output})"
        " 2>&1 | tee {log} >&2"
