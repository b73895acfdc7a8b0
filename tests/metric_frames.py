"""Small hand-made metric tables for figures, tables and numbers: as many models as a test wants."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd

from lensbench.compare.numeric_table import COLUMNS
from lensbench.metrics.study_tables import STUDY_TABLES
from lensbench.metrics.tables import RUN_TABLES

LAYERS = {"text": 30, "image": 8}
HOSTILE = [
    " Paris", "三个", "さん", " 셋", " три", "ثلاثة", "🙂", "\n\n", "<0xE4>", "\ufffd", "$x_1$",
    "NA", "<script>", "\\textbf{x}", "", "\u200b", "12", " red", "❤\ufe0f", "การ", "}{%&#^~",
]  # fmt: skip


def _rng(*key: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def runs_of(n_models: int) -> list[tuple[str, str, int]]:
    """Return (model, dataset, layers) for one text model and n − 1 image models."""
    runs = [("smollm2-135m", "facts", 30)]
    names = ["lensbench-llava", "lensbench-onevision", "lensbench-qwen2vl", "qwen2-vl-2b",
             "llava-onevision-0.5b", "llava-1.5-7b", "extra_vlm-3b"]  # fmt: skip
    layers = [8, 8, 8, 28, 24, 32, 36]
    for name, n_layers in list(zip(names, layers, strict=True))[: n_models - 1]:
        runs += [(name, dataset, n_layers) for dataset in ("fills", "flowers", "scenes")]
    return sorted(runs)


def _band(values: np.ndarray, n: int, top: float | None = 1.0) -> dict[str, np.ndarray]:
    spread = 0.04 + 0 * values if top else 0.1 * values
    return {
        "value": values.round(6),
        "low": np.maximum(0, values - spread).round(6),
        "high": (np.minimum(top, values + spread) if top else values + spread).round(6),
        "n": np.full(len(values), n),
    }


def _is_many(column: object) -> bool:
    return hasattr(column, "__len__") and not isinstance(column, str)


def _add_studies(add: Callable[..., None], model: str, dataset: str, twice: bool) -> None:
    """Add what a run on pictures has beside: its heads summed up, and heads switched off."""
    shares = {"share_image": 0.2, "share_mixed": 0.5, "share_text": 0.3, "separation": 0.6,
              "overview_positions": 0.2 if twice else 1.0}  # fmt: skip
    means = {"image_mass": 0.9, "image_mass_no_sink": 0.95, "sink_mass": 0.05,
             "text_mass": 0.05, "spread": 0.5, "image_max": 0.3,
             "overview_mass": 0.3 if twice else 0.9, "tiles_mass": 0.6 if twice else 0.0,
             "overview_share": 1 / 3 if twice else 1.0,
             "tiles_share": 2 / 3 if twice else 0.0}  # fmt: skip
    for among, found in (("all", {**shares, **means}), ("image", means)):
        add("head_summary", model, dataset, among=among, metric=list(found),
            **_band(np.array(list(found.values())), 24))  # fmt: skip
    rng = _rng("ablation", model, dataset)
    changes = {"image": ("image", -2.0), "image-stage-1": ("stage", -0.5),
               "least": ("least", -0.2), **{f"random-{i}": ("random", -0.3 * rng.random())
               for i in range(5)}, "random-mean": ("random-mean", -0.15)}  # fmt: skip
    for where, factor in (("all", 1.0), ("last", 0.5)):
        values = np.array([value for _, value in changes.values()]) * factor
        for measure, sign in (("final_logprob", 1), ("gold_logprob", 0.9), ("top1_changed", -0.2)):
            band = {"value": sign * values, "low": sign * values - 0.1,
                    "high": sign * values + 0.1, "n": 24}  # fmt: skip
            add("ablation", model, dataset, mode="zero",
                group_kind=[kind for kind, _ in changes.values()], group=list(changes),
                where=where, measure=measure, n_heads=4, **band, rule="by hand")  # fmt: skip
            primary = where == "all" and measure == "final_logprob"
            add("ablation_contrast", model, dataset, mode="zero", where=where, measure=measure,
                against=["random", "least"], n_heads=4, value=-1.85 * factor * sign, low=-2.0,
                high=0.5, n=24, p=[1 / 3, np.nan], p_floor=[1 / 3, np.nan],
                p_holm=[2 / 3 if primary else np.nan, np.nan], holm_runs=[2 * primary, 0],
                random_median=[-0.1 * factor, np.nan], n_random=[5, 0])  # fmt: skip


#: condition → detail, largest difference, top-1 tokens and convergence layers that change.
NUMERICS = {
    "same": ("loaded and read again", 0.0, 0, 0),
    "threads": ("2 threads instead of 1", 1.86e-5, 0, 0),
    "batch": ("batch size 1 instead of 8", 4.1e-5, 1, 0),
    "dtype": ("bfloat16 instead of float32", 0.868, 23, 2),
}


def _numerics(models: list[str]) -> pd.DataFrame:
    """Return what changes numbers: 24 samples of each model, and no CUDA device."""
    rows = []
    for model in models:
        for condition, (detail, largest, flips, moved) in NUMERICS.items():
            for measure, value, n in (
                ("identical_files", float(condition == "same"), 5),
                ("top_logprob", largest, 14_880),
                ("top1", flips / 744, 744),
                ("unexplained", 0.0 if flips else np.nan, flips),
                ("answer", 0.0, 24),
                ("text", 1 / 24 if moved else 0.0, 24),
                ("convergence", moved / 24, 24),
                ("convergence_layers", 3.0 * bool(moved), 24),
            ):
                p999 = largest / 2 if measure == "top_logprob" else np.nan
                rows.append((model, "scenes", condition, detail, measure, value, p999, n, 1.0, 1))
        rows.append((model, "scenes", "device", "no CUDA device was there", "not_measured",
                     np.nan, np.nan, 0, np.nan, 1))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def metric_frames(n_models: int = 4) -> dict[str, pd.DataFrame]:
    """Return every metric table, planted so that accuracy rises at two thirds of the depth."""
    tables: dict[str, dict[str, list[object]]] = {}

    def add(name: str, model: str, dataset: str, **columns: object) -> None:
        # Lists, joined to one frame at the end: thousands of small frames take seconds.
        columns = {"model": model, "dataset": dataset, **columns}
        (n,) = {len(column) for column in columns.values() if _is_many(column)}
        table = tables.setdefault(name, {column: [] for column in columns})
        for column, values in columns.items():
            table[column].extend(values if _is_many(values) else [values] * n)

    for model, dataset, last in runs_of(n_models):
        rng = _rng(model, dataset)
        layers = np.arange(last + 1)
        depth = layers / last
        rise = 1 / (1 + np.exp(-16 * (depth - 0.6 - 0.1 * rng.random())))
        hump = np.exp(-(((depth - 0.55) / 0.15) ** 2))
        n = 100
        by_layer = {
            "accuracy": 0.95 * rise,
            "entropy_nats": 8 - 7.5 * depth**2,
            "kl_to_final_nats": 9 * (1 - rise),
            "js_to_final_nats": 0.69 * (1 - rise),
            "final_rank_median": np.floor(20000 * (1 - rise) ** 4),
            "top1_is_final": rise,
        }
        for metric, values in by_layer.items():
            top = 1.0 if metric in ("accuracy", "top1_is_final") else None
            add("by_layer", model, dataset, metric=metric, layer=layers, depth=depth,
                **_band(values, n, top))  # fmt: skip
        for lens in ("normed", "raw", "attention", "mlp"):
            from_layer = 0 if lens in ("normed", "raw") else 1
            at, shown = layers[from_layer:], depth[from_layer:]
            share = {"normed": rise, "raw": 0.6 * rise, "attention": 0.3 * hump, "mlp": 0.8 * hump}
            for metric, values in {
                "agreement": share[lens][from_layer:],
                "entropy_nats": (8 if lens == "normed" else 3) - 2.5 * shown,
                "final_rank_median": np.floor(20000 * (1 - share[lens][from_layer:]) ** 4),
            }.items():
                add("lenses", model, dataset, lens=lens, metric=metric, layer=at, depth=shown,
                    **_band(values, n, 1.0 if metric == "agreement" else None))  # fmt: skip
        if dataset == "facts":
            answers = [f"number:{i}" for i in range(12)] + ["capital:paris", "color:red"]
        elif dataset == "scenes":
            answers = [f"number:{i}" for i in range(6)] + ["color:blue", "color:red"]
        else:
            answers = ["color:blue", "color:green", "color:red", "color:yellow"]
        for place, answer in enumerate(answers):
            values = np.clip(rise * (1 - 0.05 * place), 0, 1)
            add("accuracy_by_answer", model, dataset, asked="all", answer=answer, layer=layers,
                **_band(values, 20 - place))  # fmt: skip
        for family, share in {"color": 0.96, "count": 0.9}.items():
            for metric in ("accuracy", "accuracy_generated"):
                add("accuracy_by_family", model, dataset, family=family, asked=["all"],
                    metric=metric, **_band(np.array([share]), 40))  # fmt: skip
        for k in range(1, 6):
            add("han_in_topk", model, dataset, asked="all", k=k, layer=layers,
                **_band(np.clip(hump * (0.4 + 0.12 * k), 0, 1), n))  # fmt: skip
        masses = {"Latin": 0.7 * rise, "Han": 0.5 * hump, "Digit": 0.3 * rise,
                  "Punctuation": 0.2 * (1 - depth), "Fragment": 0.1 * (1 - depth),
                  "Cyrillic": 0.05 * hump, "Arabic": 0 * hump}  # fmt: skip
        for place, (script, values) in enumerate(masses.items()):
            add("script_mass", model, dataset, asked="all", script=script, layer=layers,
                **_band(values, n), floor_vocabulary=0.3 / (place + 1),
                floor_random=0.25 / (place + 1) + 0.02 * depth)  # fmt: skip
        for asked in ("digit", "en", "zh") if dataset == "scenes" else ("en",):
            for language in ("digit", "en", "zh", "ru"):
                share = 0.9 if language == asked else 0.1
                add("concept_mass", model, dataset, asked=asked, language=language, layer=layers,
                    **_band(share * rise + 0.1 * hump * (language == "zh"), n))  # fmt: skip
                add("accuracy_by_language", model, dataset, asked=asked, language=language,
                    layer=layers, **_band(share * rise, n))  # fmt: skip
        # Rows of all questions stand beside those of counting ones where there are both; theirs
        # differ, so that drawing the one for the other is seen.
        families = {"number": 0.0, "all": 0.02} if dataset == "scenes" else {"all": 0.0}
        for asked, (family, more) in product(("all", "en"), families.items()):
            for first_language, second in (("zh", "en"), ("zh", "digit")):
                for arrival, moved in (
                    ("top1", 0.0),
                    ("top10", 0.05),
                    ("mass", 0.1),
                    ("top10_other", 0.15),
                ):
                    moved += more
                    parts = {
                        "share_only_first": 0.1, "share_first_earlier": 0.3 - moved,
                        "share_tie": 0.1, "share_second_earlier": 0.2 + moved,
                        "share_only_second": 0.25, "share_neither": 0.05, "lead_share": 0.5,
                    }  # fmt: skip
                    labels = {"family": family, "asked": asked, "first": first_language,
                              "second": second, "arrival": arrival}  # fmt: skip
                    paired = {"net_first": 0.1 - moved, "net_first_over_other": 0.2 - moved,
                              "net_first_paired": 0.1 - moved, "lead_paired": 0.2 - moved,
                              "lead_over_other": 0.3 - moved}  # fmt: skip
                    for metric, value in paired.items():
                        add("language_lead", model, dataset, **labels, metric=[metric],
                            value=[value], low=[value - 0.1], high=[value + 0.2],
                            n=[60])  # fmt: skip
                    add("language_lead", model, dataset, **labels, metric=list(parts),
                        **_band(np.array(list(parts.values())), n))  # fmt: skip
                    add(
                        "language_lead",
                        model,
                        dataset,
                        **labels,
                        metric=["lead_layers"],
                        value=[0.4 - 10 * moved],
                        low=[-0.2 - 10 * moved],
                        high=[0.9],
                        n=[60],
                    )
        for family, less in families.items():
            add("answer_path", model, dataset, asked="all", family=family,
                metric=["gold_found", "last_2_agree"],
                **_band(np.array([0.9, 0.8]) - less, n))  # fmt: skip
        if dataset == "scenes":
            for group, share in (("0-5", 0.9), ("6+", 0.6)):
                add("by_count", model, dataset, asked="all", group=group, metric=["accuracy"],
                    **_band(np.array([share]), 40))  # fmt: skip
            for weighting, gap in (("matched", 0.1), ("as they are", 0.15)):
                for metric, share in (("accuracy", 0.9), ("convergence_depth", 0.5)):
                    for kind, value in (("simple", share), ("complex", share - gap),
                                        ("difference", -gap)):  # fmt: skip
                        add("matched_kinds", model, dataset, asked="all", kind=kind,
                            weighting=weighting, metric=[metric], value=[value], low=[value - 0.05],
                            high=[value + 0.04], n=[60])  # fmt: skip
            shares = {"native": 0.9, "blank": 0.1, "56": 0.5, "224": 0.85}
            for (family, less), (variant, share) in product(families.items(), shares.items()):
                add("by_variant", model, dataset, asked="all", family=family, variant=variant,
                    metric=["accuracy", "convergence_depth"],
                    **_band(np.array([share - less, 0.8 - share / 4]), 60))  # fmt: skip
            askings = {"all": 0.02, "not zh": 0.0, "zh": 0.05}
            for (metric, peak), (family, less), (asked, other) in product(
                {"han_top1": 0.5, "han_top5": 0.9, "han_mass": 0.4}.items(), families.items(),
                askings.items(),
            ):  # fmt: skip
                most = peak - less - other
                for variant, share in (("native", 1.0), ("blank", 0.4), ("excess", 0.6)):
                    add("han_floor", model, dataset, family=family, asked=asked, metric=metric,
                        variant=variant, layer=layers,
                        **_band(most * share * hump, 60), floor_vocabulary=0.2,
                        floor_random=0.25 if metric == "han_mass" else np.nan)  # fmt: skip
        twice = "onevision" in model  # sees a picture whole and in tiles
        heads = 9 if dataset == "facts" else (4 if last == 8 else 14)
        for layer in range(1, last + 1):
            mass = rng.random(heads) * (0.9 if last * 0.3 < layer < last * 0.7 else 0.3)
            image = dataset != "facts"
            band = _band(mass if image else 0 * mass, n)
            band["image_mass"] = band.pop("value")
            kinds = np.where(mass >= 0.8, "image", np.where(mass <= 0.2, "text", "mixed"))
            add("heads", model, dataset, layer=layer, head=range(heads), **band,
                enrichment=mass * 2 if image else np.nan, image_mass_no_sink=mass, sink_mass=0.05,
                text_mass=0.95 - band["image_mass"], spread=0.5 if image else np.nan,
                image_max=mass / 3, overview_mass=band["image_mass"] * (0.3 if twice else 1),
                tiles_mass=band["image_mass"] * (0.7 if twice else 0), separation=abs(2 * mass - 1),
                image_sink_mass=0.0, picture_share=0.6 if image else np.nan,
                odds_ratio=mass if image else np.nan, odds_low=mass / 2 if image else np.nan,
                odds_high=mass * 2 if image else np.nan, odds_n=n if image else 0,
                kind=kinds if image else "none",
                kind_by_mass=kinds if image else "text")  # fmt: skip
        if dataset != "facts":
            _add_studies(add, model, dataset, twice)
            ends = [int(last * 0.3), int(last * 0.7), last]
            add("stages", model, dataset, stage=range(1, 4),
                first_layer=[1, ends[0] + 1, ends[1] + 1], last_layer=ends,
                image_mass=[0.15, 0.45, 0.15], low=[0.1, 0.4, 0.1],
                high=[0.2, 0.5, 0.2], n=n)  # fmt: skip
        first = rng.integers(int(last * 0.4), last, n)
        add("convergence", model, dataset, sample_id=[f"{dataset}-{i:05d}" for i in range(n)],
            step=0, convergence_layer=np.minimum(last, first + rng.integers(0, 4, n)),
            depth=first / last, first_hit_layer=first, stable1_layer=first,
            stable2_layer=np.minimum(last, first + 1), stable4_layer=np.minimum(last, first + 2),
            changes_of_mind=1, found_and_lost=0, last_block_js=0.1, last_block_change=0,
            correct_final=1, n_layers=last)  # fmt: skip
        summary = {
            "accuracy": 0.93, "accuracy_generated": 0.92,
            "accuracy_generated_lenient": 0.94, "convergence_layer": 0.7 * last,
            "convergence_depth": 0.7, "first_hit_layer": 0.6 * last, "stable1_layer": 0.6 * last,
            "stable2_layer": 0.62 * last, "stable4_layer": 0.65 * last, "changes_of_mind": 0.41,
            "found_and_lost": 0.05, "last_block_js": 0.031, "last_block_change": 0.012,
            "early_exit_layer": 0.8 * last, "early_exit_agreement": 0.97,
            "raw_convergence_layer": 0.8 * last,
            "raw_minus_normed_convergence_layer": 0.1 * last, "raw_last_layer_agreement": 0.55,
            "attention_blocks_on_final": 0.2 * last, "mlp_blocks_on_final": 0.3 * last,
            "concept_forms_kept": 120.0, "n_rejected": 0.0,
            "n_answers_not_understood": 0.0,
        }  # fmt: skip
        add("summary", model, dataset, metric=list(summary),
            **_band(np.array(list(summary.values())), n, None))  # fmt: skip
        for sample in range(6):
            for step, generated in enumerate([" three", "."][: 1 + (sample % 2)]):
                start = sample * 7 + step * 3
                texts = [HOSTILE[(start + layer) % len(HOSTILE)] for layer in layers]
                texts[-1] = generated
                add("tokens", model, dataset, sample_id=f"{dataset}-{sample:05d}", step=step,
                    layer=layers, top_id=layers + sample, text=texts, probability=rise.round(6),
                    final_rank=np.where(layers > last * 0.7, 0, 50), script="Latin",
                    generated_text=generated)  # fmt: skip
            for lens in ("normed", "raw"):
                start = int(last * (0.5 if lens == "normed" else 0.8))
                texts = [HOSTILE[(sample * 5 + layer) % len(HOSTILE)] for layer in layers]
                add("answer_way", model, dataset, sample_id=f"{dataset}-{sample:05d}", lens=lens,
                    layer=layers, depth=depth, top_id=layers + sample, text=texts,
                    probability=rise.round(6), script="Latin",
                    final_rank=np.where(layers >= start, 0, 300 + sample),
                    final_text=f" {sample // 2}", gold_rank=layers,
                    gold="number:3")  # fmt: skip
        if dataset != "facts":
            _add_patches(add, model, dataset, last, twice)
    frames = {name: pd.DataFrame(columns) for name, columns in tables.items()}
    models = sorted({(model, last) for model, _, last in runs_of(n_models)})
    frames["models"] = pd.DataFrame(
        [(m, "LlavaForConditionalGeneration", last, 4, 2_200_000, 512, "float32", f"packaged:{m}",
          "", "ab" * 32) for m, last in models],
        columns=["model", "architecture", "n_layers", "n_heads", "n_parameters",
                 "vocabulary_size", "dtype", "source", "revision", "weights_sha256"],
    )  # fmt: skip
    frames["numerics"] = _numerics(sorted({model for model, _, _ in runs_of(n_models)}))
    frames["gates"] = pd.DataFrame(
        [(m, check, value, limit, "True") for m, _ in models
         for check, value, limit in (("readout_equals_logits", 3.1e-6, 1e-4),
                                     ("attention_rows_sum_to_1", 1.2e-7, 1e-5))],
        columns=["model", "check", "value", "limit", "passed"],
    )  # fmt: skip
    for name, columns in {**RUN_TABLES, **STUDY_TABLES}.items():
        frames.setdefault(name, pd.DataFrame(columns=columns))
    return frames


def _add_patches(
    add: Callable[..., None], model: str, dataset: str, last: int, twice: bool
) -> None:
    """Add the patches of two pictures of 3 × 3: the first row late and blank, the last early."""
    row, col = np.divmod(np.arange(9), 3)
    for sample in range(2):
        add("patch_best", model, dataset, sample_id=f"{dataset}-{sample:05d}", view=0, row=row,
            col=col, patch=range(9), best_layer=np.array([last, last - 1, 1])[row], n_layers=last,
            probability=0.5, text=[HOSTILE[place + 9 * sample] for place in range(9)],
            script="Latin", blank=(row == 0).astype(int),
            region=np.array(["border", "inside", "outside"])[row],
            names_object=(row == 1).astype(float))  # fmt: skip
    # Seen twice, a picture has the overview's patches and others; together they lie between.
    views = {"all": 0.0, "overview": -0.03, "tiles": 0.02} if twice else {"all": 0.0}
    for view, shift in views.items():
        shares = {"share_last_third": 2 / 3 + shift, "share_blank": 1 / 3 + shift,
                  "share_empty": 0.0}  # fmt: skip
        add("patch_summary", model, dataset, view_name=view, metric=list(shares),
            **_band(np.array(list(shares.values())), 2), over="samples")  # fmt: skip
        for region, share in {"inside": 0.9, "border": 0.4, "outside": 0.1}.items():
            values = {"names_object": share + shift, "names_object_any_layer": share + 0.05 + shift,
                      "share_blank": 1 - share + shift}  # fmt: skip
            add("patch_by_region", model, dataset, view_name=view, region=region,
                metric=list(values), n_patches=6,
                **_band(np.array(list(values.values())), 2))  # fmt: skip
    add("patch_localisation", model, dataset, of="color", metric="auc", layer=range(last + 1),
        depth=np.arange(last + 1) / last, **_band(np.full(last + 1, 0.7), 2))  # fmt: skip


def write_metric_frames(folder: object, frames: dict[str, pd.DataFrame]) -> None:
    """Write the tables as the collect stage does: CSV, six digits, plain line ends."""
    from pathlib import Path

    Path(str(folder)).mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        frame.to_csv(
            Path(str(folder)) / f"{name}.csv", index=False, float_format="%.6g",
            lineterminator="\n", encoding="utf-8",
        )  # fmt: skip
