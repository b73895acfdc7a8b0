"""The gate: what must hold before a model's numbers are believed.

Every check runs the way samples are run: through the same prompts, hooks and generation.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lensbench.errors import GateError
from lensbench.lens.attention import implementation
from lensbench.lens.generate import Traced, generate, trace_batch
from lensbench.models.load import LoadedModel
from lensbench.models.prompt import Encoded, encode

_STEPS = 2
#: Largest |Δ log-probability| between the readout of the last layer and the model's own logits.
_READOUT = {"float32": 1e-4}
_READOUT_HALF = 5e-2
#: Between a left-padded batch and single samples: kernels round half floats by the batch's shape.
_PADDING = {"float32": 1e-4}
_PADDING_HALF = 0.5
#: Between our attention row and the eager implementation's.
_ATTENTION = {"float32": 1e-5}
_ATTENTION_HALF = 5e-2


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

    def require(self) -> GateReport:
        """Return the report if every check passed.

        Raises:
            GateError: naming the first check that failed, and by how much.
        """
        for check in self.checks:
            if not check.passed:
                raise GateError(
                    f'{self.model} is refused by the gate, check "{check.name}": {check.detail} is '
                    f"{check.value:.3g}, at most {check.limit:.3g} is allowed."
                )
        return self


def run_gate(loaded: LoadedModel) -> GateReport:
    """Run every check of the gate on a model.

    Returns:
        The report; call its `require` to refuse a model that fails.
    """
    rows = _probe_rows(loaded)
    batch = encode(loaded, rows, _probe_pictures(loaded))
    singles = [
        encode(loaded, [row], _probe_pictures(loaded)[i : i + 1]) for i, row in enumerate(rows)
    ]
    plain = generate(loaded, batch, _STEPS, logits=True)
    traced = trace_batch(loaded, batch, _STEPS, keep_rows=True, logits=True)
    checks = [
        *_weights(loaded),
        *_readout(loaded, traced),
        _hooks(traced, torch.stack(plain.logits, dim=1).float()),
        *_attention(loaded, batch, traced),
        *_padding(loaded, traced, singles),
    ]
    if loaded.task == "image-text":
        checks += _images(loaded, batch)
    return GateReport(loaded.name, tuple(checks))


def _check(name: str, value: float, limit: float, detail: str) -> Check:
    # A value that is no number fails every comparison, so it is never let through.
    return Check(name, float(value), float(limit), bool(value <= limit), detail)


def _probe_rows(loaded: LoadedModel) -> list[dict[str, Any]]:
    """Two prompts of different lengths, so that one of them is padded."""
    image = "probe.png" if loaded.task == "image-text" else None
    prompts = ("How many stars are there in this picture of the sky? Answer with a digit.", "Why?")
    return [{"prompt": words, "style": "chat", "image": image} for words in prompts]


def _probe_pictures(loaded: LoadedModel) -> list[Image.Image]:
    """Two drawn pictures of one size, with something different in every patch."""
    if loaded.task != "image-text":
        return []
    ramp = Image.linear_gradient("L")
    other = Image.radial_gradient("L")
    first = Image.merge("RGB", (ramp, other, ramp.rotate(90)))
    return [first, first.rotate(90)]


def _weights(loaded: LoadedModel) -> list[Check]:
    checks = [
        _check("weights_missing", len(loaded.missing), 0, "the number of weights no file had")
    ]
    model = loaded.model
    if getattr(model.config, "tie_word_embeddings", False):
        left = model.get_input_embeddings().weight.detach()
        right = model.get_output_embeddings().weight.detach()
        apart = math.inf if left.shape != right.shape else float((left - right).abs().max().float())
        detail = "the largest difference of input and output embeddings, said to be tied,"
        checks.append(_check("tied_embeddings", apart, 0, detail))
    return checks


def _readout(loaded: LoadedModel, traced: Traced) -> list[Check]:
    assert traced.logits is not None
    states = traced.residuals[:, :, -1]
    ours = loaded.anatomy.logits(states.reshape(-1, states.shape[-1]))
    theirs = traced.logits.reshape(-1, traced.logits.shape[-1]).to(ours.device)
    if ours.shape != theirs.shape:
        return [_check("readout_top1", math.inf, 0, "the difference in the number of logits")]
    # The top token may differ only among logits that are equal but for rounding.
    top = ours.argmax(-1, keepdim=True)
    lost = theirs.amax(-1) - theirs.gather(-1, top)[..., 0]
    limit = _READOUT.get(loaded.dtype, _READOUT_HALF)
    wrong = int((lost > limit).sum())
    apart = (ours.log_softmax(-1) - theirs.log_softmax(-1)).abs().max()
    return [
        _check("readout_top1", wrong, 0, "the number of steps whose top token differs"),
        _check(
            "readout_logprob",
            float(apart),
            limit,
            "the largest difference of the last layer's log-probabilities from the model's own",
        ),
    ]


def _hooks(traced: Traced, plain: Tensor) -> Check:
    assert traced.logits is not None
    same = plain.shape == traced.logits.shape
    value = float((traced.logits - plain).abs().max()) if same else math.inf
    return _check("hooks_change_nothing", value, 0, "the largest change of a logit by the hooks")


def _attention(loaded: LoadedModel, batch: Encoded, traced: Traced) -> list[Check]:
    rows = traced.capture.rows
    sums = max(float((row.sum(-1) - 1).abs().max()) for step in rows for row in step.values())
    decoder = loaded.anatomy.decoder
    with implementation(decoder, "eager"):
        eager = trace_batch(loaded, batch, _STEPS, keep_rows=True)
    apart = 0.0
    for step, (ours, theirs) in enumerate(zip(rows, eager.capture.rows, strict=True)):
        # Later steps are compared only where both went on with the same token.
        fed = [a[:step] == b[:step] for a, b in zip(traced.ids, eager.ids, strict=True)]
        keep = torch.tensor(fed, device=batch.image.device)
        for layer, row in ours.items():
            other = theirs[layer]
            if not bool(keep.any()):
                continue
            same = row.shape == other.shape
            diff = (row - other)[keep].abs().max() if same else math.inf
            apart = max(apart, float(diff))
    limit = _ATTENTION.get(loaded.dtype, _ATTENTION_HALF)
    return [
        _check("attention_sums_to_1", sums, limit, "the largest error of a row's sum"),
        _check(
            "attention_is_eager",
            apart,
            limit,
            "the largest difference of an attention row from the eager implementation's",
        ),
    ]


def _padding(loaded: LoadedModel, traced: Traced, singles: list[Encoded]) -> list[Check]:
    anatomy, apart = loaded.anatomy, 0.0
    for index, single in enumerate(singles):
        alone = trace_batch(loaded, single, 1)
        ours = anatomy.logits(traced.residuals[index, 0]).log_softmax(-1)
        theirs = anatomy.logits(alone.residuals[0, 0]).log_softmax(-1)
        apart = max(apart, float((ours - theirs).abs().max()))
    limit = _PADDING.get(loaded.dtype, _PADDING_HALF)
    detail = "the largest difference of a padded sample's log-probabilities from its own alone"
    return [_check("padding_changes_nothing", apart, limit, detail)]


def _images(loaded: LoadedModel, batch: Encoded) -> list[Check]:
    positions = sum(batch.n_image_tokens)
    features = _n_features(loaded, batch.inputs)
    apart = math.inf if positions == 0 else abs(positions - features)
    detail = f"the difference of {positions} image positions and {features} image features"
    return [_check("image_positions", apart, 0, detail)]


def _n_features(loaded: LoadedModel, inputs: Mapping[str, Tensor]) -> int:
    """Return how many features the model makes of a batch's pictures."""
    make = loaded.model.get_image_features
    wanted = inspect.signature(make).parameters
    with torch.inference_mode():
        output = make(**{key: value for key, value in inputs.items() if key in wanted})
    found = getattr(output, "pooler_output", output)
    parts = [found] if isinstance(found, Tensor) else list(found)
    return sum(part.numel() // part.shape[-1] for part in parts)
