"""Mine a lexicon: which tokens of the middle layers go with each answer more than chance.

The unit is the sample: a token counts once for a sample, however many of its layers have it among
the first k. Every token × answer pair is one 2 × 2 table of samples (has the token or not, has the
answer or not) and one one-sided Fisher exact test; a token that is there for any input goes with no
answer. The unit being the sample, the layers of one sample are no repeated evidence; but samples
that show the same picture are, and p is too small where there are such.

Sources: Fisher 1935, The Design of Experiments (exact test); Benjamini and Hochberg 1995 for q;
Church and Hanks 1990 for pointwise mutual information.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from lensbench.errors import ConfigError, DataError
from lensbench.lexicon import Lexicon, fold
from lensbench.metrics.reading import Shards, open_run
from lensbench.shards import shard_folders
from lensbench.trace import read_meta

#: Columns of the table of candidates, in order; `token` is written quoted (`mined_files.quoted`).
COLUMNS = (
    "model", "concept", "token", "token_id", "script", "with_answer", "without_answer",
    "n_answer", "n_others", "expected", "log_odds", "pmi_nats", "p", "q", "p_bonferroni",
    "n_tests", "first_layer", "most_frequent_layer", "in_lexicon", "conflict", "left_out",
)  # fmt: skip


@dataclass(frozen=True)
class MiningOptions:
    """What is counted and what is kept.

    Args:
        family: of the gold concepts, such as "number".
        layers: first and last layer: shares of the depth where both are written with a point
            ("0.3:0.9"), else numbers ("8:24"); both ends belong to it.
        k: a token counts if it is among the first k at one of these layers.
        smoothing: samples added to each cell of the 2 × 2 table for the log odds (Haldane 1956 and
            Anscombe 1956: ½), and to observed and expected for the mutual information.
        min_samples: a token in fewer samples is not tested. The choice looks at no answer, so it
            spends no error, and such a token could hardly be significant.
        level: the largest q of a candidate; 1 keeps all that was tested.
    """

    family: str = "number"
    layers: str = "0.3:0.9"
    k: int = 10
    smoothing: float = 0.5
    min_samples: int = 3
    level: float = 0.05

    def __post_init__(self) -> None:
        limits = (
            ("k", self.k >= 1, "1 or more"),
            ("min_samples", self.min_samples >= 1, "1 or more"),
            ("smoothing", 0 < self.smoothing < float("inf"), "a number above 0"),
            ("level", 0 < self.level <= 1, "above 0 and at most 1"),
        )
        for name, kept, wanted in limits:
            if not kept:
                raise ConfigError(f"Mining takes {wanted} for {name}, not {getattr(self, name)}.")
        layers_between(self.layers, 1)


def layers_between(text: str, n_layers: int) -> np.ndarray:
    """Return the layers that a span such as "0.3:0.9" (of the depth) or "8:24" names.

    Args:
        text: first and last, both shares between 0 and 1 or both whole numbers.
        n_layers: L; a span of numbers ends there at the latest.

    Raises:
        ConfigError: if the text is no such span.
    """
    first, colon, last = (part.strip() for part in text.partition(":"))
    try:
        if not colon:
            raise ValueError
        if first.isdecimal() and last.isdecimal():
            low, high = int(first), int(last)
            found = np.arange(low, min(high, n_layers) + 1)
        else:
            low_share, high_share = float(first), float(last)
            if not 0 <= low_share <= high_share <= 1:
                raise ValueError
            # Rounding of 0.3 · 10 must not lose layer 3.
            low = int(np.ceil(low_share * n_layers - 1e-9))
            high = int(np.floor(high_share * n_layers + 1e-9))
            found = np.arange(low, high + 1)
        if low > high and first.isdecimal() and last.isdecimal():
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"The layers {text!r} are no span: write shares of the depth, as in 0.3:0.9, or "
            "numbers, as in 8:24, the smaller first."
        ) from None
    return found


def fisher_greater(
    both: np.ndarray, token: np.ndarray, answer: np.ndarray, total: int
) -> np.ndarray:
    """Return P(X ≥ both), X hypergeometric: the one-sided p of Fisher's exact test, any shape.

    Args:
        both: samples with the token and the answer.
        token: samples with the token.
        answer: samples with the answer.
        total: all samples.
    """
    return np.minimum(hypergeom.sf(both - 1, total, answer, token), 1.0)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return q, the smallest level of false discovery at which each test is still rejected.

    Args:
        p: p-values of all tests made, [m].

    Source:
        Benjamini and Hochberg 1995: q_(i) = min over j ≥ i of p_(j) · m ÷ j.
    """
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def occurrences(top_id: np.ndarray, layers: np.ndarray) -> pd.DataFrame:
    """Return sample (row number), token_id and layer wherever a token is among the first k, once.

    Args:
        top_id: the first k tokens of the layers looked at, [n, m, k].
        layers: their numbers, [m].
    """
    n, m, k = top_id.shape
    frame = pd.DataFrame(
        {
            "sample": np.repeat(np.arange(n), m * k),
            "token_id": top_id.reshape(-1),
            "layer": np.tile(np.repeat(layers, k), n),
        }
    )
    return frame.drop_duplicates(ignore_index=True)


