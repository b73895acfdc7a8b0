"""Synthetic runs with planted truth: small traces made of real softmaxes, without any model.

`make_run` writes one run in the layout of results/; `python tests/synthetic.py OUT` writes five and
their metrics, so that figures and tables can be drawn before any model has run.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from lensbench.trace import write_model_table, write_shard
from lensbench.trace_meta import TraceMeta
from lensbench.trace_schema import FORMS, LENSES

SCRIPTS = (
    "Latin", "Han", "Kana", "Hangul", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari",
    "Thai", "Other", "Digit", "Punctuation", "Symbol", "Space", "Fragment", "Special",
)  # fmt: skip
LANGUAGES = ("digit", "en", "zh", "ja", "ko", "ru", "fr", "de", "es")

#: concept → language → forms that are tokens of the synthetic vocabulary, one token each.
CONCEPTS: dict[str, dict[str, list[str]]] = {
    "number:0": {"digit": ["0"], "en": [" zero"], "zh": ["零"], "ja": ["ゼロ"], "ru": [" ноль"]},
    "number:1": {"digit": ["1"], "en": [" one"], "zh": ["一"], "ko": ["하나"], "ru": [" один"]},
    "number:2": {"digit": ["2"], "en": [" two"], "zh": ["二", "两"], "fr": [" deux"]},
    "number:3": {"digit": ["3"], "en": [" three", " Three"], "zh": ["三"], "de": [" drei"]},
    "number:4": {"digit": ["4"], "en": [" four"], "zh": ["四"], "es": [" cuatro"]},
    "number:5": {"digit": ["5"], "en": [" five"], "zh": ["五"], "ja": ["いつつ"]},
    "color:red": {"en": [" red"], "zh": ["红"], "ja": ["赤い"], "ru": [" красный"]},
    "color:blue": {"en": [" blue"], "zh": ["蓝"], "ja": ["あおい"], "fr": [" bleu"]},
    "color:green": {"en": [" green"], "zh": ["绿"], "ko": ["초록"], "de": [" grün"]},
    "capital:paris": {"en": [" Paris"], "zh": ["巴黎"], "ja": ["パリ"], "ko": ["파리"]},
    "capital:moscow": {"en": [" Moscow"], "zh": ["莫斯科"], "ru": [" Москва"], "fr": [" Moscou"]},
    "animal:dog": {},  # no usable form: its only one shares its first token with a dogma
}
FILLERS: dict[str, str] = {
    " the": "Latin", " a": "Latin", "ing": "Latin", " sehr_lang": "Latin", " naïve": "Latin",
    "\\_{%$#&~^": "Punctuation", "<b>&amp;": "Latin", ".": "Punctuation",
    "、": "Punctuation", "🙂": "Symbol", "→": "Symbol", "👩\u200d🚀": "Symbol", " ": "Space",
    "\n": "Space", "\r": "Space", "\ufffd": "Fragment", "NA": "Latin", "の": "Kana",
    "한": "Hangul", " и": "Cyrillic", "α": "Greek", "مرحبا": "Arabic", "שלום": "Hebrew",
    "नमस्ते": "Devanagari", "ไทย": "Thai", "ბ": "Other", "7": "Digit", " do": "Latin",
}  # fmt: skip
END = "<|im_end|>"
_SCRIPT_OF = {"digit": "Digit", "zh": "Han", "ja": "Kana", "ko": "Hangul", "ru": "Cyrillic"}

_CONCEPT_TOKENS = [
    (form, "Han" if form == "赤い" else _SCRIPT_OF.get(language, "Latin"))
    for forms in CONCEPTS.values()
    for language, texts in forms.items()
    for form in texts
]
#: token id → (text, script)
VOCABULARY = [*_CONCEPT_TOKENS, *FILLERS.items(), (END, "Special")]
TOKEN_ID = {text: index for index, (text, _) in enumerate(VOCABULARY)}

#: dataset → (question families, words of the question, concepts asked for)
DATASETS: dict[str, tuple[str, list[str]]] = {
    "scenes": (
        "image",
        ["number:0", "number:1", "number:2", "number:3", "color:red", "color:blue"],
    ),
    "flowers": ("image", ["color:red", "color:blue", "color:green"]),
    "facts": ("text", ["number:4", "number:5", "color:green", "capital:paris", "capital:moscow"]),
}
_FAMILIES = {"number": "count", "color": "color", "capital": "capital", "animal": "animal"}


@dataclass(frozen=True)
class Truth:
    """What was planted.

    Args:
        convergence: sample_id → convergence layer at step 0.
        first_hit: sample_id → first-hit layer at step 0.
        final: sample_id → text of the final token at step 0.
        correct: sample_id → whether that is a form of the gold concept (no key if it has none).
        han_layers: first and last layer where a Han form of the gold concept is top-1, everywhere
            at step 0 (Han tokens are last at every other layer, unless asked for).
        stages: (first layer, last layer, mean image mass) of the planted stages of attention.
        image_head: (layer, head) that attends to the image alone.
        rejected: sample ids that could not be read.
        raw_convergence: sample_id → convergence layer of the raw lens at step 0.
        raw_last: sample_id → whether the raw lens has the final token on top at the last layer.
        writes: "attention" and "mlp" → blocks whose write has the final token on top, everywhere.
    """

    convergence: dict[str, int]
    first_hit: dict[str, int]
    final: dict[str, str]
    correct: dict[str, bool]
    han_layers: tuple[int, int]
    stages: list[tuple[int, int, float]]
    image_head: tuple[int, int]
    rejected: list[str]
    raw_convergence: dict[str, int]
    raw_last: dict[str, bool]
    writes: dict[str, list[int]]


def make_run(
    root: Path,
    model: str = "synthetic-llava",
    dataset: str = "scenes",
    *,
    n_samples: int = 24,
    n_layers: int = 8,
    n_heads: int = 4,
    n_steps: int = 2,
    n_shards: int = 1,
    k: int = 10,
    seed: int = 0,
    asked: tuple[str, ...] = ("digit", "en", "zh"),
    accuracy: float = 0.85,
    oddities: bool = True,
) -> Truth:
    """Write dataset, model folder and trace shards of one run under `root`.

    Args:
        root: plays the part of results/.
        model: name of the model.
        dataset: "scenes", "flowers" or "facts".
        n_samples: samples, oddities included.
        n_layers: blocks L (at least 6, so that every planted span has room).
        n_heads: heads a block.
        n_steps: the largest number of generated steps; step 1 ends the answer.
        n_shards: shards, each a block of samples that follow each other.
        k: top tokens listed.
        seed: of everything drawn.
        asked: languages asked for, in turn.
        accuracy: chance that a sample's final token is a form of its gold concept.
        oddities: whether the last sample is rejected and the one before has no usable form.

    Returns:
        The planted truth.
    """
    rng = np.random.default_rng([seed, len(model), len(dataset)])
    kind, concepts = DATASETS[dataset]
    meta = TraceMeta(
        model,
        dataset,
        0,
        n_shards,
        k,
        SCRIPTS,
        LANGUAGES,
        n_layers,
        n_heads,
        "normed",
        tuple(range(1, n_layers + 1)),
    )
    manifest = _manifest(rng, dataset, kind, concepts, n_samples, asked, oddities)
    _write_dataset(root / "datasets" / dataset, manifest, rng)
    _write_model(root / "models" / model, meta, kind)

    rejected = [manifest.sample_id.iloc[-1]] if oddities and n_samples > 2 else []
    read = manifest[~manifest.sample_id.isin(rejected)]
    plan = _plan(rng, read, n_layers, n_steps, accuracy)
    logits = _logits(rng, plan, np.stack(plan.top.to_numpy()), n_layers)
    trajectory = _trajectory(plan, logits, k)
    stages = _stages(n_layers) if kind == "image" else []
    heads, image_head = _heads(rng, plan, meta, stages)
    samples = _samples(manifest, plan, kind, rejected)
    floors = _floors(meta, root)
    first = plan[plan.step == 0].reset_index(drop=True)
    lenses, raw_convergence, raw_last, writes = _lenses(
        rng, first, logits[plan.step == 0][:, -1:], n_layers
    )
    tables = {"samples": samples, "trajectory": trajectory, "heads": heads, "lenses": lenses}
    edges = np.linspace(0, len(manifest), n_shards + 1).round().astype(int)
    for shard in range(n_shards):
        ids = set(manifest.sample_id.iloc[edges[shard] : edges[shard + 1]])
        here = {name: frame[frame.sample_id.isin(ids)] for name, frame in tables.items()}
        write_shard(
            root / "traces" / model / dataset / str(shard),
            {**here, "floors": floors},
            TraceMeta(**{**meta.__dict__, "shard": shard}),
            {"model": model, "dataset": dataset, "seed": seed, "source": "tests/synthetic.py"},
        )
    first = first.set_index("sample_id")
    usable = first[[bool(CONCEPTS[gold]) for gold in first.gold]]
    return Truth(
        convergence=first.convergence.to_dict(),
        first_hit=first.first_hit.to_dict(),
        final={key: VOCABULARY[token][0] for key, token in first.final.items()},
        correct=usable.correct.to_dict(),
        han_layers=_han_span(n_layers),
        stages=stages,
        image_head=image_head,
        rejected=rejected,
        raw_convergence=raw_convergence,
        raw_last=raw_last,
        writes=writes,
    )


def _ids(concept: str, language: str | None = None) -> list[int]:
    """Token ids of a concept's forms, in one language or all."""
    found = CONCEPTS[concept]
    texts = [t for lang, forms in found.items() if language in (None, lang) for t in forms]
    return [TOKEN_ID[text] for text in texts]


