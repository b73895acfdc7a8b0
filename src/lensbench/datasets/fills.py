"""The fills: pictures of one plain color, as a study used, asked for in two languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lensbench.datasets.drawing import COLORS, SIZE
from lensbench.datasets.manifest import building, write_manifest
from lensbench.datasets.scenes import ANSWER_IN, COLOR_LANGUAGES, FILL_QUESTION

# How far each channel of a repeated color may stray, of 255: the same color to the eye.
STRAY = 8


def draw_fill(rng: np.random.Generator | None, color: str) -> Image.Image:
    """Return a plain RGB picture of 224 × 224 pixels.

    Args:
        rng: lets the color stray by up to `STRAY`; the palette's own color if None.
        color: one of `COLORS`.
    """
    red, green, blue = COLORS[color]
    if rng is not None:
        strays = rng.integers(-STRAY, STRAY + 1, size=3)
        red, green, blue = (
            min(255, max(0, channel + int(stray)))
            for channel, stray in zip(COLORS[color], strays, strict=True)
        )
    return Image.new("RGB", (SIZE, SIZE), (red, green, blue))


def make(out: str | Path, *, n: int, seed: int) -> None:
    """Draw n plain pictures and write their manifest.

    The palette is gone through once for each language in its exact colors; further rounds stray a
    little, so that no two pictures of a question are equal by design.

    Args:
        out: the folder to make; whole or not there.
        n: how many samples.
        seed: all chance comes from it; the same seed gives the same bytes.

    Raises:
        DataError: if n is not positive.
    """
    rows = []
    with building(out, "fills", n) as folder:
        (folder / "images").mkdir()
        for index in range(n):
            lap, position = divmod(index, len(COLORS))
            color = list(COLORS)[position]
            # Alternates within a lap and between laps: each color meets each language.
            language = COLOR_LANGUAGES[(position + lap) % len(COLOR_LANGUAGES)]
            exact = lap < len(COLOR_LANGUAGES)
            rng = None if exact else np.random.default_rng([seed, index])
            image = f"images/fill-{index:05d}.png"
            draw_fill(rng, color).save(folder / image)
            rows.append(
                {
                    "sample_id": f"fills-{index:05d}",
                    "kind": "image",
                    "image": image,
                    "prompt": f"{FILL_QUESTION} {ANSWER_IN[language]}",
                    "style": "chat",
                    "gold": f"color:{color}",
                    "language": language,
                    "family": "color",
                    "objects": "[]",
                    "source": f"drawn, seed {seed}",
                    "rejected": "",
                }
            )
        write_manifest(folder, pd.DataFrame(rows))
