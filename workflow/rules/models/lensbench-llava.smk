# A small LLaVA that comes with lensbench, trained by it (snakemake train_llava).
use rule extract as extract_lensbench_llava with:
    wildcard_constraints:
        model="lensbench-llava",
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        source="packaged:lensbench-llava",
        revision="packaged",
        task="image-text",
