# Qwen2.5-VL-3B-Instruct (36 layers).
use rule extract as extract_qwen2_5_vl_3b with:
    wildcard_constraints:
        model=r"qwen2\.5-vl-3b",
    resources:
        gpu=1,
        mem_mb=20000,
        runtime=300,
    params:
        source="hub:Qwen/Qwen2.5-VL-3B-Instruct",
        revision="66285546d2b821cf421d4f5eb2576359d3770cd3",
        task="image-text",
