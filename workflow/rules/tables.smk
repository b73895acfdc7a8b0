# Tables and numbers for print.
rule table:
    input:
        metrics=shown_inputs,
    output:
        csv=report(
            "results/tables/{table}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        tex="results/tables/{table}.tex",
    log:
        "logs/tables/{table}.log",
    wildcard_constraints:
        table="|".join(TABLES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        stem=stem,
        title=shown_title,
        caption=shown_caption,
        code=code_version("show"),
    message:
        "table {wildcards.table}"
    shell:
        "python -m lensbench table {wildcards.table} --metrics $(dirname {input.metrics} | sort -u)"
        " --out {params.stem} 2>&1 | tee {log} >&2"


rule numbers:
    input:
        metrics=expand(
            "results/metrics/{table}.csv", table=[*RUN_TABLES, *MODEL_TABLES]
        ),
    output:
        "results/paper/numbers.tex",
    log:
        "logs/paper/numbers.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        code=code_version("show"),
    message:
        "numbers of the paper"
    shell:
        "python -m lensbench numbers --metrics $(dirname {input.metrics} | sort -u)"
        " --out {output} 2>&1 | tee {log} >&2"
