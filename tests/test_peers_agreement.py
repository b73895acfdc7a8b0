"""Agreement with the recorded peers: a lens of planted logits against hand-made records."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from tests.planted import written_model

from lensbench import peers
from lensbench.errors import LensbenchError
from lensbench.lens.generate import trace_batch
from lensbench.look import Lens
from lensbench.models.prompt import encode

WORDS = ("How many stars are there ?", "Why ?")


@pytest.fixture(scope="module")
def lens() -> Lens:
    return Lens(written_model({2: {"三": 3.0}, 4: {"三": -3.0, " three": 4.0}}, n_layers=5))


def recorded(lens: Lens, words: str) -> dict:
    """Return what a peer that reads exactly as the lens does would have recorded."""
    encoded = encode(lens.loaded, [{"prompt": words, "style": "completion", "image": None}])
    states = trace_batch(lens.loaded, encoded, 1).residuals[0, 0]
    logp = torch.stack([lens.loaded.anatomy.logits(state[None])[0] for state in states])
    logp = logp.log_softmax(-1)
    final = int(logp[-1].argmax())
    top = logp.topk(5)
    layers = [
        {
            "top_id": top.indices[layer].tolist(),
            "top_logprob": top.values[layer].tolist(),
            "final_logprob": float(logp[layer, final]),
        }
        for layer in range(len(logp))
    ]
    ids = encoded.inputs["input_ids"][0].tolist()
    return {"prompt": words, "input_ids": ids, "final_id": final, "layers": layers}


@pytest.fixture
def records(lens: Lens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict]:
    """Return the records by peer, as written; a test changes them and calls `write`."""
    made = {
        peer: {
            "versions": {package: f"1.{place}"},
            "gguf_sha256": lens.loaded.weights_sha256,
            "prompts": [recorded(lens, words) for words in WORDS],
        }
        for place, (peer, package) in enumerate(peers.PEERS.items())
    }
    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    return made


def compared(records: dict[str, dict], lens: Lens) -> pd.DataFrame:
    for peer, tree in records.items():
        (peers.FOLDER / f"{peer}.json").write_text(json.dumps(tree), encoding="utf-8")
    return peers.agreement(lens)


def test_a_peer_that_reads_the_same_agrees_everywhere(records: dict, lens: Lens) -> None:
    found = compared(records, lens)
    assert len(found) == 2 * 2 * 2
    normed = found[found["lens"] == "normed"]
    assert (normed["same_top1"] == 1).all()
    assert (normed["largest_nats"] < 1e-4).all()
    assert (found["n_layers"] == 6).all()
    assert set(found["version"]) == {"1.0", "1.1"}
    # Without the norm the probabilities are others.
    assert (found[found["lens"] == "raw"]["largest_nats"] > 0.01).all()


def test_planted_differences_are_found_where_they_are(records: dict, lens: Lens) -> None:
    layers = records["nnsight"]["prompts"][1]["layers"]
    layers[3]["top_logprob"][4] -= 0.25  # not on top, and less than
    layers[1]["final_logprob"] += 0.5  # this one
    layers[2]["top_id"][:2] = layers[2]["top_id"][1::-1]  # another on top
    layers[2]["top_logprob"][:2] = layers[2]["top_logprob"][1::-1]
    found = compared(records, lens).set_index(["peer", "prompt", "lens"])
    changed = found.loc[("nnsight", WORDS[1], "normed")]
    assert changed["same_top1"] == pytest.approx(5 / 6)
    assert changed["largest_nats"] == pytest.approx(0.5, abs=1e-4)
    for key in (("nnsight", WORDS[0], "normed"), ("transformerlens", WORDS[1], "normed")):
        assert found.loc[key, "same_top1"] == 1
        assert found.loc[key, "largest_nats"] < 1e-4


def test_summary_by_hand() -> None:
    rows = [
        ("a", "1", "x", "normed", 4, 1.0, 0.1), ("a", "1", "y", "normed", 6, 0.5, 0.3),
        ("a", "1", "x", "raw", 4, 0.25, 9.0), ("b", "2", "x", "normed", 4, 0.75, 0.2),
    ]  # fmt: skip
    names = ["peer", "version", "prompt", "lens", "n_layers", "same_top1", "largest_nats"]
    got = peers.summary(pd.DataFrame(rows, columns=names))
    assert got.to_dict("split")["data"] == [
        ["a", "1", "normed", 2, 10, pytest.approx(7 / 10), 0.3],
        ["a", "1", "raw", 1, 4, 0.25, 9.0],
        ["b", "2", "normed", 1, 4, 0.75, 0.2],
    ]
    assert got.columns.tolist() == [
        "peer", "version", "lens", "prompts", "layers", "same_top1", "largest_nats",
    ]  # fmt: skip


def test_other_weights_and_other_tokens_are_refused(records: dict, lens: Lens) -> None:
    records["nnsight"]["prompts"][0]["input_ids"][0] += 1
    with pytest.raises(LensbenchError, match="makes other tokens of 'How many"):
        compared(records, lens)
    records["nnsight"]["gguf_sha256"] = "ab" * 32
    with pytest.raises(LensbenchError, match=r"other weights .* than nnsight .*abababababab"):
        compared(records, lens)


def test_the_real_records_are_of_smollm2_and_packaged() -> None:
    digests = set()
    for peer in peers.PEERS:
        tree = peers.record(peer)
        digests.add(tree["gguf_sha256"])
        assert {len(prompt["layers"]) for prompt in tree["prompts"]} == {31}
    assert len(digests) == 1
    with pytest.raises(LensbenchError, match="nnsight, transformerlens"):
        peers.record("../peers/nnsight")
