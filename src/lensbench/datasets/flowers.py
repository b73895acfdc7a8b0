"""The flowers: drawn ones, or a folder of real photographs, with a question for their color."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from lensbench.datasets.drawing import COLORS, OVERSAMPLING, SIZE
from lensbench.datasets.folder import (
    IMAGES,
    convert_all,
    find_pictures,
    image_of,
    read_labels,
    tell_left_out,
)
from lensbench.datasets.manifest import building, check_rejected, write_manifest
from lensbench.lexicon import load_lexicon

# Word for word what the published notebook asked of LLaVA-OneVision.
PROMPT = "What is the color of the flower? Answer single word."
# What every question for a flower's color has in the manifest.
ASKED = {
    "kind": "image",
    "prompt": PROMPT,
    "style": "chat",
    "language": "en",
    "family": "color",
}
# Green petals would be lost in the leaves.
PETAL_COLORS: tuple[str, ...] = tuple(name for name in COLORS if name != "green")
CENTERS: tuple[str, ...] = ("yellow", "orange", "black", "white")
_STEM = (58, 120, 52)
_LEAF = (74, 140, 60)

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Flower:
    """A drawn blossom: color, center and length of its petals in pixels, and its box."""

    color: str
    x: float
    y: float
    radius: float
    box: list[int]


def make(
    out: str | Path,
    *,
    n: int,
    seed: int,
    folder: str | Path | None = None,
    prompt: str = PROMPT,
    max_rejected: float = 0.1,
) -> None:
    """Draw n flowers, or take n photographs from a folder, and write the manifest.

    Args:
        out: the folder to make; whole or not there.
        n: how many samples; of a folder, at most this many, chosen by the seed.
        seed: all chance comes from it; the same seed and photographs give the same bytes.
        folder: photographs, flat or in subfolders, with an optional labels.csv (file,color). A
            photograph without a label has the gold "". One that can't be read keeps its row, with
            the reason in `rejected` and no file at `image`.
        prompt: the question.
        max_rejected: share of a folder's chosen photographs that need not be readable.

    Raises:
        DataError: if n is not positive, or the folder is missing or empty or has too little that is
            readable.
    """
    with building(out, "flowers", n) as place:
        (place / IMAGES).mkdir()
        if folder is None:
            rows = [_drawn(place, index, seed) for index in range(n)]
        else:
            rows = _photographs(place, Path(folder), n, seed)
        frame = pd.DataFrame([{**ASKED, "prompt": prompt, **row} for row in rows])
        check_rejected(frame, max_rejected, "flowers")
        write_manifest(place, frame)
    if folder is not None:
        tell_left_out(folder)


def _drawn(place: Path, index: int, seed: int) -> dict[str, str]:
    color = PETAL_COLORS[index % len(PETAL_COLORS)]
    picture, flower = draw_flower(np.random.default_rng([seed, index]), color)
    image = f"{IMAGES}/flower-{index:05d}.png"
    picture.save(place / image)
    return {
        "sample_id": f"flowers-{index:05d}",
        "image": image,
        "gold": f"color:{color}",
        "objects": json.dumps(
            [{"shape": "flower", "color": color, "box": flower.box}], separators=(",", ":")
        ),
        "source": f"drawn, seed {seed}",
        "rejected": "",
    }


def _photographs(place: Path, folder: Path, n: int, seed: int) -> list[dict[str, str]]:
    pictures = find_pictures(folder)
    labels = read_labels(folder, pictures, load_lexicon())
    order = np.random.default_rng(seed).permutation(len(pictures))
    chosen = [pictures[index] for index in sorted(order[:n])]
    return [
        {
            "sample_id": f"flowers-{picture.slug}",
            "image": image_of(picture),
            "gold": labels.get(picture.name, ""),
            "objects": "[]",
            "source": picture.name,
            "rejected": made.reason,
        }
        for picture, made in zip(chosen, convert_all(chosen, folder, place), strict=True)
    ]


def draw_flower(rng: np.random.Generator, color: str) -> tuple[Image.Image, Flower]:
    """Draw one flower on a meadow.

    Args:
        rng: where the chance comes from.
        color: the petals' color, one of `COLORS`: the petals in front have exactly it, the ones
            behind a darker shade.

    Returns:
        An RGB picture of 224 × 224 pixels, and its blossom.
    """
    scale = OVERSAMPLING
    canvas = _meadow(rng, SIZE * scale)
    pen = ImageDraw.Draw(canvas)
    x, y = float(rng.uniform(84, 140)), float(rng.uniform(76, 104))
    reach = float(rng.uniform(50, 64))
    _stem(rng, pen, x, y, scale)
    petals = int(rng.integers(5, 10))
    width = float(rng.uniform(0.85, 1.05)) * math.pi / petals * reach * 0.72
    turn = float(rng.uniform(0, 2 * math.pi))
    step = 2 * math.pi / petals
    back, front = _mixed(COLORS[color], (0, 0, 0), 0.22), COLORS[color]
    edge = _mixed(COLORS[color], (0, 0, 0), 0.42) if color != "black" else (70, 70, 70)
    tips: list[tuple[float, float]] = []
    for shade, length, shift in ((back, reach, 0.5), (front, reach * 0.92, 0.0)):
        for petal in range(petals):
            points = _petal(x, y, turn + step * (petal + shift), length, width)
            tips += points
            pen.polygon([(u * scale, v * scale) for u, v in points], fill=shade)
            pen.line([(u * scale, v * scale) for u, v in points], fill=edge, width=scale)
    _center(rng, pen, (x, y, reach * float(rng.uniform(0.22, 0.3))), color, scale)
    xs, ys = zip(*tips, strict=True)
    box = [
        max(0, math.floor(min(xs))),
        max(0, math.floor(min(ys))),
        min(SIZE, math.ceil(max(xs))),
        min(SIZE, math.ceil(max(ys))),
    ]
    picture = canvas.resize((SIZE, SIZE), Image.Resampling.BOX)
    return picture, Flower(color, x, y, reach, box)


def _mixed(color: Rgb, other: Rgb, share: float) -> Rgb:
    r, g, b = (round(a + (c - a) * share) for a, c in zip(color, other, strict=True))
    return r, g, b


def _meadow(rng: np.random.Generator, side: int) -> Image.Image:
    """Return a pale sky over grass with blades, `side` × `side` pixels."""
    top = _mixed((176, 208, 232), (255, 255, 255), float(rng.uniform(0, 0.4)))
    low = _mixed((224, 234, 238), (250, 240, 214), float(rng.uniform(0, 1)))
    grass = _mixed((126, 172, 92), (150, 180, 100), float(rng.uniform(0, 1)))
    blend = np.linspace(0, 1, side)[:, None]
    sky = np.rint(np.array(top) * (1 - blend) + np.array(low) * blend).astype(np.uint8)
    canvas = Image.fromarray(np.repeat(sky[:, None, :], side, axis=1), "RGB")
    pen = ImageDraw.Draw(canvas)
    horizon = side * float(rng.uniform(0.66, 0.78))
    swing, phase = side * float(rng.uniform(0.01, 0.04)), float(rng.uniform(0, 2 * math.pi))
    ridge = [
        (x, horizon + swing * math.sin(2 * math.pi * x / side + phase))
        for x in range(0, side + 9, 8)
    ]
    pen.polygon([*ridge, (side + 8, side), (0, side)], fill=grass)
    for _ in range(150):
        x, y = float(rng.uniform(0, side)), float(rng.uniform(horizon + swing, side * 1.03))
        tall, lean = side * float(rng.uniform(0.03, 0.08)), side * float(rng.uniform(-0.02, 0.02))
        blade = _mixed(grass, (40, 96, 40), float(rng.uniform(0.1, 0.6)))
        foot = side * 0.004
        pen.polygon([(x - foot, y), (x + foot, y), (x + lean, y - tall)], fill=blade)
    return canvas


def _stem(rng: np.random.Generator, pen: ImageDraw.ImageDraw, x: float, y: float, s: int) -> None:
    """Draw a bent stem from (x, y) down to the border, with a leaf on each side."""
    bend = float(rng.uniform(-14, 14))
    path = []
    for t in np.linspace(0, 1, 24):
        path.append((x + bend * math.sin(math.pi * t / 2), y + (SIZE + 6 - y) * float(t)))
    pen.line([(u * s, v * s) for u, v in path], fill=_STEM, width=5 * s, joint="curve")
    for side in (-1, 1):
        u, v = path[int(rng.integers(14, 19))]
        angle = (-math.pi / 2) + side * float(rng.uniform(0.8, 1.1))
        leaf = _petal(u, v, angle, float(rng.uniform(34, 46)), 7.5)
        pen.polygon([(a * s, b * s) for a, b in leaf], fill=_LEAF)
        tip = leaf[len(leaf) // 2]
        pen.line([(u * s, v * s), (tip[0] * s, tip[1] * s)], fill=_STEM, width=s)


def _petal(
    x: float, y: float, angle: float, length: float, width: float
) -> list[tuple[float, float]]:
    """Return the outline of a petal from (x, y) outwards; `width` is half of its widest, pixels."""
    points = []
    for t in np.linspace(0, 2 * math.pi, 41):
        # An egg, broader towards its tip.
        along = length * (1 - math.cos(t)) / 2
        across = width * math.sin(t) * (0.72 + 0.5 * (1 - math.cos(t)) / 2)
        points.append(
            (
                x + along * math.cos(angle) - across * math.sin(angle),
                y + along * math.sin(angle) + across * math.cos(angle),
            )
        )
    return points


def _center(
    rng: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    disk: tuple[float, float, float],
    color: str,
    s: int,
) -> None:
    """Draw the blossom's center (x, y, radius in pixels), in another color than its petals."""
    x, y, radius = disk
    names = [name for name in CENTERS if name != color and {name, color} != {"yellow", "orange"}]
    fill = COLORS[names[int(rng.integers(len(names)))]]
    rim = _mixed(fill, (0, 0, 0) if sum(fill) > 120 else (255, 255, 255), 0.3)
    box = [(x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s]
    pen.ellipse(box, fill=fill, outline=rim, width=s)
    for dot in range(28):  # Seeds on a sunflower's spiral.
        r, a = radius * 0.85 * math.sqrt(dot / 28), dot * math.pi * (3 - math.sqrt(5))
        u, v, d = (x + r * math.cos(a)) * s, (y + r * math.sin(a)) * s, 0.9 * s
        pen.ellipse([u - d, v - d, u + d, v + d], fill=rim)
