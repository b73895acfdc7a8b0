"""Models that somebody made: every file of a model's folder, GGUF, and chat templates."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path
from typing import Any

from gguf import GGUFWriter
from hypothesis import strategies as st
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail
from tests.fuzz.mutations import mutated_bytes, mutated_text, mutated_trees
from tests.planted import text_model, tokenizer

from lensbench.models.load import load_model
from lensbench.models.prompt import Prompter
from lensbench.models.sizes import check_sizes, names_of
from lensbench.models.source import parse_source, weight_files
from lensbench.models.vocabulary import vocabulary_table


@cache
def model_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a tiny model."""
    made = text_model("llama")
    made.model.save_pretrained(folder)
    made.processor.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def header(tree: Any, size: int | None = None) -> bytes:
    """Return a safetensors file with any header."""
    text = json.dumps(tree).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + bytes(64)


HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]},
    "b": {"dtype": "F16", "shape": [16], "data_offsets": [32, 64]},
}


def test_headers_of_weights(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        names_of(jail.give("model.safetensors", content))

    inputs = st.one_of(mutated_trees([HEADER]).map(header), mutated_bytes([header(HEADER)]))
    huge = [header(HEADER, size) for size in (0, 2**31, 2**63, 2**64 - 1, 100_000_001)]
    fuzz("headers of weights", inputs, read, examples=(*huge, b"", header([[]] * 50)))


def test_configurations_of_models(fuzz: Fuzz, tmp_path_factory: Any) -> None:
    files = model_files(tmp_path_factory.mktemp("model"))
    config = json.loads(files["config.json"])
    index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "x.safetensors"}}

    def read(jail: Jail, given: tuple[bytes, bytes | None]) -> None:
        folder = jail.give("config.json", given[0]).parent
        if given[1] is None:
            jail.give("model.safetensors", files["model.safetensors"])
        else:
            jail.give("x.safetensors", files["model.safetensors"])
            jail.give("model.safetensors.index.json", given[1])
        source = parse_source(f"folder:{folder}")
        check_sizes(folder, weight_files(source))

    inputs = st.tuples(
        st.one_of(mutated_trees([config]).map(_json), mutated_text([json.dumps(config)])),
        st.one_of(st.none(), mutated_trees([index]).map(_json)),
    )
    deep = {**config, "num_hidden_layers": 10**6}
    fuzz(
        "configurations of models",
        inputs,
        read,
        examples=((_json(deep), None), (b"[" * 10**5, None)),
    )


def _json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _with_token(tree: Any, token: str, number: int) -> Any:
    """Return a tokenizer's tree with one more token."""
    model = tree["model"]
    return tree | {"model": model | {"vocab": model["vocab"] | {token: number}}}


def _with_prefix(tree: Any) -> Any:
    """Return a tokenizer's tree by which parts of tokens begin longer than they are."""
    return tree | {"model": tree["model"] | {"continuing_subword_prefix": "longer than all"}}


def test_folders_of_models(fuzz: Fuzz, tmp_path_factory: Any) -> None:
    files = model_files(tmp_path_factory.mktemp("model"))
    trees = {n: json.loads(content) for n, content in files.items() if n.endswith(".json")}

    def read(jail: Jail, given: tuple[str, bytes]) -> None:
        for name, content in (files | dict([given])).items():
            jail.give(f"m/{name}", content)
        # Were it run, it would leave a file where none may be.
        jail.give("m/evil.py", f"open({str(jail.root / 'ran')!r}, 'w')\nEvil = Config = object\n")
        loaded = load_model("m", f"folder:{jail.given / 'm'}", dtype="float32", device="cpu")
        vocabulary_table(loaded.tokenizer, loaded.anatomy.vocab_size)

    inputs = st.sampled_from(sorted(files)).flatmap(
        lambda name: st.tuples(
            st.just(name),
            mutated_trees([trees[name]], 2).map(_json)
            if name in trees
            else mutated_bytes([files[name]], most=3),
        )
    )
    config = trees["config.json"]
    code = {"auto_map": {"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Config"}}
    examples = [
        *({**config, "num_hidden_layers": 10**6}, {**config, "vocab_size": 10**9}),
        *(
            {**config, **code},
            {**config, "model_type": "own", **code},
            {**config, "model_type": "bert"},
        ),
        *({**config, "hidden_size": 10**7}, {**config, "head_dim": 0}),
    ]
    given = [("config.json", _json(tree)) for tree in examples]
    # Once the end of the process, when the tokenizer was written down: the gaps fill the memory.
    given.append(("tokenizer.json", _json(_with_token(trees["tokenizer.json"], "far", 2**31))))
    # Once a panic of the tokenizers' library, which is no Exception.
    given.append(("tokenizer.json", _json(_with_prefix(trees["tokenizer.json"]))))
    # Once a TypeError when the first prompt was held to its length.
    odd = trees["tokenizer_config.json"] | {"model_max_length": "far"}
    given.append(("tokenizer_config.json", _json(odd)))
    fuzz("folders of models", inputs, read, examples=tuple(given))


CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
TEMPLATES = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}"
    "{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{{ 9**9**9**9 }}",
    "{{ cycler.__init__ }}",
    "{{ ().__class__.__base__.__subclasses__() }}",
    "{{ lipsum.__globals__['os'].system('id') }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ '%999999999999d' % 1 }}",
    "{% include '/etc/passwd' %}",
    *("{{ raise_exception('no') }}", "{{ 1 / 0 }}", "{{ x.y.z }}", "{%", "\x00", "{{ messages }}"),
)


def test_chat_templates(fuzz: Fuzz) -> None:
    words = tokenizer()

    def read(jail: Jail, content: bytes) -> None:
        words.chat_template = content.decode("utf-8", "replace")
        row = {"prompt": "How many?", "style": "chat", "image": None}
        Prompter("m", words, words, "text", None).text(row)

    fuzz("chat templates", mutated_text([CHAT], TEMPLATES), read,
         examples=tuple(text.encode() for text in TEMPLATES))  # fmt: skip


#: A name in transformers' Llama → the one in GGUF.
GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.{one}_proj": f"attn_{one}" for one in "qkv"},
    "self_attn.o_proj": "attn_output",
    **{f"mlp.{one}_proj": f"ffn_{one}" for one in ("gate", "up", "down")},
}


@cache
def gguf_bytes(folder: Path) -> bytes:
    """Return a tiny model as a GGUF file that can be loaded."""
    made = text_model("llama")
    config, words = made.model.config, made.tokenizer
    path = folder / "seed.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    tokens = words.convert_ids_to_tokens(list(range(len(words))))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in words.all_special_tokens else 1 for token in tokens])
    merges = json.loads(words.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(words.eos_token_id)
    for name, weight in made.model.state_dict().items():
        for ours, theirs in GGUF_NAMES.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name, weight.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_gguf_files(fuzz: Fuzz, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("gguf")
    seed = gguf_bytes(folder)
    # What is changed is a model that loads, or the changes would only meet the first refusal.
    load_model("m", f"gguf:{folder / 'seed.gguf'}", dtype="float32", device="cpu")

    def read(jail: Jail, content: bytes) -> None:
        path = jail.give("m.gguf", content)
        load_model("m", f"gguf:{path}", dtype="float32", device="cpu")

    words = [b"GGUF", b"llama", b"general.architecture", struct.pack("<IQ", 9, 2**40)]
    fuzz("GGUF", mutated_bytes([seed], words), read)
