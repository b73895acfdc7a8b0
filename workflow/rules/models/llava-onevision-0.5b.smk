# LLaVA-OneVision-Qwen2-0.5B (24 layers).
use rule extract as extract_llava_onevision_0_5b with:
    wildcard_constraints:
        model=r"llava-onevision-0\.5b",
    resources:
        gpu=1,
        mem_mb=12000,
        runtime=240,
    params:
        source="hub:llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        revision="74dd0bf867a4cda7950c17663794267c60cf4b40",
        task="image-text",
