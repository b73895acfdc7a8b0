"""Prediction depth of every sample and step, and the summary of a run: one number a metric."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lensbench.answers import UNREAD
from lensbench.metrics import accuracy, concepts, convergence
from lensbench.metrics.lenses import readings, summarised, summary_metrics
from lensbench.metrics.rundata import Block, Run
from lensbench.metrics.tally import Tally

STABLE = (1, 2, 4)
ANSWERS = ("accuracy", "accuracy_lenient", "accuracy_generated", "accuracy_generated_lenient")
#: In the order of the table; those of the other lenses come after them.
METRICS = (
    *ANSWERS, "convergence_layer", "convergence_depth", "first_hit_layer",
    *(f"stable{k}_layer" for k in STABLE),
    "changes_of_mind", "found_and_lost", "last_block_js", "last_block_change", "early_exit_layer",
    "early_exit_agreement", "without_readable_gold", "without_content", "content_step_later",
    "answer_step_later",
)  # fmt: skip
#: Those that are 0 or 1 of a sample; of all others the mean is reported.
SHARES = (
    *ANSWERS, "found_and_lost", "last_block_change", "early_exit_agreement",
    "without_readable_gold", "without_content", "content_step_later", "answer_step_later",
    "raw_last_layer_agreement",
)  # fmt: skip


def depths(block: Block) -> pd.DataFrame:
    """Return one row a sample × step: when its final token becomes, and stays, the likeliest."""
    steps, depth = block.steps, block.meta.n_layers
    hit = convergence.hits(steps.top1, steps.final)
    layer = convergence.convergence_layer(hit)
    # The answer is read once, at its content step; other steps are neither right nor wrong.
    right = pd.Series(pd.NA, index=range(len(steps.step)), dtype="Int64")
    read = block.strict.readable
    right.iloc[(block.starts + block.content_step)[read]] = block.strict.right[read, -1].astype(int)
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
            "correct_final": right,
            "n_layers": depth,
        }
    )


def measure(block: Block, tally: Tally, table: pd.DataFrame, tau: float) -> None:
    """Note what `summary` and `accuracy_by_family` report of a block.

    Args:
        block: the samples.
        tally: where it is noted.
        table: their `depths`.
        tau: threshold of early exit.
    """
    first = block.content
    at_first = table.iloc[block.starts + block.content_step]
    exits = convergence.early_exit_layer(first.top_probability, tau)
    told = accuracy.is_told(block.gold, block.forms)
    texts = block.samples["generated"].tolist(), block.gold.tolist()
    written = accuracy.generated_is_gold(*texts)
    found = accuracy.generated_is_gold(*texts, lenient=True)
    strict, lenient = block.strict, block.lenient
    values: dict[str, np.ndarray] = {
        "convergence_depth": at_first["depth"].to_numpy(),
        "early_exit_layer": exits,
        "early_exit_agreement": convergence.early_exit_agreement(first.top1, first.final, exits),
        **{name: at_first[name].to_numpy() for name in METRICS if name in at_first},
        **summarised(readings(block), first.final),
        "without_readable_gold": ~strict.readable,
        "without_content": ~block.has_content,
        "content_step_later": block.content_step > 0,
        "answer_step_later": block.answer_step > 0,
    }
    answers = (
        ("accuracy", strict.right[:, -1], strict.readable),
        ("accuracy_lenient", lenient.right[:, -1], lenient.readable),
        ("accuracy_generated", written, told),
        ("accuracy_generated_lenient", found, told),
    )
    for metric, of_samples, among in answers:
        tally.share(("summary", metric), of_samples, among)
    for metric, of_samples in values.items():
        note = tally.share if metric in SHARES else tally.mean
        note(("summary", metric), of_samples)
    family = block.samples["family"].to_numpy(dtype=object)
    for metric, of_samples, among in answers:
        for one in set(family):
            for asked, mask in concepts.by_asked(block.asked, block.meta.languages):
                key = ("accuracy_by_family", one, asked, metric)
                tally.share(key, of_samples, among & mask & (family == one))


def summary(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return one row a metric of a run: means and shares of samples, how many, and forms.

    Args:
        run: one model on one dataset.
        tally: of its blocks.
    """
    rows = []
    for metric in (*METRICS, *summary_metrics(run.meta.lens)):
        if tally.n(key := ("summary", metric)):
            e = tally.estimate(key)
            rows.append((metric, float(e.value), float(e.low), float(e.high), e.n))
    groups = run.groups
    kept, tried = concepts.forms_kept(groups.golds, run.forms)
    n_all, without = groups.n + groups.n_rejected, groups.n - sum(run.usable_golds.values())
    for metric, count, of in (
        ("concept_forms_kept", kept, tried),
        ("concept_forms_left_out", tried - kept, tried),
        ("n_samples", groups.n, n_all),
        ("n_rejected", groups.n_rejected, n_all),
        ("n_without_gold_form", without, groups.n),
        ("n_answers_not_understood", groups.golds.get(UNREAD, 0), groups.n),
    ):
        rows.append((metric, float(count), float(count), float(count), of))
    return [pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n"])]


def accuracy_by_family(run: Run, tally: Tally) -> list[pd.DataFrame]:
    """Return accuracy at the last layer, and of what was written, by kind of question and language.

    Args:
        run: one model on one dataset.
        tally: of its blocks.
    """
    rows = []
    for metric in ANSWERS:
        for family in run.groups.families:
            for asked in (concepts.ALL, *run.meta.languages):
                key = ("accuracy_by_family", family, asked, metric)
                if tally.n(key):
                    e = tally.estimate(key)
                    interval = float(e.value), float(e.low), float(e.high), e.n
                    rows.append((family, asked, metric, *interval))
    names = ["family", "asked", "metric", "value", "low", "high", "n"]
    return [pd.DataFrame(rows, columns=names)]
