# Qwen2-VL-7B-Instruct (28 layers).
use rule extract as extract_qwen2_vl_7b with:
    wildcard_constraints:
        model=r"qwen2-vl-7b",
    resources:
        gpu=1,
        mem_mb=40000,
        runtime=480,
    params:
        source="hub:Qwen/Qwen2-VL-7B-Instruct",
        revision="eed13092ef92e448dd6875b2a00151bd3f7db0ac",
        task="image-text",
