# Notebooks: each study told from the tables, and run into a page.
rule notebook:
    input:
        notebook="notebooks/{notebook}.py",
        tables=expand(
            "results/metrics/{table}.csv",
            table=[*RUN_TABLES, *MODEL_TABLES, *STUDY_TABLES],
        ),
        # What a notebook asks by itself are text models, in memory.
        weights=[file for model in TEXT_MODELS for file in catalog.weights(model)],
        pages=PAGES,
    output:
        report(
            "results/notebooks/{notebook}.html",
            caption="../report/notebook.rst",
            category="Notebooks",
            labels={"notebook": "{notebook}"},
        ),
    log:
        "logs/notebooks/{notebook}.log",
    wildcard_constraints:
        notebook="|".join(NOTEBOOKS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=6000,
        runtime=30,
    params:
        weights=[catalog.digest(model) for model in TEXT_MODELS],
        code=code_version("notebook"),
    message:
        "notebook {wildcards.notebook}"
    shell:
        "python -m lensbench notebook {input.notebook:q} --results results --out {output:q}"
        " 2>&1 | tee {log:q} >&2"