def associations(
    found: pd.DataFrame, answers: Sequence[str] | np.ndarray, options: MiningOptions
) -> pd.DataFrame:
    """Return the test of every token × answer pair, pairs that never meet included.

    Args:
        found: sample, token_id and layer, as `occurrences` gives them.
        answers: the answer of each sample, [n].
        options: smoothing and min_samples.

    Returns:
        One row a pair: concept, token_id, the counts and statistics of `COLUMNS`, all tests among
        the corrections; p_bonferroni holds under any dependence of the tests, q where they are
        independent or positively dependent.
    """
    names, of_sample = np.unique(np.asarray(answers, dtype=object).astype(str), return_inverse=True)
    pairs = found[["sample", "token_id"]].drop_duplicates()
    tokens, of_pair = np.unique(pairs["token_id"].to_numpy(), return_inverse=True)
    cell = of_pair * len(names) + of_sample[pairs["sample"].to_numpy()]
    both = np.bincount(cell, minlength=len(tokens) * len(names)).reshape(len(tokens), len(names))
    kept = both.sum(axis=1) >= options.min_samples
    tokens, both = tokens[kept], both[kept]
    total, answer = len(of_sample), np.bincount(of_sample, minlength=len(names))
    token = both.sum(axis=1)
    expected = token[:, None] * answer / max(total, 1)
    p = fisher_greater(both, token[:, None], answer, total)
    s = options.smoothing
    rest, neither = answer - both, total - token[:, None] - answer + both
    odds = np.log((both + s) * (neither + s) / ((token[:, None] - both + s) * (rest + s)))
    frame = pd.DataFrame(
        {
            "concept": np.tile(names, len(tokens)),
            "token_id": np.repeat(tokens, len(names)),
            "with_answer": both.ravel(),
            "without_answer": (token[:, None] - both).ravel(),
            "n_answer": np.tile(answer, len(tokens)),
            "n_others": total - np.tile(answer, len(tokens)),
            "expected": expected.ravel(),
            "log_odds": odds.ravel(),
            "pmi_nats": np.log((both + s) / (expected + s)).ravel(),
            "p": p.ravel(),
        }
    )
    frame["q"] = benjamini_hochberg(frame["p"].to_numpy())
    frame["p_bonferroni"] = np.minimum(frame["p"] * len(frame), 1.0)
    return frame.assign(n_tests=len(frame))


def layers_of(found: pd.DataFrame, answers: Sequence[str] | np.ndarray) -> pd.DataFrame:
    """Return first_layer and most_frequent_layer of each concept and token_id that meet.

    Args:
        found: sample, token_id and layer.
        answers: the answer of each sample, [n].

    Returns:
        Indexed by concept and token_id; a tie goes to the earlier layer.
    """
    concept = np.asarray(answers, dtype=object).astype(str)[found["sample"].to_numpy()]
    counts = found.assign(concept=concept).groupby(["concept", "token_id", "layer"]).size()
    table = counts.rename("samples").reset_index()
    first = table.groupby(["concept", "token_id"])["layer"].min()
    ordered = table.sort_values(["samples", "layer"], ascending=[False, True], kind="stable")
    most = ordered.groupby(["concept", "token_id"])["layer"].first()
    return pd.DataFrame({"first_layer": first, "most_frequent_layer": most})


