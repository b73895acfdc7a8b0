# Gemma 3 4B, instruction-tuned (34 layers); gated: HF_TOKEN is needed.
# No commit of it could be confirmed: the configuration gives it (revisions).
use rule extract as extract_gemma_3_4b with:
    wildcard_constraints:
        model=r"gemma-3-4b",
    resources:
        gpu=1,
        mem_mb=24000,
        runtime=300,
    params:
        source="hub:google/gemma-3-4b-it",
        revision="",
        task="image-text",
