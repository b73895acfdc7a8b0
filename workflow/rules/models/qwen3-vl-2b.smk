# Qwen3-VL-2B-Instruct (28 layers).
use rule extract as extract_qwen3_vl_2b with:
    wildcard_constraints:
        model=r"qwen3-vl-2b",
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=240,
    params:
        source="hub:Qwen/Qwen3-VL-2B-Instruct",
        revision="89644892e4d85e24eaac8bacfd4f463576704203",
        task="image-text",
