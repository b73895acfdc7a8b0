# LLaVA-1.5-7B (32 layers).
use rule extract as extract_llava_1_5_7b with:
    wildcard_constraints:
        model=r"llava-1\.5-7b",
    resources:
        gpu=1,
        mem_mb=40000,
        runtime=480,
    params:
        source="hub:llava-hf/llava-1.5-7b-hf",
        revision="b234b804b114d9e37bb655e11cbbb5f5e971b7a9",
        task="image-text",
