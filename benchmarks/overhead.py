"""What reading every layer costs beside the plain forward pass, for lensbench and its peers.

python benchmarks/overhead.py --model smollm2-135m --batch 4 --tokens 300 --json out.json
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import contenders
import harness

import models


def floor(name: str, batch: int, tokens: int) -> dict[str, float]:
    """Count what the work takes at least: operations, and bytes that must be read (float32).

    Returns:
        GFLOP of the pass (blocks, attention, one row of logits a prompt), of the lens (its matrix
        product at layers 0 to L − 1; layer L is the pass's own) and of the rows of attention; MB of
        the output embeddings, read once by each chunk of the lens, and of all keys, read once.
    """
    model = models.outline(name)
    config = model.config.get_text_config()
    layers, width, words = config.num_hidden_layers, config.hidden_size, config.vocab_size
    keys = config.num_key_value_heads * width // config.num_attention_heads
    blocks = sum(weight.numel() for weight in model.get_decoder().layers.parameters())
    rows = batch * tokens
    causal = 2 * batch * tokens * tokens * width * layers  # Half of T × T, for scores and values.
    return {
        "pass_gflop": (2 * blocks * rows + causal + 2 * batch * width * words) / 1e9,
        "lens_gflop": 2 * layers * batch * width * words / 1e9,
        "rows_gflop": 2 * layers * batch * tokens * width / 1e9,
        "unembedding_mb": 4 * width * words / 2**20,
        "keys_mb": 4 * layers * rows * keys / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="smollm2-135m", choices=models.NAMES)
    add("--batch", type=int, default=4)
    add("--tokens", type=int, default=300)
    add("--mode", choices=("lens", "heads"), default="heads", help="with rows of attention or not")
    add("--dtype", choices=models.DTYPES, default="float32")
    add("--device", default="cpu")
    add("--seed", type=int, default=0)
    add("--repeats", type=int, default=5, help="timed rounds of each start")
    add("--starts", type=int, default=3, help="how often every contender's process is begun anew")
    add("--warmup", type=int, default=1)
    add("--peers-python", help="interpreter with benchmarks/requirements.txt: adds the peers")
    add("--variants", action="store_true", help="the peers in other idioms of theirs too")
    add("--only", nargs="+", choices=contenders.CONTENDERS, help="these beside the plain pass")
    add("--alone", action="store_true", help="one contender in memory at a time")
    add("--json", help="where the result goes")
    options = parser.parse_args()

    weights = models.ready(options.model)
    names = options.only or ["generate", "lensbench", "transformers"]
    if options.only is None and options.peers_python:
        names += contenders.PEERS + (contenders.VARIANTS if options.variants else ())
    tasks = []
    for name in ["plain", *(each for each in names if each != "plain")]:
        shared = ("model", "dtype", "device", "seed", "batch", "tokens", "mode")
        task = contenders.Task(name, **{key: getattr(options, key) for key in shared})
        theirs = name in contenders.PEERS + contenders.VARIANTS
        if theirs and options.model not in ("smollm2-135m", *models.TEXT):
            raise SystemExit(f"{options.model} is no text model: leave --peers-python out.")
        python = harness.python_of(options.peers_python) if theirs else harness.OWN
        tasks.append((asdict(task), python))
    found = harness.measure(
        "contenders.py",
        tasks,
        options.repeats,
        options.warmup,
        options.dtype,
        options.alone,
        options.starts,
    )
    tree: dict[str, Any] = {
        "benchmark": "overhead",
        **{key: value for key, value in vars(options).items() if key not in ("json", "only")},
        **weights,
        "machine": harness.machine(options.device),
        "floor": floor(options.model, options.batch, options.tokens),
        **found,
    }
    harness.write(options.json, tree)
    print(
        f"{options.model}, {options.batch} × {options.tokens} tokens, {options.dtype} on "
        f"{options.device}, mode {options.mode}, {options.starts} × {options.repeats} rounds"
    )
    harness.show(found["contenders"])
    apart = found["agreement"].get("largest_difference", {})
    print("same outputs:", ", ".join(apart) or "not compared")


if __name__ == "__main__":
    main()
