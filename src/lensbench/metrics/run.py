"""All metrics of one run, from its traces alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lensbench.files import atomic_path
from lensbench.metrics import accuracy, by_layer, concepts, convergence, lenses, scripts
from lensbench.metrics.answer_path import answer_path
from lensbench.metrics.answer_way import answer_way
from lensbench.metrics.bootstrap import Bootstrap, Estimate
from lensbench.metrics.counting import by_count, matched_kinds
from lensbench.metrics.head_tables import head_tables
from lensbench.metrics.language_lead import language_lead
from lensbench.metrics.options import MetricOptions
from lensbench.metrics.rundata import RunData, load_run
from lensbench.metrics.tables import RUN_TABLES, along_layers, finished
from lensbench.metrics.tokens import tokens

STABLE = (1, 2, 4)


def compute_run(
    trace_folders: Sequence[str | Path],
    model_folder: str | Path,
    options: MetricOptions | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute every metric table of one model on one dataset.

    Args:
        trace_folders: all shards of the run, in any order.
        model_folder: where the model's vocabulary and forms are.
        options: defaults if None.

    Returns:
        One frame for each of `tables.RUN_TABLES`, columns in that order. Statistics over no sample
        at all (accuracy where no gold concept has a usable form) have no row.

    Raises:
        DataError: if no sample could be read, or more of them are rejected than may be.
        TraceError: if a shard or table is missing, damaged, or of another schema or run.
    """
    options = options or MetricOptions()
    boot = Bootstrap(options.seed, options.resamples, options.confidence)
    run = load_run(trace_folders, model_folder, options.max_rejected)
    readings = lenses.readings(run)
    makers: dict[str, Callable[[], list[pd.DataFrame]]] = {
        "convergence": lambda: [_convergence(run)],
        "summary": lambda: [_summary(run, boot, options.early_exit, readings)],
        "by_layer": lambda: _by_layer(run, boot, options.early_exit),
        "accuracy_by_answer": lambda: _accuracy_by_answer(run, boot),
        "accuracy_by_family": lambda: [_accuracy_by_family(run, boot)],
        "accuracy_by_language": lambda: _accuracy_by_language(run, boot),
        "han_in_topk": lambda: _han_in_topk(run, boot),
        "script_mass": lambda: _script_mass(run, boot),
        "concept_mass": lambda: _concept_mass(run, boot),
        "lenses": lambda: lenses.lenses(run, boot, readings),
        "language_lead": lambda: language_lead(run, boot),
        "answer_path": lambda: answer_path(run, boot, readings),
        "by_count": lambda: by_count(run, boot),
        "matched_kinds": lambda: matched_kinds(run, boot),
        "tokens": lambda: [tokens(run, options.examples)],
        "answer_way": lambda: [answer_way(run, options.examples)],
    }
    parts = {name: maker() for name, maker in makers.items()}
    parts |= head_tables(run, boot)
    meta = run.meta
    return {name: finished(name, parts[name], meta.model, meta.dataset) for name in RUN_TABLES}


