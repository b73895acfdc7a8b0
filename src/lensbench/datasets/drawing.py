"""Draws solid colored shapes on a muted ground, anti-aliased, from numbers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

# Pure enough to be named by anyone, far enough apart to survive a resize to 56 × 56.
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 32, 36),
    "orange": (245, 134, 20),
    "yellow": (247, 220, 36),
    "green": (32, 150, 60),
    "blue": (36, 84, 208),
    "purple": (122, 40, 150),
    "pink": (246, 140, 190),
    "white": (250, 250, 250),
    "black": (18, 18, 18),
}
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star")
SIZE = 224
# Drawn this many times larger, then shrunk: Pillow's own polygons have hard edges.
OVERSAMPLING = 3


@dataclass(frozen=True)
class Thing:
    """One drawn object: its shape, color, center and radius in pixels, and turn in radians."""

    shape: str
    color: str
    x: float
    y: float
    radius: float
    turn: float = 0.0

    @property
    def box(self) -> list[int]:
        """Return the bounding box [x0, y0, x1, y1] in pixels, x1 and y1 not included."""
        xs, ys = zip(*outline(self), strict=True)
        return [
            math.floor(min(xs)),
            math.floor(min(ys)),
            math.ceil(max(xs)),
            math.ceil(max(ys)),
        ]


def outline(thing: Thing) -> list[tuple[float, float]]:
    """Return the corners of a thing in pixels, a circle as 48 of them.

    Raises:
        KeyError: if the shape is none of `SHAPES`.
    """
    corners, inner = {
        "circle": (48, 1.0),
        "square": (4, 1.0),
        "triangle": (3, 1.0),
        "star": (10, 0.45),
    }[thing.shape]
    # Squares and triangles of the same radius look smaller than circles: this evens them out.
    reach = (
        thing.radius * {"circle": 0.92, "square": 1.12, "triangle": 1.18, "star": 1.2}[thing.shape]
    )
    start = thing.turn - math.pi / 2 + (math.pi / 4 if thing.shape == "square" else 0.0)
    points = []
    for corner in range(corners):
        angle = start + 2 * math.pi * corner / corners
        length = reach * (inner if corner % 2 and thing.shape == "star" else 1.0)
        points.append((thing.x + length * math.cos(angle), thing.y + length * math.sin(angle)))
    return points


def draw_things(things: list[Thing], ground: tuple[int, int, int], size: int = SIZE) -> Image.Image:
    """Draw things on a plain ground, later ones on top.

    Args:
        things: what to draw, in pixels of a `size` × `size` picture.
        ground: the color of the ground, 0–255 each.
        size: side of the picture in pixels.

    Returns:
        An RGB picture.
    """
    scale = OVERSAMPLING
    canvas = Image.new("RGB", (size * scale, size * scale), ground)
    pen = ImageDraw.Draw(canvas)
    for thing in things:
        pen.polygon([(x * scale, y * scale) for x, y in outline(thing)], fill=COLORS[thing.color])
    return canvas.resize((size, size), Image.Resampling.BOX)


def muted_ground(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return a grayish color that every color of the palette stands out from."""
    level = int(rng.integers(120, 190))
    tint = rng.integers(-12, 13, size=3)
    return (level + int(tint[0]), level + int(tint[1]), level + int(tint[2]))


def place(
    rng: np.random.Generator, n: int, radius: tuple[float, float], size: int = SIZE
) -> list[tuple[float, float, float]]:
    """Return n places (x, y, radius in pixels) that don't touch each other or the border.

    Args:
        rng: where the chance comes from.
        n: how many; up to 9 fit at the default radii.
        radius: smallest and largest radius in pixels.
        size: side of the picture in pixels.
    """
    while True:
        places: list[tuple[float, float, float]] = []
        for _ in range(60 * max(n, 1)):
            if len(places) == n:
                return places
            r = float(rng.uniform(*radius))
            margin = 1.25 * r
            x, y = (float(v) for v in rng.uniform(margin, size - margin, size=2))
            if all(math.hypot(x - u, y - v) > 1.25 * (r + s) for u, v, s in places):
                places.append((x, y, r))
        if len(places) == n:
            return places
