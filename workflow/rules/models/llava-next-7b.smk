# LLaVA-NeXT with Mistral-7B (32 layers).
# No commit of it could be confirmed: the configuration gives it (revisions).
use rule extract as extract_llava_next_7b with:
    wildcard_constraints:
        model=r"llava-next-7b",
    resources:
        gpu=1,
        mem_mb=40000,
        runtime=480,
    params:
        source="hub:llava-hf/llava-v1.6-mistral-7b-hf",
        revision="",
        task="image-text",
