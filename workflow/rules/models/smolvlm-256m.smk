# SmolVLM-256M-Instruct (30 layers).
use rule extract as extract_smolvlm_256m with:
    wildcard_constraints:
        model=r"smolvlm-256m",
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=240,
    params:
        source="hub:HuggingFaceTB/SmolVLM-256M-Instruct",
        revision="7e3e67edbbed1bf9888184d9df282b700a323964",
        task="image-text",
