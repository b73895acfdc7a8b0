# The paper: parts that depend on what was run, then the PDF where there is LaTeX.
rule paper_parts:
    input:
        metrics=expand(
            "results/metrics/{table}.csv",
            table=["accuracy_by_family", "numerics"],
        ),
        templates=expand("paper/templates/{part}.tex.jinja", part=[*PARTS, "float"]),
    output:
        expand("results/paper/parts/{part}.tex", part=PARTS),
    log:
        "logs/paper/parts.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        runs=[f"{run.model}/{run.dataset}" for run in RUNS],
        options=options(config),
        code=code_version("paper"),
    message:
        "parts of the paper"
    shell:
        "python -m lensbench paper-parts {params.runs} --metrics $(dirname {input.metrics} | sort -u)"
        " --options {params.options:q} --out $(dirname {output} | sort -u) 2>&1 | tee {log} >&2"


rule paper:
    input:
        main="paper/main.tex",
        references="paper/references.bib",
        parts=rules.paper_parts.output,
        numbers="results/paper/numbers.tex",
        tables=expand("results/tables/{table}.tex", table=TABLES),
        figures=ALL_FIGURES,
    output:
        report(
            "results/paper/lensbench.pdf",
            caption="../report/paper.rst",
            category="Paper",
            labels={"paper": "The report"},
        ),
    log:
        "logs/paper/paper.log",
    # LaTeX is looked for where the run was started, and the nodes of a cluster often have none.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_version("paper"),
    message:
        "the paper"
    shell:
        "python -m lensbench paper --parts $(dirname {input.parts} | sort -u) --numbers {input.numbers}"
        " --tables $(dirname {input.tables} | sort -u) --figures results/figures --out {output}"
        " 2>&1 | tee {log} >&2"
