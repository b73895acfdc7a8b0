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
        family="llava",
        out="src/lensbench/models/packaged/lensbench-llava",
        settings="",
    shell:
        "python -m lensbench.training {params.family} --out {params.out} {params.settings} 2>&1 | tee {log} >&2"


# The other two start from the first one: LLaVA-OneVision takes over its eyes and its language
# model, Qwen2-VL, which sees with a tower of its own, the language model alone.
use rule train_llava as train_onevision with:
    log:
        "logs/train/onevision.log",
    params:
        family="onevision",
        out="src/lensbench/models/packaged/lensbench-onevision",
        settings="--teacher src/lensbench/models/packaged/lensbench-llava --pictures 12000 --steps 350",


use rule train_llava as train_qwen2vl with:
    log:
        "logs/train/qwen2vl.log",
    params:
        family="qwen2vl",
        out="src/lensbench/models/packaged/lensbench-qwen2vl",
        settings="--teacher src/lensbench/models/packaged/lensbench-llava --pictures 12000 --naming-steps 1300 --steps 500",
