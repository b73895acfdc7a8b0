# PaliGemma-3B, mix of tasks at 224 pixels (18 layers); gated: HF_TOKEN is needed.
# No commit of it could be confirmed: the configuration gives it (revisions).
use rule extract as extract_paligemma_3b with:
    wildcard_constraints:
        model=r"paligemma-3b",
    resources:
        gpu=1,
        mem_mb=20000,
        runtime=300,
    params:
        source="hub:google/paligemma-3b-mix-224",
        revision="",
        task="image-text",
        # As it was trained to answer questions in English; its processor adds what else there is.
        chat_template="{% for message in messages %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}answer en {{ part['text'] }}{% endif %}"
        "{% endfor %}{% endfor %}",
