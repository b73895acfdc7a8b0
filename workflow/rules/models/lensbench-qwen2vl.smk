# A small Qwen2-VL that comes with lensbench, trained by it (snakemake train_qwen2vl).
use rule extract as extract_lensbench_qwen2vl with:
    wildcard_constraints:
        model="lensbench-qwen2vl",
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        source="packaged:lensbench-qwen2vl",
        revision="packaged",
        task="image-text",
