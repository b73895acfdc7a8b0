# Figures: drawn from the tables of all runs, or from one run's.
rule figure:
    input:
        tables=shown_inputs,
        models="results/metrics/models.csv",
    output:
        pdf=report(
            "results/figures/{figure}.pdf",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="All runs",
            labels={"figure": "{figure}", "format": "PDF"},
        ),
        png=report(
            "results/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="All runs",
            labels={"figure": "{figure}", "format": "PNG"},
        ),
    log:
        "logs/figures/{figure}.log",
    wildcard_constraints:
        figure="|".join(FIGURES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        stem=stem,
        title=shown_title,
        caption=shown_caption,
        code=code_version("show"),
    message:
        "figure {wildcards.figure}"
    shell:
        "python -m lensbench figure {wildcards.figure} --metrics $(dirname {input.models})"
        " --out {params.stem} 2>&1 | tee {log} >&2"


rule run_figure:
    input:
        tables=run_shown_inputs,
        manifest="results/datasets/{dataset}/manifest.parquet",
    output:
        pdf=report(
            "results/figures/{model}/{dataset}/{figure}.pdf",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{model}",
            labels={"figure": "{figure}, {dataset}", "format": "PDF"},
        ),
        png=report(
            "results/figures/{model}/{dataset}/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{model}",
            labels={"figure": "{figure}, {dataset}", "format": "PNG"},
        ),
    log:
        "logs/figures/{model}-{dataset}-{figure}.log",
    wildcard_constraints:
        figure="|".join(RUN_FIGURES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        stem=stem,
        title=shown_title,
        caption=shown_caption,
        code=code_version("show"),
    message:
        "figure {wildcards.figure} of {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench run-figure {wildcards.figure} --model {wildcards.model}"
        " --dataset {wildcards.dataset} --manifest $(dirname {input.manifest})"
        " --metrics $(dirname {input.tables[0]}) --out {params.stem} 2>&1 | tee {log} >&2"