def _manifest(rng, dataset, kind, concepts, n_samples, asked, oddities) -> pd.DataFrame:
    rows = []
    for i in range(n_samples):
        gold = concepts[i % len(concepts)]
        if oddities and n_samples > 2 and i == n_samples - 2:
            gold = "animal:dog"
        family, language = gold.split(":")[0], asked[(i // len(concepts)) % len(asked)]
        if language not in CONCEPTS[gold]:
            language = "en"
        objects = []
        if kind == "image":
            for j in range(int(gold[-1]) if family == "number" else 1):
                x, y = 4 + 14 * (j % 3), 4 + 14 * (j // 3)
                color = gold.split(":")[1] if family == "color" else "red"
                objects.append({"shape": "star", "color": color, "box": [x, y, x + 10, y + 10]})
        words = {
            "number": "How many stars are there?",
            "color": "What is its color, in 100 % plain words & no_markup?",
            "capital": "What is the capital?",
            "animal": "Which animal barks?",
        }[family]
        rows.append(
            {
                "sample_id": f"{dataset}-{i:05d}",
                "kind": kind,
                "image": f"images/{dataset}-{i:05d}.png" if kind == "image" else None,
                "picture": f"{dataset}-{i:05d}",
                "prompt": words,
                "style": "chat",
                "gold": gold,
                "language": language,
                "family": _FAMILIES[family],
                "objects": json.dumps(objects),
                "source": "synthetic",
                "rejected": "",
            }
        )
    return pd.DataFrame(rows)


def _write_dataset(folder: Path, manifest: pd.DataFrame, rng: np.random.Generator) -> None:
    if (folder / "manifest.parquet").exists():
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    manifest.to_parquet(folder / "manifest.parquet", index=False)
    for row in manifest.itertuples():
        if row.kind != "image":
            continue
        picture = Image.new("RGB", (48, 48), tuple(int(v) for v in rng.integers(190, 256, 3)))
        draw = ImageDraw.Draw(picture)
        for thing in json.loads(row.objects):
            draw.ellipse(thing["box"], fill=thing["color"])
        picture.save(folder / row.image)


def _write_model(folder: Path, meta: TraceMeta, kind: str) -> None:
    vocabulary = pd.DataFrame(VOCABULARY, columns=["text", "script"])
    vocabulary.insert(0, "token_id", np.arange(len(vocabulary)))
    vocabulary["is_fragment"] = vocabulary.script == "Fragment"
    write_model_table(folder, "vocabulary", vocabulary, meta)
    rows = [
        (concept, language, form, TOKEN_ID[form], [TOKEN_ID[form]], form, 1, True, "")
        for concept, forms in CONCEPTS.items()
        for language, texts in forms.items()
        for form in texts
    ]
    rows.append(("animal:dog", "en", " dog", TOKEN_ID[" do"], [], " do", 2, False, "unknown"))
    rows.append(("number:3", "fr", " trois", -1, [], "", 0, False, "unknown"))
    columns = [column.name for column in FORMS.columns]
    write_model_table(folder, "forms", pd.DataFrame(rows, columns=columns), meta)
    checks = [
        ("readout equals logits", 3.1e-6, 1e-4, True, "largest difference of log-probabilities"),
        ("hooks change nothing", 0.0, 0.0, True, "bits of the output that differ"),
        ("attention rows sum to 1", 2.4e-7, 1e-5, True, "largest difference from 1"),
    ]
    keys = ["name", "value", "limit", "passed", "detail"]
    gate = {"model": meta.model, "checks": [dict(zip(keys, c, strict=True)) for c in checks]}
    facts = {
        "model": meta.model,
        "architecture": "LlavaForConditionalGeneration" if kind == "image" else "LlamaForCausalLM",
        "n_layers": meta.n_layers,
        "n_heads": meta.n_heads,
        "n_parameters": 2_200_000,
        "vocabulary_size": len(VOCABULARY),
        "dtype": "float32",
        "source": f"packaged:{meta.model}",
        "revision": None,
        "weights_sha256": "0" * 64,
    }
    for name, content in (("gate.json", gate), ("model.json", facts)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _han_span(n_layers: int) -> tuple[int, int]:
    """First and last layer where the Han form is top-1: from 0.4 to 0.6 of the depth."""
    return round(0.4 * n_layers), round(0.6 * n_layers)


def _quiet(final: int) -> list[int]:
    """Tokens that may stand where nothing is planted: no Han, not the end, not the final one."""
    ids = range(TOKEN_ID[END])
    return [i for i in ids if VOCABULARY[i][1] != "Han" and i != final]


def _plan(rng, read, n_layers, n_steps, accuracy) -> pd.DataFrame:
    """One row a sample × step: its final token and the top-1 token planted at every layer."""
    start, end = _han_span(n_layers)
    rows = []
    for sample in read.itertuples():
        steps = 1 + int(rng.integers(n_steps)) if n_steps > 1 else 1
        for step in range(steps):
            right = bool(rng.random() < accuracy)
            others = [c for c in CONCEPTS if CONCEPTS[c] and c != sample.gold]
            concept = sample.gold if right and CONCEPTS[sample.gold] else rng.choice(others)
            options = _ids(concept, sample.language) or _ids(concept, "en")
            final = options[0] if step == 0 else TOKEN_ID[END if step == steps - 1 else " the"]
            convergence = int(rng.integers(end + 1, n_layers + 1))
            top = rng.choice(_quiet(final), n_layers + 1)
            han = _ids(sample.gold, "zh")
            if step == 0 and han:
                top[start : end + 1] = han[0]
            top[convergence:] = final
            if rng.random() < 0.3:  # found early, then lost
                top[rng.integers(0, start)] = final
            # Told from the plan itself: a Han answer continues the planted span below it.
            hits = [token == final for token in top]
            first_hit = hits.index(True)
            convergence = min(i for i in range(n_layers + 1) if all(hits[i:]))
            rows.append(
                {
                    "sample_id": sample.sample_id,
                    "gold": sample.gold,
                    "step": step,
                    "final": final,
                    "correct": final in _ids(sample.gold),
                    "convergence": convergence,
                    "first_hit": first_hit,
                    "top": top,
                }
            )
    return pd.DataFrame(rows)


def _logits(rng, plan, top, n_layers) -> np.ndarray:
    """Seeded logits [rows, layers, V] in which the token planned for a layer leads."""
    rows, layers, size = len(plan), n_layers + 1, len(VOCABULARY)
    logits = rng.normal(0, 1, (rows, layers, size))
    han = np.array([script == "Han" for _, script in VOCABULARY])
    logits[:, :, han] -= 8
    margin = 0.5 + 6 * (np.arange(layers) / n_layers) ** 2 * rng.uniform(0.5, 1.2, (rows, 1))
    lead = logits.max(axis=2) + margin
    np.put_along_axis(logits, top[:, :, None], lead[:, :, None], axis=2)
    return logits


def _trajectory(plan, logits, k, last=None) -> pd.DataFrame:
    """Softmaxes of logits and their true statistics, held against the last layer or `last`."""
    rows, layers, _ = logits.shape
    logp = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    last = logits[:, -1:] if last is None else last
    p, log_last = np.exp(logp), last - np.log(np.exp(last).sum(axis=2, keepdims=True))
    last = np.exp(log_last)
    middle = np.log((p + last) / 2)
    js = ((p * (logp - middle)).sum(2) + (last * (log_last - middle)).sum(2)) / 2
    order = np.argsort(-logits, axis=2, kind="stable")[:, :, :k]
    final = plan.final.to_numpy()

    def rank_of(ids: np.ndarray) -> np.ndarray:
        own = np.take_along_axis(logits, ids[:, :, None], axis=2)
        return (logits > own).sum(axis=2)

    final_at = np.repeat(final[:, None], layers, axis=1)
    gold_rank = np.full((rows, layers), -1)
    gold_logprob = np.zeros((rows, layers))
    concept_mass = np.zeros((rows, layers, len(LANGUAGES)))
    for concept, found in plan.groupby("gold").groups.items():
        ids, at = _ids(str(concept)), np.asarray(found)
        if not ids:
            continue
        best = np.asarray(ids)[logits[at][:, :, ids].argmax(axis=2)]
        gold_logprob[at] = np.take_along_axis(logp[at], best[:, :, None], axis=2)[:, :, 0]
        own = np.take_along_axis(logits[at], best[:, :, None], axis=2)
        gold_rank[at] = (logits[at] > own).sum(axis=2)
        for j, language in enumerate(LANGUAGES):
            concept_mass[at, :, j] = p[at][:, :, _ids(str(concept), language)].sum(axis=2)
    script_index = np.array([SCRIPTS.index(script) for _, script in VOCABULARY])
    script_mass = np.stack([p[:, :, script_index == s].sum(2) for s in range(len(SCRIPTS))], axis=2)

    def flat(values: np.ndarray) -> np.ndarray:
        return values.reshape(rows * layers, *values.shape[2:])

    def lists(values: np.ndarray) -> list[np.ndarray]:
        return list(flat(values))

    return pd.DataFrame(
        {
            "sample_id": np.repeat(plan.sample_id.to_numpy(), layers),
            "step": np.repeat(plan.step.to_numpy(), layers),
            "layer": np.tile(np.arange(layers), rows),
            "top_id": lists(order),
            "top_logprob": lists(np.take_along_axis(logp, order, axis=2)),
            "entropy_nats": flat(-(p * logp).sum(axis=2)),
            "kl_to_final_nats": flat((last * (log_last - logp)).sum(axis=2)),
            "js_to_final_nats": flat(js),
            "final_id": flat(final_at),
            "final_rank": flat(rank_of(final_at)),
            "final_logprob": flat(np.take_along_axis(logp, final_at[:, :, None], 2)[:, :, 0]),
            "gold_rank": flat(gold_rank),
            "gold_logprob": flat(gold_logprob),
            "script_mass": lists(script_mass),
            "concept_mass": lists(concept_mass),
        }
    )


def _lenses(rng, first, last, n_layers) -> tuple[pd.DataFrame, dict, dict, dict]:
    """Rows of `lenses` for the steps 0, and what is planted in them.

    The raw lens finds the final token at a layer of each sample's own, and loses it at the last one
    in every third sample; attention and MLP write it in two blocks each, in every sample.
    """
    writes = {"attention": [2, n_layers - 1], "mlp": [3, n_layers]}
    convergence = rng.integers(n_layers // 2, n_layers + 1, len(first))
    kept = np.arange(len(first)) % 3 != 0
    frames = []
    for lens in ("raw", *writes):
        top = np.stack([
            rng.choice(_quiet(final), n_layers + 1) for final in first.final
        ])  # fmt: skip
        for row, final in enumerate(first.final):
            if lens == "raw":
                top[row, convergence[row] : n_layers] = final
                top[row, n_layers] = final if kept[row] else top[row, n_layers]
            else:
                top[row, writes[lens]] = final
        frame = _trajectory(first, _logits(rng, first, top, n_layers), 1, last)
        for name in ("top_id", "top_logprob"):
            frame[name] = [values[0] for values in frame[name]]
        frame = frame.assign(lens=lens)[[column.name for column in LENSES.columns]]
        frames.append(frame[frame.layer >= (lens != "raw")])
    ids = first.sample_id.tolist()
    return (
        pd.concat(frames, ignore_index=True),
        dict(zip(ids, convergence.tolist(), strict=True)),
        dict(zip(ids, kept.tolist(), strict=True)),
        writes,
    )


def _stages(n_layers: int) -> list[tuple[int, int, float]]:
    """Three stages of attention to the image: 0.1, 0.7, 0.3, each a third of the depth."""
    one, two = n_layers // 3, 2 * n_layers // 3
    return [(1, one, 0.1), (one + 1, two, 0.7), (two + 1, n_layers, 0.3)]


def _heads(rng, plan, meta, stages) -> tuple[pd.DataFrame, tuple[int, int]]:
    rows, n_layers, n_heads = len(plan), meta.n_layers, meta.n_heads
    shape = (rows, n_layers, n_heads)
    mean = np.zeros(n_layers)
    for first, last, mass in stages:
        mean[first - 1 : last] = mass
    # Heads of a layer differ around its mean and the differences cancel: the stage means hold.
    spread = np.linspace(-0.08, 0.08, n_heads)
    image = np.where(mean[:, None] > 0, mean[:, None] + spread, 0) + np.zeros(shape)
    image = np.clip(image + np.where(image > 0, rng.normal(0, 0.01, shape), 0), 0, 1)
    sink = 0.6 * (1 - image)
    special = (n_layers // 2, n_heads - 1)
    if stages:
        image[:, special[0] - 1, special[1]], sink[:, special[0] - 1, special[1]] = 0.99, 0.0
    entropy = np.where(image > 0, rng.uniform(1.0, np.log(36), shape), 0)
    frame = pd.DataFrame(
        {
            "sample_id": np.repeat(plan.sample_id.to_numpy(), n_layers * n_heads),
            "step": np.repeat(plan.step.to_numpy(), n_layers * n_heads),
            "layer": np.tile(np.repeat(np.arange(1, n_layers + 1), n_heads), rows),
            "head": np.tile(np.arange(n_heads), rows * n_layers),
            "image_mass": image.reshape(-1),
            "sink_mass": sink.reshape(-1),
            "image_sink_mass": 0.0,
            "text_mass": (1 - image - sink).reshape(-1),
            "image_entropy_nats": entropy.reshape(-1),
            "image_max": (image / 4).reshape(-1),
            "overview_mass": image.reshape(-1),
        }
    )
    return frame, special


def _samples(manifest, plan, kind, rejected) -> pd.DataFrame:
    ids = plan.groupby("sample_id").final.agg(list).reindex(manifest.sample_id)
    ids = [found if isinstance(found, list) else [] for found in ids]
    image = 36 if kind == "image" else 0
    return pd.DataFrame(
        {
            "sample_id": manifest.sample_id,
            "prompt": "<|im_start|>user\n" + manifest.prompt + END + "\n<|im_start|>assistant\n",
            "n_tokens": 20 + image,
            "n_image_tokens": image,
            "grid_h": 6 if image else 0,
            "grid_w": 6 if image else 0,
            "views": json.dumps(
                [{"name": "picture", "rows": 6, "cols": 6, "box": [0.0, 0.0, 1.0, 1.0]}]
                if image
                else []
            ),
            "generated": ["".join(VOCABULARY[t][0] for t in f if t != TOKEN_ID[END]) for f in ids],
            "generated_ids": ids,
            "generated_ends": [
                np.cumsum([len(VOCABULARY[t][0]) * (t != TOKEN_ID[END]) for t in f]).tolist()
                for f in ids
            ],
            "gold": manifest.gold,
            "language": manifest.language,
            "family": manifest.family,
            "asked": manifest.prompt,
            "image": manifest.image,
            "picture": manifest.picture,
            "rejected": [
                "its picture can't be read" if sample in rejected else None
                for sample in manifest.sample_id
            ],
        }
    )


def _floors(meta: TraceMeta, root: Path) -> pd.DataFrame:
    share = np.array([sum(s == script for _, s in VOCABULARY) for script in SCRIPTS])
    layers = meta.n_layers + 1
    return pd.DataFrame(
        {
            "layer": np.arange(layers),
            "norm": np.linspace(1, 40, layers),
            "n_directions": 32,
            "script_mass": list(np.tile(share / share.sum(), (layers, 1))),
        }
    )


#: What `python tests/synthetic.py OUT` makes.
RUNS = (
    ("synthetic-llava", "scenes", 8, 4),
    ("synthetic-llava", "flowers", 8, 4),
    ("synthetic_qwen2vl", "scenes", 12, 6),
    ("synthetic_qwen2vl", "flowers", 12, 6),
    ("synthetic-text", "facts", 30, 9),
)


def make_results(root: Path, n_samples: int = 48, n_steps: int = 4) -> None:
    """Write the runs of RUNS and their metrics under `root`, as results/ has them."""
    from lensbench.metrics.collect import collect, write_csv, write_long_csv
    from lensbench.metrics.run import MetricOptions
    from lensbench.metrics.run import make_run as make_metrics

    folders = []
    for model, dataset, n_layers, n_heads in RUNS:
        make_run(root, model, dataset, n_samples=n_samples, n_layers=n_layers, n_heads=n_heads,
                 n_steps=n_steps, n_shards=2)  # fmt: skip
        shards = sorted((root / "traces" / model / dataset).iterdir())
        folder = root / "metrics" / model / dataset
        make_metrics(folder, shards, root / "models" / model, MetricOptions())
        folders.append(folder)
    models = sorted({root / "models" / run[0] for run in RUNS})
    write_csv(root / "metrics", collect(folders, models))
    write_long_csv(root / "metrics", folders)


if __name__ == "__main__":
    make_results(Path(sys.argv[1]))
