"""Pictures and questions to learn from: many questions a picture, balanced over their answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from lensbench.datasets.drawing import COLORS, SHAPES, SIZE
from lensbench.datasets.fills import draw_fill
from lensbench.datasets.flowers import PETAL_COLORS, draw_flower
from lensbench.datasets.flowers import PROMPT as FLOWER_QUESTION
from lensbench.datasets.scenes import (
    ANSWER_IN,
    COLOR_LANGUAGES,
    COLOR_QUESTION,
    COUNT_LANGUAGES,
    FILL_QUESTION,
    MOST_THINGS,
    Scene,
    arrange,
    count_question,
    draw_sample,
)
from lensbench.training.families import GRID
from lensbench.training.words import COLORS_ZH, NUMBERS_EN, NUMBERS_ZH, SHAPES_ZH

COLORS_LIST = tuple(COLORS)
# What a patch can be named: nothing, a color, or a kind of thing in a color.
KINDS = (*SHAPES, "flower")
GROUND = 0


@dataclass(frozen=True)
class Lesson:
    """A picture, what lies in each patch, and questions with the word that answers them."""

    picture: Image.Image
    patches: np.ndarray
    questions: tuple[tuple[str, str], ...]


def patch_class(color: str, kind: str | None) -> int:
    """Return the class of a patch: 1… for a color alone or a kind of thing in a color."""
    place = 0 if kind is None else 1 + KINDS.index(kind)
    return 1 + place * len(COLORS_LIST) + COLORS_LIST.index(color)


def patch_names(cls: int) -> list[str]:
    """Return the words for a patch of a class, each a token of the embedded models."""
    if cls == GROUND:
        return [" picture"]
    place, color_index = divmod(cls - 1, len(COLORS_LIST))
    color = COLORS_LIST[color_index]
    words = [f" {color}", color, COLORS_ZH[color]]
    if place:
        kind = KINDS[place - 1]
        words += [f" {kind}", f" {kind}s", SHAPES_ZH[kind]]
        words += [" shapes"] if kind in SHAPES else []
    return words


N_CLASSES = 1 + (1 + len(KINDS)) * len(COLORS_LIST)


def _answers(question: str, words: dict[str, str]) -> list[tuple[str, str]]:
    """Return the question in each way of asking, with its answer's word."""
    return [(f"{question} {ANSWER_IN[language]}", word) for language, word in words.items()]


def number_words(number: int) -> dict[str, str]:
    """Return the word of a number for each language it can be asked in."""
    return {"digit": str(number), "en": NUMBERS_EN[number], "zh": NUMBERS_ZH[number]}


def color_words(color: str) -> dict[str, str]:
    """Return the word of a color for each language it can be asked in."""
    return {"en": color, "zh": COLORS_ZH[color]}


def _scene(rng: np.random.Generator) -> Scene:
    """Draw a scene of a few kinds of things, or one made as the datasets' are."""
    if rng.random() < 0.5:
        return draw_sample(rng, int(rng.integers(1 << 20)))[0]
    kinds = [
        (SHAPES[rng.integers(len(SHAPES))], COLORS_LIST[rng.integers(len(COLORS_LIST))])
        for _ in range(int(rng.integers(1, 6)))
    ]
    weights = rng.dirichlet(np.ones(len(kinds)))
    total = int(rng.integers(1, MOST_THINGS + 1))
    return arrange(rng, [kinds[i] for i in rng.choice(len(kinds), size=total, p=weights)])


def scene_lesson(rng: np.random.Generator, n_questions: int) -> Lesson:
    """Draw a scene and ask about it.

    Args:
        rng: where the chance comes from.
        n_questions: how many questions; a third of them ask for a color where one can be.
    """
    scene = _scene(rng)
    patches = np.full(GRID * GRID, GROUND, dtype=np.int64)
    for thing in scene.things:
        column, row = (int(v * GRID / SIZE) for v in (thing.x, thing.y))
        patches[row * GRID + column] = patch_class(thing.color, thing.shape)
    return Lesson(scene.picture(), patches, tuple(_scene_questions(rng, scene, n_questions)))


def _scene_questions(rng: np.random.Generator, scene: Scene, n: int) -> list[tuple[str, str]]:
    shapes, colors = list(SHAPES), list(COLORS_LIST)
    # What can be counted, and how often it is: by shape most, as in the datasets.
    countable: list[list[tuple[str | None, str | None]]] = [
        [(shape, None) for shape in shapes],
        [(None, color) for color in colors],
        [(shape, color) for shape in shapes for color in colors],
        [(None, None)],
    ]
    single = [shape for shape in SHAPES if scene.count(shape) == 1]
    asked: list[tuple[str, str]] = []
    for index in range(n):
        if single and index % 3 == 2:
            shape = single[rng.integers(len(single))]
            color = next(thing.color for thing in scene.things if thing.shape == shape)
            language = COLOR_LANGUAGES[rng.integers(len(COLOR_LANGUAGES))]
            question, words = COLOR_QUESTION.format(thing=shape), color_words(color)
        else:
            choices = countable[rng.choice(4, p=(0.45, 0.25, 0.25, 0.05))]
            # Most counts are 0: first the answer is drawn, then what has it.
            counts = [scene.count(*what) for what in choices]
            found = sorted(set(counts))
            answer = found[rng.integers(len(found))]
            having = [what for what, count in zip(choices, counts, strict=True) if count == answer]
            what = having[rng.integers(len(having))]
            language = COUNT_LANGUAGES[rng.integers(len(COUNT_LANGUAGES))]
            question, words = count_question(*what), number_words(answer)
        asked.append((f"{question} {ANSWER_IN[language]}", words[language]))
    return asked


def plain_lesson(rng: np.random.Generator, n_questions: int) -> Lesson:
    """Draw a fill or a flower and ask for its color in every way of asking."""
    if rng.random() < 0.5:
        color = COLORS_LIST[rng.integers(len(COLORS_LIST))]
        picture = draw_fill(rng, color)
        patches = np.full(GRID * GRID, patch_class(color, None), dtype=np.int64)
        asked = _answers(FILL_QUESTION, color_words(color))
    else:
        color = PETAL_COLORS[rng.integers(len(PETAL_COLORS))]
        picture, flower = draw_flower(rng, color)
        patches = np.full(GRID * GRID, GROUND, dtype=np.int64)
        column, row = (int(v * GRID / SIZE) for v in (flower.x, flower.y))
        patches[row * GRID + column] = patch_class(color, "flower")
        asked = _answers(COLOR_QUESTION.format(thing="flower"), color_words(color))
        asked.append((FLOWER_QUESTION, color))
    return Lesson(picture, patches, tuple(asked[i % len(asked)] for i in range(n_questions)))


def lesson(rng: np.random.Generator, n_questions: int, plain: float = 0.08) -> Lesson:
    """Draw a lesson: a scene, or with probability `plain` a fill or a flower."""
    return (plain_lesson if rng.random() < plain else scene_lesson)(rng, n_questions)
