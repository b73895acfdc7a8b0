"""The scenes: drawn shapes with counting and color questions, and the truth of every object."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lensbench.datasets.drawing import COLORS, SHAPES, Thing, draw_things, muted_ground, place

RADII = (17.0, 22.0)
MOST_THINGS = 9
# Counting questions go in turn through the answers up to this one; the rest are "large counts".
MOST_COUNTED = 5
# How the answer is asked for; the key is the language of the answer.
ANSWER_IN = {
    "digit": "Answer in digits.",
    "en": "Answer in English.",
    "zh": "Answer in Chinese.",
}
COUNT_LANGUAGES = ("digit", "en", "zh")
COLOR_LANGUAGES = ("en", "zh")
# One wording for each kind of picture: what a fill or a flower is asked is asked here too.
COUNT_QUESTION = "How many {things} are there?"
COLOR_QUESTION = "What color is the {thing}?"
FILL_QUESTION = "What color is the picture?"


@dataclass(frozen=True)
class Scene:
    """A drawn picture's content: its things in drawing order and its ground color."""

    things: tuple[Thing, ...]
    ground: tuple[int, int, int]

    def count(self, shape: str | None = None, color: str | None = None) -> int:
        """Return how many things have the shape and the color (None: any)."""
        return sum(
            shape in (None, thing.shape) and color in (None, thing.color) for thing in self.things
        )

    def picture(self) -> Image.Image:
        """Return the scene drawn, 224 × 224 pixels, RGB."""
        return draw_things(list(self.things), self.ground)

    def objects(self) -> str:
        """Return the ground truth as JSON: shape, color and box in pixels of each thing."""
        truth = [{"shape": t.shape, "color": t.color, "box": t.box} for t in self.things]
        return json.dumps(truth, separators=(",", ":"))


def arrange(rng: np.random.Generator, kinds: list[tuple[str, str]]) -> Scene:
    """Return a scene with one thing for each (shape, color), anywhere, slightly turned."""
    order = rng.permutation(len(kinds))
    places = place(rng, len(kinds), RADII)
    turns = rng.uniform(-math.pi / 12, math.pi / 12, size=len(kinds))
    things = tuple(
        Thing(kinds[i][0], kinds[i][1], x=x, y=y, radius=r, turn=float(turn))
        for i, (x, y, r), turn in zip(order, places, turns, strict=True)
    )
    return Scene(things, muted_ground(rng))


def count_scene(
    rng: np.random.Generator, answer: int, shape: str | None, color: str | None
) -> Scene:
    """Return a scene with exactly `answer` things of a shape and color, among distractors.

    Args:
        rng: where the chance comes from.
        answer: how many things match, 0 to 9.
        shape: the shape asked for, or None if any counts.
        color: the color asked for, or None if any counts.
    """
    colors, shapes = list(COLORS), list(SHAPES)

    def draw(matching: bool) -> tuple[str, str]:
        while True:
            kind = (shapes[rng.integers(len(shapes))], colors[rng.integers(len(colors))])
            if matching:
                kind = (shape or kind[0], color or kind[1])
            elif shape is not None and color is not None and rng.random() < 0.5:
                # Half of the distractors share one property, so that both must be looked at.
                kind = (shape, kind[1]) if rng.random() < 0.5 else (kind[0], color)
            if (shape in (None, kind[0]) and color in (None, kind[1])) == matching:
                return kind

    others = int(rng.integers(0 if answer else 1, MOST_THINGS - answer + 1))
    return arrange(rng, [draw(True) for _ in range(answer)] + [draw(False) for _ in range(others)])


def color_scene(rng: np.random.Generator, shape: str, color: str) -> Scene:
    """Return a scene with exactly one thing of a shape, in the color, among other shapes."""
    others = [name for name in SHAPES if name != shape]
    colors = list(COLORS)
    kinds = [(shape, color)]
    for _ in range(int(rng.integers(1, 7))):
        kinds.append((others[rng.integers(len(others))], colors[rng.integers(len(colors))]))
    return arrange(rng, kinds)


def count_question(shape: str | None, color: str | None) -> str:
    """Return the counting question for a shape and color: "How many red stars are there?"."""
    things = f"{shape}s" if shape else "shapes"
    return COUNT_QUESTION.format(things=f"{color} {things}" if color else things)


def draw_sample(rng: np.random.Generator, index: int) -> tuple[Scene, str, str, str, str]:
    """Return scene, question, gold concept, language of the answer and family of one sample.

    Args:
        rng: where the chance comes from.
        index: the sample's number, which sets its family, language and, for counts, answer.
    """
    shape = SHAPES[rng.integers(len(SHAPES))]
    color = list(COLORS)[rng.integers(len(COLORS))]
    if index % 3 == 2:
        language = COLOR_LANGUAGES[index // 3 % len(COLOR_LANGUAGES)]
        scene = color_scene(rng, shape, color)
        return scene, COLOR_QUESTION.format(thing=shape), f"color:{color}", language, "color"
    turn = index // 3 * 2 + index % 3
    # Answers 0–5 in turn; every seventh question goes beyond them.
    lap = MOST_COUNTED + 2
    answer = turn % lap if turn % lap <= MOST_COUNTED else int(rng.integers(MOST_COUNTED + 1, 9))
    language = COUNT_LANGUAGES[turn // lap % len(COUNT_LANGUAGES)]
    asked = {0: (shape, None), 1: (shape, color), 2: (None, color), 3: (shape, None)}[
        int(rng.integers(4))
    ]
    scene = count_scene(rng, answer, *asked)
    return scene, count_question(*asked), f"number:{answer}", language, count_family(answer)


def count_family(answer: int) -> str:
    """Return the family of a counting question with this answer: "count" or "large count"."""
    return "count" if answer <= MOST_COUNTED else "large count"


def make(out: str | Path, *, n: int, seed: int) -> None:
    """Draw n scenes and write the manifest, TallyQA-like records and the pictures.

    Two thirds are counting questions, balanced over 0–5 with some beyond, answers asked for as a
    digit, in English or in Chinese; one third asks for the color of the only thing of a shape.

    Args:
        out: the folder to make; whole or not there.
        n: how many samples.
        seed: all chance comes from it; the same seed gives the same bytes.

    Raises:
        DataError: if n is not positive.
    """
    from lensbench.datasets.manifest import building, write_manifest

    rows, records = [], []
    with building(out, "scenes", n) as folder:
        (folder / "images").mkdir()
        for index in range(n):
            rng = np.random.default_rng([seed, index])
            scene, question, gold, language, family = draw_sample(rng, index)
            image = f"images/scene-{index:05d}.png"
            scene.picture().save(folder / image, optimize=False)
            rows.append(
                {
                    "sample_id": f"scenes-{index:05d}",
                    "kind": "image",
                    "image": image,
                    "prompt": f"{question} {ANSWER_IN[language]}",
                    "style": "chat",
                    "gold": gold,
                    "language": language,
                    "family": family,
                    "objects": scene.objects(),
                    "source": f"drawn, seed {seed}",
                    "rejected": "",
                }
            )
            if family != "color":
                records.append(
                    {
                        "image": image,
                        "answer": int(gold.split(":")[1]),
                        "data_source": "lensbench_scenes",
                        "question": question,
                        "image_id": index,
                        "question_id": index,
                        # As in TallyQA: a question with an attribute is not a simple one.
                        "issimple": not any(f" {name} " in question for name in COLORS),
                    }
                )
        (folder / "records.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        write_manifest(folder, pd.DataFrame(rows))
