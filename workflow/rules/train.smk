# Training of the embedded models, from their seeds; never part of the default target.
# Each is asked for by name: snakemake --cores all train_llava
rule train_llava:
    log:
        "logs/train/llava.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=8000,
        runtime=720,
    params:
        out="src/lensbench/models/packaged/lensbench-llava",
        family="llava",
    shell:
        "python -m lensbench.training {params.family} --out {params.out} 2>&1 | tee {log} >&2"


use rule train_llava as train_onevision with:
    log:
        "logs/train/onevision.log",
    params:
        out="src/lensbench/models/packaged/lensbench-onevision",
        family="onevision",


use rule train_llava as train_qwen2vl with:
    log:
        "logs/train/qwen2vl.log",
    params:
        out="src/lensbench/models/packaged/lensbench-qwen2vl",
        family="qwen2vl",
