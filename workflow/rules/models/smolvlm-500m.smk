# SmolVLM-500M-Instruct (32 layers).
# No commit of it could be confirmed: the configuration gives it (revisions).
use rule extract as extract_smolvlm_500m with:
    wildcard_constraints:
        model=r"smolvlm-500m",
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=240,
    params:
        source="hub:HuggingFaceTB/SmolVLM-500M-Instruct",
        revision="",
        task="image-text",
