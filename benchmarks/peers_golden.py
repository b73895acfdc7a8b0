"""What TransformerLens and nnsight read at each layer of SmolLM2, for tests/golden/test_peers.py.

Run with the peers' Python (see README.md), after anything that made the weights:

    PEERS/bin/python benchmarks/peers_golden.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import models

MODEL = "smollm2-135m"
OUT = models.ROOT / "src/lensbench/data/peers"
#: Packaged facts in which no layer's two likeliest tokens are nearly equal (0.09 nats or more).
PROMPTS = (
    "The capital of Italy is Rome, and the capital of France is",
    "The opposite of in is out. The opposite of high is low. The opposite of full is",
    "The months in order: June, July, August,",
    "2+1=3, 1+1=",
    "quatre, cinq, six, sept,",
    'English: "mountain". 中文: "山". English: "cat". 中文: "',
)


def transformerlens() -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what reads the logits [L + 1, V] of the last position with TransformerLens.

    `boot_transformers` leaves the weights as they are; nothing is folded and nothing is centred
    unless `enable_compatibility_mode` is called.
    """
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(
        MODEL,
        hf_model=models.build(MODEL, "float32", "cpu", 0, "eager"),
        tokenizer=models.tokenizer(MODEL),
        device="cpu",
    )

    def read(ids: torch.Tensor) -> torch.Tensor:
        logits, cache = bridge.run_with_cache(ids)
        states = cache.accumulated_resid(apply_ln=True, pos_slice=-1)
        lens = bridge.unembed(states)[:, 0]
        assert torch.allclose(lens[-1], logits[0, -1], atol=1e-3)
        return lens

    return read


def nnsight() -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what reads the logits [L + 1, V] of the last position with nnsight."""
    import nnsight
    from nnsight import TransformersModel

    model = TransformersModel(
        models.build(MODEL, "float32", "cpu", 0),
        task="text-generation",
        tokenizer=models.tokenizer(MODEL),
        dispatch=True,
    )

    def read(ids: torch.Tensor) -> torch.Tensor:
        with model.trace(input_ids=ids, attention_mask=torch.ones_like(ids)):
            lens = nnsight.save([])
            lens.append(model.lm_head(model.model.norm(model.model.layers[0].input[:, -1])))
            for block in model.model.layers:
                lens.append(model.lm_head(model.model.norm(block.output[:, -1])))
        return torch.cat(lens)

    return read


PEERS = {
    "transformerlens": (transformerlens, "transformer-lens"),
    "nnsight": (nnsight, "nnsight"),
}


def golden(read: Callable[[torch.Tensor], torch.Tensor]) -> list[dict[str, Any]]:
    """Return each prompt's tokens, and of each layer the five likeliest and the final token."""
    words, found = models.tokenizer(MODEL), []
    for prompt in PROMPTS:
        ids = words(prompt, return_tensors="pt").input_ids
        with torch.inference_mode():
            logp = read(ids).float().log_softmax(-1)
        final = int(logp[-1].argmax())
        top = logp.topk(5, dim=-1)
        layers = [
            {
                "top_id": top.indices[layer].tolist(),
                "top_logprob": [round(value, 6) for value in top.values[layer].tolist()],
                "final_logprob": round(float(logp[layer, final]), 6),
            }
            for layer in range(len(logp))
        ]
        found.append(
            {"prompt": prompt, "input_ids": ids[0].tolist(), "final_id": final, "layers": layers}
        )
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    weights = models.SMOLLM2 / "model.safetensors"
    if not (weights.is_file() and models.GGUF.is_file()):
        raise SystemExit(f"{weights} is missing: run benchmarks/overhead.py once, which makes it.")
    OUT.mkdir(parents=True, exist_ok=True)
    for name, (make, package) in PEERS.items():
        tree = {
            "versions": {each: version(each) for each in (package, "torch", "transformers")},
            "gguf_sha256": _digest(models.GGUF),
            "weights_sha256": _digest(weights),
            "prompts": golden(make()),
        }
        path = OUT / f"{name}.json"
        path.write_text(_text(tree), encoding="utf-8", newline="\n")
        print(f"{path.relative_to(models.ROOT)}: {len(PROMPTS)} prompts")


def _text(tree: dict[str, Any]) -> str:
    """Return a tree as JSON, indented, but every list of numbers on one line."""
    text = json.dumps(tree, indent=1, ensure_ascii=False)
    return re.sub(r"\[[\s\d.,-]+\]", _one_line, text) + "\n"


def _one_line(found: re.Match[str]) -> str:
    return "[" + ", ".join(found[0][1:-1].replace(",", " ").split()) + "]"


if __name__ == "__main__":
    main()
