# SmolVLM2-2.2B-Instruct (24 layers).
use rule extract as extract_smolvlm2_2_2b with:
    wildcard_constraints:
        model=r"smolvlm2-2\.2b",
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=240,
    params:
        source="hub:HuggingFaceTB/SmolVLM2-2.2B-Instruct",
        revision="482adb537c021c86670beed01cd58990d01e72e4",
        task="image-text",
