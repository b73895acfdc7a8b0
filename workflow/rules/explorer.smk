# Explorer: pages that show what every position of a sample says, and an index of all of them.
rule explorer_pages:
    input:
        closeup=rules.closeup.output,
        vocabulary="results/models/{model}/vocabulary.parquet",
        manifest="results/datasets/{dataset}/manifest.parquet",
        convergence="results/metrics/{model}/{dataset}/convergence.parquet",
    output:
        directory("results/explorer/{model}/{dataset}"),
    log:
        "logs/explorer/{model}-{dataset}.log",
    wildcard_constraints:
        model=OF_A_RUN,
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        samples=config["explorer"]["samples"],
        k=config["explorer"]["top_k"],
        code=code_version("explorer"),
    message:
        "pages of {wildcards.model} on {wildcards.dataset}"
    shell:
        "python -m lensbench explorer-pages --closeup $(dirname {input.closeup} | sort -u)"
        " --model-folder $(dirname {input.vocabulary}) --manifest $(dirname {input.manifest})"
        " --convergence {input.convergence} --samples {params.samples} --k {params.k}"
        " --out {output} 2>&1 | tee {log} >&2"


rule explorer_pages_imported:
    input:
        rules.import_lens.output,
    output:
        directory("results/explorer/imported/{lens}"),
    log:
        "logs/explorer/imported-{lens}.log",
    wildcard_constraints:
        lens="|".join(imports.names) or "(?!)",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        k=config["explorer"]["top_k"],
        code=code_version("explorer"),
    message:
        "page of {wildcards.lens}"
    shell:
        "python -m lensbench explorer-pages --imported $(dirname {input} | sort -u) --k {params.k}"
        " --out {output} 2>&1 | tee {log} >&2"


rule explorer:
    input:
        expand("results/explorer/{run.model}/{run.dataset}", run=RUNS),
        expand("results/explorer/imported/{lens}", lens=imports.names),
    output:
        PAGES,
    log:
        "logs/explorer/index.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        code=code_version("explorer"),
    message:
        "index of the pages"
    shell:
        "python -m lensbench explorer-index {input} --out {output} 2>&1 | tee {log} >&2"
