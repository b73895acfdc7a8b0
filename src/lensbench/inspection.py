"""What is noted of a model once, before its first sample: its gate, its parts, its words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lensbench.files import atomic_path
from lensbench.lexicon import LANGUAGES, load_lexicon
from lensbench.models.gate import GateReport, run_gate
from lensbench.models.load import LoadedModel
from lensbench.models.vocabulary import forms_table, vocabulary_table
from lensbench.scripts import SCRIPTS
from lensbench.trace import write_model_table
from lensbench.trace_meta import TraceMeta


def inspect_model(loaded: LoadedModel, folder: str | Path) -> GateReport:
    """Run the gate and note what a model is: gate.json, model.json, vocabulary and forms.

    The gate's report is written whether it passed or not; nothing else is if it failed.

    Args:
        loaded: the model, loaded with `verify=False`.
        folder: where the four files go, replaced as a whole.

    Returns:
        The gate's report.

    Raises:
        GateError: if a check failed.
    """
    report = run_gate(loaded)
    with atomic_path(folder) as path:
        path.mkdir()
        _write_text(path / "gate.json", report.to_json())
        if report.passed:
            vocabulary = vocabulary_table(loaded.tokenizer, loaded.anatomy.vocab_size)
            meta = model_meta(loaded)
            write_model_table(path, "vocabulary", vocabulary, meta)
            forms = forms_table(loaded.tokenizer, vocabulary, load_lexicon())
            write_model_table(path, "forms", forms, meta)
            text = json.dumps(describe(loaded), indent=2, sort_keys=True) + "\n"
            _write_text(path / "model.json", text)
    return report.require()


def describe(loaded: LoadedModel) -> dict[str, Any]:
    """Return what a model is, as it stands in model.json."""
    anatomy = loaded.anatomy
    return {
        "model": loaded.name,
        "architecture": type(loaded.model).__name__,
        "task": loaded.task,
        "n_layers": anatomy.n_layers,
        "n_heads": anatomy.n_heads,
        "hidden_size": anatomy.hidden_size,
        "n_parameters": loaded.n_parameters,
        "vocabulary_size": anatomy.vocab_size,
        "final_norm": type(anatomy.final_norm).__name__ if anatomy.final_norm is not None else "",
        "logit_scale": anatomy.logit_scale,
        "softcap": anatomy.softcap,
        "dtype": loaded.dtype,
        "device_map": loaded.device_map,
        "quantization": loaded.quantization,
        "chat_template_sha256": _digest(getattr(loaded.processor, "chat_template", None)),
        "date": loaded.prompter.date,
        "source": loaded.source,
        "revision": loaded.revision,
        "weights_sha256": loaded.weights_sha256,
    }


def _digest(template: object) -> str:
    """Return the SHA-256 of how a model is asked; "" if it has no template."""
    if not template:
        return ""
    # A tokenizer may have several by name.
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def model_meta(loaded: LoadedModel) -> TraceMeta:
    """Return what the tables of a model say about it, before they are of a dataset."""
    return TraceMeta(
        model=loaded.name,
        dataset="",
        shard=0,
        n_shards=1,
        k=1,
        scripts=tuple(SCRIPTS),
        languages=tuple(LANGUAGES),
        n_layers=loaded.anatomy.n_layers,
        n_heads=loaded.anatomy.n_heads,
        lens="normed",
        head_layers=loaded.anatomy.heads.layers,
    )


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
