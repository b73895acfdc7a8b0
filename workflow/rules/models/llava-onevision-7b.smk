# LLaVA-OneVision-Qwen2-7B (28 layers).
# No commit of it could be confirmed: the configuration gives it (revisions).
use rule extract as extract_llava_onevision_7b with:
    wildcard_constraints:
        model=r"llava-onevision-7b",
    resources:
        gpu=1,
        mem_mb=40000,
        runtime=480,
    params:
        source="hub:llava-hf/llava-onevision-qwen2-7b-ov-hf",
        revision="",
        task="image-text",
