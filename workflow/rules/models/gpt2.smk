# GPT-2 (124 M, 12 layers), completion only: it has no chat template.
use rule extract as extract_gpt2 with:
    wildcard_constraints:
        model=r"gpt2",
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=30,
    params:
        source="hub:openai-community/gpt2",
        revision="607a30d783dfa663caf39e06633721c8d4cfcd7e",
        task="text",
