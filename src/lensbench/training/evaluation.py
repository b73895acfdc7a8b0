"""How often an embedded model is right on pictures it has never seen, asked as users ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModelForImageTextToText

from lensbench.datasets.drawing import COLORS
from lensbench.datasets.fills import draw_fill
from lensbench.datasets.flowers import PETAL_COLORS, draw_flower
from lensbench.datasets.flowers import PROMPT as FLOWER_QUESTION
from lensbench.datasets.scenes import ANSWER_IN, FILL_QUESTION, draw_sample
from lensbench.models.processors import load_processor
from lensbench.training.lessons import chat
from lensbench.training.questions import color_words, number_words

# Kept apart from every dataset and every lesson.
HELD_OUT = 20_261_121


def _held_out(index: int) -> tuple[Any, str, str, str]:
    """Return picture, question, answer and family of one held-out sample."""
    rng = np.random.default_rng([HELD_OUT, index])
    if index % 8 == 6:
        color = list(COLORS)[rng.integers(len(COLORS))]
        return draw_fill(rng, color), f"{FILL_QUESTION} {ANSWER_IN['en']}", color, "fill color"
    if index % 8 == 7:
        color = PETAL_COLORS[rng.integers(len(PETAL_COLORS))]
        return draw_flower(rng, color)[0], FLOWER_QUESTION, color, "flower color"
    scene, question, gold, language, family = draw_sample(rng, index // 8 * 6 + index % 8)
    value = gold.split(":")[1]
    words = color_words(value) if family == "color" else number_words(int(value))
    return scene.picture(), f"{question} {ANSWER_IN[language]}", words[language], family


def evaluate(folder: str | Path, n: int, batch: int = 64) -> dict[str, dict[str, float]]:
    """Measure a model's exact-match accuracy on held-out pictures by generating its answers.

    Args:
        folder: a saved family, loaded as any model from a hub is.
        n: how many samples.
        batch: samples at a time.

    Returns:
        For each family of questions: `accuracy`, `n`, and `prior`, the share of its most common
        answer, which is what a model blind to the picture could reach.
    """
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    ).eval()
    processor = load_processor(str(folder))
    answers: dict[str, list[str]] = {}
    right: dict[str, list[bool]] = {}
    for start in tqdm(range(0, n, batch), desc="held-out scenes", unit="batch"):
        samples = [_held_out(index) for index in range(start, min(start + batch, n))]
        encoded = processor(
            text=[chat(processor, question) for _, question, _, _ in samples],
            images=[[picture] for picture, _, _, _ in samples],
            padding=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            made = model.generate(**encoded, max_new_tokens=3, do_sample=False)
        texts = processor.tokenizer.batch_decode(
            made[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True
        )
        for text, (_, _, answer, family) in zip(texts, samples, strict=True):
            answers.setdefault(family, []).append(answer)
            right.setdefault(family, []).append(text.strip() == answer)
    return {
        family: {
            "accuracy": round(sum(hits) / len(hits), 4),
            "n": len(hits),
            "prior": round(max(map(answers[family].count, answers[family])) / len(hits), 4),
        }
        for family, hits in sorted(right.items())
    }
