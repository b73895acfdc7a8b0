# InternVL3-1B (24 layers), in the form that transformers loads.
# No commit of it could be confirmed: the configuration gives it (revisions).
use rule extract as extract_internvl3_1b with:
    wildcard_constraints:
        model=r"internvl3-1b",
    resources:
        gpu=1,
        mem_mb=12000,
        runtime=240,
    params:
        source="hub:OpenGVLab/InternVL3-1B-hf",
        revision="",
        task="image-text",
