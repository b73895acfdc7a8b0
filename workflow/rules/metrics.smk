# Metrics: traces → tidy tables of one run → the tables of all runs.
rule metrics:
    input:
        ledgers=cut.ledgers,
        vocabulary="results/models/{model}/vocabulary.parquet",
        forms="results/models/{model}/forms.parquet",
    output:
        expand(
            "results/metrics/{{model}}/{{dataset}}/{table}.parquet", table=RUN_TABLES
        ),
    log:
        "logs/metrics/{model}-{dataset}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        options=options(
            config["metrics"],
            examples=config["figures"]["examples"],
            seed=config["seed"],
            max_rejected=config["max_rejected"],
        ),
        code=code_version("metrics"),
    message:
        "metrics of {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench metrics results/traces/{wildcards.model}/{wildcards.dataset}"
        " --model-folder $(dirname {input.forms}) --options {params.options:q}"
        " --out $(dirname {output} | sort -u) 2>&1 | tee {log} >&2"


rule collect:
    input:
        runs=[
            f"results/metrics/{run.model}/{run.dataset}/{table}.parquet"
            for run in RUNS
            for table in RUN_TABLES
        ],
        gates=[f"results/models/{model}/gate.json" for model in MODELS],
        models=[f"results/models/{model}/model.json" for model in MODELS],
    output:
        expand("results/metrics/{table}.csv", table=[*RUN_TABLES, *MODEL_TABLES]),
    log:
        "logs/metrics/collect.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        code=code_version("metrics"),
    message:
        "tables of all runs"
    shell:
        "python -m lensbench collect $(dirname {input.runs} | sort -u)"
        " $(dirname {input.gates} | sed 's/^/--model=/')"
        " --out $(dirname {output} | sort -u) 2>&1 | tee {log} >&2"