def mine(
    runs: Sequence[tuple[Sequence[str | Path], str | Path]],
    lexicon: Lexicon,
    options: MiningOptions | None = None,
) -> pd.DataFrame:
    """Return the candidates of all runs: tokens that go with an answer, with their evidence.

    The runs of one model are counted together; each model is tested and corrected by itself, since
    an id means something else in another vocabulary.

    Args:
        runs: the shards of each run, and its model's folder.
        lexicon: in which the tokens are looked up.
        options: defaults if None.

    Returns:
        Columns `COLUMNS`, the pairs with q ≤ level, by model, concept and evidence.

    Raises:
        DataError: if no sample has a gold concept of the family, or all have the same.
        ConfigError: if the traces list fewer than k tokens, or no layer lies in the span.
    """
    options = options or MiningOptions()
    by_model: dict[str, list[Shards]] = {}
    for folders, model_folder in runs:
        shards = open_run(folders, model_folder)
        by_model.setdefault(shards.run.meta.model, []).append(shards)
    parts = [_mine_model(by_model[model], lexicon, options) for model in sorted(by_model)]
    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(filled, ignore_index=True)


def _mine_model(runs: list[Shards], lexicon: Lexicon, options: MiningOptions) -> pd.DataFrame:
    """Return the candidates of one model, the samples of all its runs counted together."""
    meta, vocabulary = runs[0].run.meta, runs[0].run.vocabulary
    layers = layers_between(options.layers, meta.n_layers)
    if not len(layers):
        raise ConfigError(
            f"No layer of {meta.model}, which has layers 0 to {meta.n_layers}, lies in "
            f"{options.layers}: widen --layers."
        )
    if options.k > meta.k:
        raise ConfigError(
            f"The traces of {meta.model} list {meta.k} tokens a layer, fewer than the {options.k} "
            "asked for: lower --top or raise extraction.top_k."
        )
    blocks, answers = [], []
    for block in (block for shards in runs for block in shards.blocks()):
        gold = block.gold
        of_family = np.array([concept.split(":")[0] == options.family for concept in gold])
        blocks.append(block.content.top_id[of_family][:, layers, : options.k])
        answers.append(gold[of_family])
    gold = np.concatenate(answers)
    if len(set(gold)) < 2:
        raise DataError(
            f"{meta.model} has {len(gold)} samples with {len(set(gold))} different answers of the "
            f"family {options.family}, and co-occurrence needs two: give runs that ask for more."
        )
    found = occurrences(np.concatenate(blocks), layers)
    tested = associations(found, gold, options)
    kept = tested[(tested["q"] <= options.level) & (tested["with_answer"] > 0)]
    kept = kept.join(layers_of(found, gold), on=["concept", "token_id"])
    ids = kept["token_id"].to_numpy()
    texts = vocabulary.text(ids)
    owners = [(lexicon.find(text) or ("",))[0] for text in texts]
    banned = {fold(form): reason for form, reason in lexicon.left_out.items()}
    concepts = kept["concept"].tolist()
    kept = kept.assign(
        model=meta.model,
        token=texts,
        script=vocabulary.script(ids),
        in_lexicon=owners,
        conflict=[
            owner if owner and owner != concept else ""
            for owner, concept in zip(owners, concepts, strict=True)
        ],
        left_out=[banned.get(fold(text), "") for text in texts],
    )
    return kept.sort_values(
        ["concept", "q", "p", "log_odds", "token_id"],
        ascending=[True, True, True, False, True],
        key=lambda column: column.map(_by_number) if column.name == "concept" else column,
        kind="stable",
    )[list(COLUMNS)].reset_index(drop=True)


def _by_number(concept: str) -> tuple[str, int, str]:
    """Return a key under which number:10 comes after number:9."""
    family, _, name = concept.partition(":")
    return family, int(name) if name.isdecimal() else -1, name


def runs_of_folders(
    traces: Sequence[str | Path], model_folders: Sequence[str | Path]
) -> list[tuple[list[Path], Path]]:
    """Return the shards of each run and its model's folder.

    Args:
        traces: shards, or folders of a run that hold its shards.
        model_folders: folders written by inspect, one for each model of the traces.

    Raises:
        TraceError: if a folder holds no trace, or a ledger names what is not there.
        DataError: if a model's folder is not among those given.
    """
    models = {read_meta(folder).model: Path(folder) for folder in model_folders}
    runs: dict[tuple[str, str], list[Path]] = {}
    for folder in traces:
        path = Path(folder)
        for shard in shard_folders([path]):
            meta = read_meta(shard)
            if meta.model not in models:
                raise DataError(
                    f"{shard} is a trace of {meta.model}, whose folder is not given: add "
                    "--model-folder."
                )
            here = runs.setdefault((meta.model, meta.dataset), [])
            if shard not in here:
                here.append(shard)
    return [(shards, models[model]) for (model, _), shards in sorted(runs.items())]
