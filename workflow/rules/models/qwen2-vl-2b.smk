# Qwen2-VL-2B-Instruct (28 layers).
use rule extract as extract_qwen2_vl_2b with:
    wildcard_constraints:
        model=r"qwen2-vl-2b",
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=240,
    params:
        source="hub:Qwen/Qwen2-VL-2B-Instruct",
        revision="895c3a49bc3fa70a340399125c650a463535e71c",
        task="image-text",
