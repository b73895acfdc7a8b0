"""What is promised of the same run elsewhere: one table of how far numbers may be apart, and why.

Rounding is told in units in the last place (ulp) of a logit. Most logits are below 64, and the ulp
of a number between 32 and 64 is 2^5 ÷ 2^23 = 3.8e-6 in float32 and 2^5 ÷ 2^7 = 0.25 in bfloat16
(24 and 8 bits of precision). A logit is a sum of products of a state that some 60 additions of
blocks went through; done in another order, each is off by half an ulp or less, to either side, so
that they add up like the steps of a random walk, √60 ≈ 8 half ulps, and the largest of 10^5 such
numbers is some 4 to 5 times what is usual: 16 to 20 ulps. Products of half precision are added in
float32, so that in bfloat16 only what is stored is rounded, and states are scaled again by a norm.
"""

from __future__ import annotations

from dataclasses import dataclass

from lensbench.compare.measures import MEASURES, Found
from lensbench.errors import LensbenchError

#: One unit in the last place of a logit between 32 and 64, in nats.
ULP = {"float32": 2.0**5 / 2**23, "bfloat16": 2.0**5 / 2**7}
#: Differences of these are at most so many times that of a log-probability.
_TIMES = {
    "top_logprob": 1.0,
    "final_logprob": 1.0,
    "gold_logprob": 1.0,
    "lens_logprob": 1.0,
    # −Σ p log p moves by Σ p |Δ log p| and by what Δp does to the rest.
    "entropy": 2.0,
    # Both distributions move.
    "kl": 2.0,
    "js": 1.0,
    # dp = p (1 − p) d(log odds), and p (1 − p) is at most a quarter; likewise a head's weights.
    "script_mass": 0.25,
    "concept_mass": 0.25,
    "head_mass": 0.25,
    "head_entropy": 1.0,
}


@dataclass(frozen=True)
class Tolerance:
    """How far the same run may be apart under one change.

    Args:
        name: of the class, as `--within` takes it.
        change: what is another, in words.
        dtype: whose ulps are counted.
        ulps: largest difference of a log-probability, in ulps of a logit.
        top1: largest share of samples × layers whose top-1 token may change, all of them near ties.
        samples: largest share of samples whose y, generated text or convergence layer may change.
        aggregate: largest change of an aggregate, in widths of its interval.
        why: the reason, in one sentence.
        measured: whether a test holds the embedded models to it.
    """

    name: str
    change: str
    dtype: str
    ulps: float
    top1: float
    samples: float
    aggregate: float
    why: str
    measured: bool = True

    @property
    def nats(self) -> float:
        """Largest difference of a log-probability, nats."""
        return self.ulps * ULP[self.dtype]

    def limit(self, measure: str) -> float:
        """Return how large what was found of a measure may be; of shares, the share."""
        if measure in _TIMES:
            return _TIMES[measure] * self.nats
        return {
            "top1": self.top1,
            # What rounding can't explain is never promised.
            "unexplained": 0.0,
            "answer": self.samples,
            "text": self.samples,
            "convergence": self.samples,
            # One near tie may move it by any number of layers.
            "convergence_layers": float("inf") if self.samples else 0.0,
            "metric": self.aggregate,
        }[measure]

    def allows(self, measure: str, found: Found) -> bool:
        """Say whether what was found of a measure is within this class.

        Of a share that may be above 0, one change is allowed however few there are.
        """
        limit = self.limit(measure)
        if not found.n:
            return True
        if MEASURES[measure].kind == "share":
            return found.changed <= (max(1, int(limit * found.n)) if limit else 0)
        return found.value <= limit


TOLERANCES: dict[str, Tolerance] = {
    spec.name: spec
    for spec in (
        Tolerance(
            "same", "nothing: the same machine, device, dtype, batch size and threads",
            "float32", 0, 0, 0, 0,
            "The same operations in the same order give the same bits.",
        ),
        Tolerance(
            "threads", "number of threads", "float32", 32, 1e-3, 0.02, 0.25,
            "Threads cut sums into other parts, so that their order is another.",
        ),
        Tolerance(
            "batch", "batch size, and with it padding", "float32", 64, 1e-3, 0.02, 0.25,
            "Kernels are chosen by a batch's shape, and padding shifts where sums are cut.",
        ),
        Tolerance(
            "cpu", "instruction set of the CPU", "float32", 64, 1e-3, 0.02, 0.25,
            "Wider registers add in another order, with or without fused products, and exp and the "
            "like are other polynomials, each good to a few ulps.",
        ),
        Tolerance(
            "device", "CPU and CUDA, both in float32", "float32", 256, 2e-3, 0.02, 0.25,
            "From theory: fused attention rescales its sums, fast exp and rsqrt are good to 2 "
            "ulps, sums are cut into other tiles, and all of it at every block; four times what "
            "the CPU's instruction sets may do.",
            measured=False,
        ),
        Tolerance(
            "dtype", "float32 and bfloat16", "bfloat16", 8, 0.1, 0.25, 1.0,
            "What is stored has 8 bits of precision, not 24: a state is rounded twice a block.",
        ),
    )
}  # fmt: skip


def tolerance_of(change: str, dtype: str) -> Tolerance:
    """Return the class that a change is held to where numbers are of this dtype.

    Rounding to half precision hides every other change but none at all.

    Args:
        change: a key of `TOLERANCES`.
        dtype: "float32", "bfloat16" or "float16".
    """
    return TOLERANCES[change if dtype == "float32" or change == "same" else "dtype"]


def tolerance(name: str) -> Tolerance:
    """Return the class of that name.

    Raises:
        LensbenchError: if there is none.
    """
    if name not in TOLERANCES:
        raise LensbenchError(f"No tolerance is called {name}: there are {', '.join(TOLERANCES)}.")
    return TOLERANCES[name]


def markdown() -> str:
    """Return the table of all classes that docs/numbers.md holds."""
    lines = [
        "| class | what is another | log-probability, nats | top-1 tokens | samples | aggregates |"
        " tried by a test | why |",
        "|---|---|---:|---:|---:|---:|---|---|",
    ]
    for spec in TOLERANCES.values():
        ulps = f"{spec.nats:.2g} ({spec.ulps:g} ulps of {spec.dtype})" if spec.ulps else "0"
        shares = " | ".join(f"{100 * share:g} %" for share in (spec.top1, spec.samples))
        aggregate = f"{spec.aggregate:g} of the interval" if spec.aggregate else "0"
        tried = "yes" if spec.measured else "no: from theory"
        lines.append(
            f"| `{spec.name}` | {spec.change} | {ulps} | {shares} | {aggregate} | {tried} | "
            f"{spec.why} |"
        )
    return "\n".join(lines) + "\n"
