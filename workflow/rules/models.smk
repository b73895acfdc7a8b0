# Models: what must be fetched, and what is known of each before its first sample.
rule fetch_smollm2_135m:
    output:
        "resources/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf",
    log:
        "logs/models/fetch-smollm2-135m.log",
    # The nodes of a cluster often have no network.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=30,
    message:
        "fetch smollm2-135m"
    shell:
        "python -m lensbench fetch-model smollm2-135m --out {output} 2>&1 | tee {log} >&2"


# From here on a hub's model is read from its cache (HF_HOME); what is whole isn't fetched again.
rule fetch_hub:
    output:
        "resources/models/{model}/fetched.json",
    log:
        "logs/models/fetch-{model}.log",
    wildcard_constraints:
        model=catalog.of_hub(),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        download=1,
        mem_mb=2000,
        runtime=1440,
    params:
        repository=catalog.repository,
        revision=catalog.revision,
    message:
        "fetch {wildcards.model} from the hub"
    shell:
        "python -m lensbench fetch-hub {params.repository:q} --revision={params.revision:q}"
        " --out {output} 2>&1 | tee {log} >&2"


rule inspect:
    input:
        weights=catalog.weights,
    output:
        gate="results/models/{model}/gate.json",
        model="results/models/{model}/model.json",
        vocabulary="results/models/{model}/vocabulary.parquet",
        forms="results/models/{model}/forms.parquet",
    log:
        "logs/models/{model}.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=catalog.resource("gpu"),
        gpu_model=catalog.resource("gpu_model"),
        mem_mb=catalog.resource("mem_mb"),
        runtime=catalog.resource("runtime"),
    params:
        source=catalog.source,
        weights=catalog.digest,
        revision=catalog.revision,
        gpus=gpus_of_job,
        options=catalog.options(
            dtype=config["extraction"]["dtype"],
            device=config["extraction"]["device"],
            date=config["extraction"]["date"],
        ),
        code=code_version("model"),
    message:
        "gate, vocabulary and forms of {wildcards.model}"
    shell:
        "python -m lensbench inspect {wildcards.model} --source {params.source:q} --revision={params.revision:q}"
        " --options {params.options:q} --gpus {params.gpus} --out $(dirname {output.gate}) 2>&1 | tee {log} >&2"
