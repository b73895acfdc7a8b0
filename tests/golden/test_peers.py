"""SmolLM2 read layer by layer here, by TransformerLens and by nnsight: the same words, as likely.

The peers' numbers are packaged with lensbench; `benchmarks/peers_golden.py` makes them anew in the
peers' own environment, on the same weights in float32, one prompt at a time and without padding;
here all prompts are one padded batch. Every layer of every prompt is compared, none averaged with
others.

What differs is rounding, 4e-5 nats at most (neighbouring layers lie 0.015 apart or more):
TransformerLens computes attention with the eager implementation, here and in nnsight it is sdpa,
and a product of another number of rows adds up in another order. With eager attention and one
prompt TransformerLens' states, norm and logits equal transformers' own to the last bit. It is used
as `boot_transformers` leaves it: only its compatibility mode folds norms into the next weights and
centres the unembedding.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lensbench.datasets.facts import load_facts
from lensbench.lens.generate import trace_batch
from lensbench.lens.readout import Readout, read_out
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded, encode
from lensbench.peers import FOLDER, PEERS

FILES = [FOLDER / f"{name}.json" for name in PEERS]
#: Largest difference of a log-probability, in nats.
CLOSE = 1e-3


def read_golden(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def smollm2(load: Callable[[str], LoadedModel]) -> LoadedModel:
    return load("smollm2-135m")


@pytest.fixture(scope="module")
def batch(smollm2: LoadedModel) -> tuple[Encoded, Readout]:
    """Return the peers' prompts as one batch, and what is read of it."""
    prompts = [each["prompt"] for each in read_golden(FILES[0])["prompts"]]
    rows = [{"prompt": words, "style": "completion", "image": None} for words in prompts]
    encoded = encode(smollm2, rows)
    states = trace_batch(smollm2, encoded, 1).residuals[:, 0]
    none = torch.full((len(rows), 1), -1)
    readout = read_out(
        states,
        smollm2.anatomy.logits,
        smollm2.anatomy.logits,
        10,
        torch.ones(smollm2.anatomy.vocab_size, 1),
        none,
        none,
        1,
    )
    return encoded, readout


def test_both_peers_are_there_with_the_same_facts():
    assert [path.stem for path in FILES] == ["nnsight", "transformerlens"]
    first, second = ([p["prompt"] for p in read_golden(path)["prompts"]] for path in FILES)
    assert first == second
    assert len(set(first)) == 6
    assert set(first) <= {fact.prompt for fact in load_facts()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_weights_and_tokens_are_the_peers(path, smollm2, batch):
    peer, (encoded, _) = read_golden(path), batch
    assert peer["gguf_sha256"] == smollm2.weights_sha256
    for index, prompt in enumerate(peer["prompts"]):
        ids = encoded.inputs["input_ids"][index, encoded.first[index] :]
        assert ids.tolist() == prompt["input_ids"], prompt["prompt"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_layer_says_what_the_peers_say(path, smollm2, batch):
    _, readout = batch
    for index, prompt in enumerate(read_golden(path)["prompts"]):
        assert len(prompt["layers"]) == smollm2.anatomy.n_layers + 1
        assert readout.final_id[index].unique().tolist() == [prompt["final_id"]]
        for layer, theirs in enumerate(prompt["layers"]):
            where = f"{prompt['prompt']!r}, layer {layer}"
            ids = readout.top_id[index, layer].tolist()
            ours = dict(zip(ids, readout.top_logprob[index, layer].tolist(), strict=True))
            assert ids[0] == theirs["top_id"][0], where
            # Five of theirs in ten of ours: the order of nearly equal ones is left open.
            expected = dict(zip(theirs["top_id"], theirs["top_logprob"], strict=True))
            found = {token: ours.get(token) for token in expected}
            assert found == pytest.approx(expected, abs=CLOSE, rel=0), where
            final = float(readout.final_logprob[index, layer])
            assert final == pytest.approx(theirs["final_logprob"], abs=CLOSE, rel=0), where


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_layer_off_by_one_is_not_the_peers(path, batch):
    """What the comparison would catch: no two layers of a prompt lie within its tolerance."""
    _, readout = batch
    for index, prompt in enumerate(read_golden(path)["prompts"]):
        theirs = torch.tensor([layer["final_logprob"] for layer in prompt["layers"]])
        ours = readout.final_logprob[index]
        assert ((ours[1:] - theirs[:-1]).abs() > CLOSE).all()
