"""What the patch lens costs: all image positions × all layers × the whole vocabulary.

python benchmarks/patch_lens.py --model qwen2-vl-0.5b --positions 64 --json out.json
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import harness

import models

NAMES = (*models.QWEN2_VL, *models.LLAVA)


def floor(name: str, batch: int, positions: int, layers: int) -> dict[str, float]:
    """Count what the readout takes at least: its products, and bytes of weights (float32).

    Returns:
        GFLOP of all products, MB of the output embeddings (read once by each chunk of rows), and
        MB that all logits would take at once.
    """
    config = models.outline(name).config.get_text_config()
    depth = (layers or config.num_hidden_layers) + 1
    width, words, rows = config.hidden_size, config.vocab_size, depth * batch * positions
    return {
        "products_gflop": 2 * rows * width * words / 1e9,
        "unembedding_mb": 4 * width * words / 2**20,
        "all_logits_mb": 4 * rows * words / 2**20,
    }


def tasks(names: tuple[str, ...], **given: Any) -> list[tuple[Mapping[str, Any], str]]:
    """Return contenders with what each is told, in the order of their names."""
    return [({"contender": name, **given}, harness.OWN) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="qwen2-vl-0.5b", choices=NAMES)
    add("--batch", type=int, default=1)
    add("--positions", type=int, default=64, help="image positions a picture")
    add("--layers", type=int, default=0, help="blocks; by default as many as the size has")
    add("--dtype", choices=models.DTYPES, default="float32")
    add("--device", default="cpu")
    add("--seed", type=int, default=0)
    add("--repeats", type=int, default=5, help="timed rounds; five or more to be reported")
    add("--warmup", type=int, default=1)
    add("--at", nargs="*", default=[], metavar="POSITIONSxLAYERS", help="more peaks of memory")
    add("--without-transformers", action="store_true", help="leave the contender transformers out")
    add("--alone", action="store_true", help="one contender in memory at a time")
    add("--json", help="where the result goes")
    options = parser.parse_args()

    keys = ("model", "dtype", "device", "seed", "batch")
    shared = {key: getattr(options, key) for key in keys}
    size = {"positions": options.positions, "layers": options.layers}
    names = ("plain", "products", "lensbench", "transformers")
    if options.without_transformers:
        names = names[:-1]
    found = harness.measure(
        "patches.py",
        tasks(names, **shared, **size),
        options.repeats,
        options.warmup,
        options.dtype,
        options.alone,
    )
    ratios = {}
    for clock in ("median_s", "median_cpu_s"):
        of = {name: row[clock] for name, row in found["contenders"].items()}
        ratios[clock] = (of["lensbench"] - of["plain"]) / of["products"]
    peaks = []
    for each in [f"{options.positions}x{options.layers}", *options.at]:
        positions, layers = (int(number) for number in each.split("x"))
        pair = tasks(("plain", "lensbench"), **shared, positions=positions, layers=layers)
        rows = harness.measure("patches.py", pair, 1, 1, options.dtype, alone=True)["contenders"]
        peak = {name: row["peak_mb"] for name, row in rows.items()}
        peaks.append({"positions": positions, "layers": layers, **peak})
    tree = {
        "benchmark": "patch_lens",
        **{key: value for key, value in vars(options).items() if key not in ("json", "at")},
        "weights": "random, from the seed",
        "machine": harness.machine(options.device),
        "floor": floor(options.model, options.batch, options.positions, options.layers),
        "readout_over_products": ratios,
        "peaks_mb": peaks,
        **found,
    }
    harness.write(options.json, tree)
    print(
        f"{options.model}, {options.batch} × {options.positions} positions, {options.dtype} on "
        f"{options.device}, {options.repeats} rounds"
    )
    harness.show(found["contenders"])
    print("(lensbench − plain) / products:", f"{ratios['median_s']:.3f}")
    print("the same of the threads' time: ", f"{ratios['median_cpu_s']:.3f}")
    for peak in peaks:
        above = peak["lensbench"] - peak["plain"]
        layers = peak["layers"] or "all"
        print(f"{peak['positions']} positions × {layers} blocks: {above:.0f} MB above plain")


if __name__ == "__main__":
    main()
