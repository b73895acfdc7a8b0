"""What a check of the gate is, how much it allows, and the report of all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from lensbench.errors import GateError

#: Steps that are generated to check a model.
STEPS = 2
#: Distance from 1 to the next number, by dtype.
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
#: |Δ log-probability| that any model may have between the readout of the last layer and its own
#: logits; where its logits are large, `readout_limit` allows more.
READOUT = {"float32": 1e-4}
READOUT_HALF = 5e-2
#: Between a left-padded batch and single samples; a model that its own rounding moves further may
#: be further apart (`Noise`).
PADDING = {"float32": 1e-4}
PADDING_HALF = 0.5
#: Between a step that goes on from a cache and one that passes through everything again, likewise.
CACHE = {"float32": 5e-4}
#: What a row of float32 attention weights may sum to beside 1.
ROW_SUM = 1e-5
#: Logits below this are of tokens that a model rules out.
RULED_OUT = -1e30


@dataclass(frozen=True)
class Check:
    """One check: it passes if the value is at most the limit."""

    name: str
    value: float
    limit: float
    passed: bool
    detail: str


@dataclass(frozen=True)
class GateReport:
    """The checks of one model."""

    model: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> str:
        """Return the report as JSON with sorted keys; a value that is no number as null."""
        checks = [
            {**asdict(c), "value": c.value if math.isfinite(c.value) else None} for c in self.checks
        ]
        tree = {"model": self.model, "passed": self.passed, "checks": checks}
        return json.dumps(tree, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> GateReport:
        """Return the report of `to_json`; a value that is no number comes as NaN.

        Raises:
            ValueError: if the text is no such report.
        """
        try:
            tree = json.loads(text)
            report = cls(tree["model"], tuple(_read(check) for check in tree["checks"]))
            texts = [report.model, *(c.name + c.detail for c in report.checks)]
            "".join(texts).encode()
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError("It is no report of the gate.") from error
        return report

    def refusal(self) -> str:
        """Return the sentence on the first check that failed, and by how much; "" if none did."""
        for check in self.checks:
            if not check.passed:
                return (
                    f'{self.model} is refused by the gate, check "{check.name}": {check.detail} is '
                    f"{check.value:.3g}, at most {check.limit:.3g} is allowed."
                )
        return ""

    def require(self) -> GateReport:
        """Return the report if every check passed.

        Raises:
            GateError: naming the first check that failed, and by how much.
        """
        refusal = self.refusal()
        if refusal:
            raise GateError(refusal)
        return self


def check(name: str, value: float, limit: float, detail: str) -> Check:
    """Return a check; a value that is no number doesn't pass."""
    # A value that is no number fails every comparison, so it is never let through.
    return Check(name, float(value), float(limit), bool(value <= limit), detail)


@dataclass
class Worst:
    """Of values that each have a limit, the one that is nearest to its own or furthest beyond.

    Args:
        value: what was found.
        limit: its limit.
    """

    value: float = 0.0
    limit: float = 0.0
    _share: float = -1.0

    def add(self, values: Iterable[float], limits: Iterable[float]) -> None:
        """Take values, each with its limit; one that is no number is the worst there is."""
        for value, limit in zip(values, limits, strict=True):
            share = (value / limit if limit else math.inf) if value else 0.0
            if not share <= self._share:
                self.value, self.limit = value, limit
                self._share = math.inf if math.isnan(share) else share

    def check(self, name: str, detail: str) -> Check:
        """Return the check on the worst value."""
        return check(name, self.value, self.limit, detail)


def _read(tree: dict[str, Any]) -> Check:
    """Return a check of a report's JSON; what is no check raises what it likes."""
    given = Check(**tree)
    value = math.nan if given.value is None else given.value
    numbers = {type(value), type(given.limit)} <= {int, float} and math.isfinite(given.limit)
    if not numbers or type(given.passed) is not bool:
        raise TypeError("no check")
    return replace(given, value=float(value), limit=float(given.limit))
