# A small LLaVA-OneVision that comes with lensbench, trained by it (snakemake train_onevision).
use rule extract as extract_lensbench_onevision with:
    wildcard_constraints:
        model="lensbench-onevision",
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        source="packaged:lensbench-onevision",
        revision="packaged",
        task="image-text",