def write_run(folder: str | Path, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write a run's tables as {table}.parquet into its folder, each whole or not at all."""
    for name, frame in frames.items():
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        with atomic_path(Path(folder) / f"{name}.parquet") as path:
            pq.write_table(table, path, compression="zstd")


def _gold(run: RunData) -> np.ndarray:
    """Gold concepts of the samples that have a usable form, [n]."""
    return run.samples["gold"].to_numpy(dtype=object)[run.has_gold]


def _asked(run: RunData) -> np.ndarray:
    """Languages asked for, of the samples that have a usable form, [n]."""
    return run.samples["language"].to_numpy(dtype=object)[run.has_gold]


def _language_of_top1(run: RunData) -> np.ndarray:
    """Index of the language of which top-1 is a gold form, else -1, [n with gold, L+1]."""
    top1 = run.first.top1[run.has_gold]
    return accuracy.language_of_hit(top1, _gold(run), run.forms, run.meta.languages)


def _convergence(run: RunData) -> pd.DataFrame:
    steps, depth = run.steps, run.meta.n_layers
    hit = convergence.hits(steps.top1, steps.final)
    layer = convergence.convergence_layer(hit)
    gold = run.samples.set_index("sample_id")["gold"].loc[steps.sample_id].to_numpy(dtype=object)
    right = accuracy.language_of_hit(steps.final, gold, run.forms, run.meta.languages) >= 0
    usable = steps.columns["gold_rank"][:, 0] >= 0
    return pd.DataFrame(
        {
            "sample_id": steps.sample_id,
            "step": steps.step,
            "convergence_layer": layer,
            "depth": layer / depth,
            "first_hit_layer": convergence.first_hit_layer(hit),
            **{f"stable{k}_layer": convergence.stable_layer(hit, k) for k in STABLE},
            "changes_of_mind": convergence.changes_of_mind(steps.top1, steps.final),
            "found_and_lost": convergence.found_and_lost(hit).astype(int),
            "last_block_js": steps.columns["js_to_final_nats"][:, -2],
            "last_block_change": (steps.top1[:, -2] != steps.final).astype(int),
            # Whole numbers or empty: a sample whose gold has no usable form is neither.
            "correct_final": pd.Series(right.astype(int), dtype="Int64").mask(~usable),
            "n_layers": depth,
        }
    )


def _summary(
    run: RunData, boot: Bootstrap, tau: float, readings: dict[str, lenses.Reading]
) -> pd.DataFrame:
    first = run.first
    table = _convergence(run)
    table = table[table["step"] == 0]
    exits = convergence.early_exit_layer(first.top_probability, tau)
    samples = run.samples
    gold = samples["gold"].to_numpy(dtype=object)
    values: dict[str, np.ndarray] = {
        "accuracy": _language_of_top1(run)[:, -1] >= 0,
        "accuracy_generated": _generated_is_gold(run)[1],
        "convergence_layer": table["convergence_layer"].to_numpy(),
        "convergence_depth": table["depth"].to_numpy(),
        "first_hit_layer": table["first_hit_layer"].to_numpy(),
        **{f"stable{k}_layer": table[f"stable{k}_layer"].to_numpy() for k in STABLE},
        "changes_of_mind": table["changes_of_mind"].to_numpy(),
        "found_and_lost": table["found_and_lost"].to_numpy(),
        "last_block_js": table["last_block_js"].to_numpy(),
        "last_block_change": table["last_block_change"].to_numpy(),
        "early_exit_layer": exits,
        "early_exit_agreement": convergence.early_exit_agreement(first.top1, first.final, exits),
        **lenses.summarised(readings, first.final),
    }
    rows = []
    for metric, sample_values in values.items():
        if len(sample_values):
            e = boot.mean(sample_values)
            rows.append((metric, float(e.value), float(e.low), float(e.high), e.n))
    kept, tried = concepts.forms_kept(gold, run.forms)
    n_all = len(samples) + run.n_rejected
    for metric, count, of in (
        ("concept_forms_kept", kept, tried),
        ("concept_forms_left_out", tried - kept, tried),
        ("n_samples", len(samples), n_all),
        ("n_rejected", run.n_rejected, n_all),
        ("n_without_gold_form", int((~run.has_gold).sum()), len(samples)),
    ):
        rows.append((metric, float(count), float(count), float(count), of))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n"])


def _by_layer(run: RunData, boot: Bootstrap, tau: float) -> list[pd.DataFrame]:
    first, has_gold = run.first, run.has_gold
    estimates: dict[str, Estimate] = {}
    if has_gold.any():
        estimates["accuracy"] = boot.mean(_language_of_top1(run) >= 0)
    for metric, values in by_layer.averaged(first, tau).items():
        estimates[metric] = boot.mean(values)
    estimates["final_rank_median"] = boot.median(first.columns["final_rank"])
    if has_gold.any():
        estimates["gold_rank_median"] = boot.median(first.columns["gold_rank"][has_gold])
    depth = run.layers / run.meta.n_layers
    return [
        along_layers(estimate, run.layers, metric=metric).assign(depth=depth)
        for metric, estimate in estimates.items()
    ]


def _accuracy_by_answer(run: RunData, boot: Bootstrap) -> list[pd.DataFrame]:
    right, gold = _language_of_top1(run) >= 0, _gold(run)
    return [
        along_layers(boot.mean(right[gold == answer]), run.layers, answer=answer)
        for answer in sorted(set(gold))
    ]


def _generated_is_gold(run: RunData) -> tuple[np.ndarray, np.ndarray]:
    """Which samples' gold has a form in the lexicon, [n], and whether what they wrote is one."""
    gold = run.samples["gold"].to_numpy(dtype=object)
    told = np.isin(gold, run.forms["concept"].unique())
    texts = run.samples["generated"].to_numpy(dtype=object)
    right = accuracy.generated_is_gold(texts[told].tolist(), gold[told].tolist(), run.forms)
    return told, right


def _accuracy_by_family(run: RunData, boot: Bootstrap) -> pd.DataFrame:
    """Accuracy at the last layer, and of what was written, by kind of question and language."""
    told, written = _generated_is_gold(run)
    measured = {
        "accuracy": (run.has_gold, _language_of_top1(run)[:, -1] >= 0),
        "accuracy_generated": (told, written),
    }
    rows = []
    for metric, (among, right) in measured.items():
        samples = run.samples[among]
        asked = samples["language"].to_numpy(dtype=object)
        for family in sorted(samples["family"].unique()):
            of_family = (samples["family"] == family).to_numpy()
            for name, mask in concepts.by_asked(asked, run.meta.languages):
                if (of_family & mask).any():
                    e = boot.mean(right[of_family & mask])
                    rows.append(
                        (family, name, metric, float(e.value), float(e.low), float(e.high), e.n)
                    )
    return pd.DataFrame(rows, columns=RUN_TABLES["accuracy_by_family"][2:])


def _accuracy_by_language(run: RunData, boot: Bootstrap) -> list[pd.DataFrame]:
    found, labels = _language_of_top1(run), run.meta.languages
    spoken = concepts.languages_with_forms(_gold(run), run.forms, labels)
    return [
        along_layers(
            boot.mean(found[mask] == labels.index(language)),
            run.layers,
            asked=asked,
            language=language,
        )
        for asked, mask in concepts.by_asked(_asked(run), labels)
        for language in spoken
    ]


def _concept_mass(run: RunData, boot: Bootstrap) -> list[pd.DataFrame]:
    mass, labels = run.first.concept_mass[run.has_gold], run.meta.languages
    spoken = concepts.languages_with_forms(_gold(run), run.forms, labels)
    return [
        along_layers(
            boot.mean(mass[mask][:, :, labels.index(language)]),
            run.layers,
            asked=asked,
            language=language,
        )
        for asked, mask in concepts.by_asked(_asked(run), labels)
        for language in spoken
    ]


def _han_in_topk(run: RunData, boot: Bootstrap) -> list[pd.DataFrame]:
    found = scripts.script_in_topk(run.first.top_id, run.vocabulary)
    return [
        along_layers(boot.mean(found[:, :, k]), run.layers, k=k + 1) for k in range(found.shape[2])
    ]


def _script_mass(run: RunData, boot: Bootstrap) -> list[pd.DataFrame]:
    return [
        along_layers(boot.mean(run.first.script_mass[:, :, s]), run.layers, script=script).assign(
            floor_vocabulary=run.vocabulary.share(script), floor_random=run.floor[:, s]
        )
        for s, script in enumerate(run.meta.scripts)
    ]
