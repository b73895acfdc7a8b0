from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lensbench.datasets import DATASETS
from lensbench.datasets.drawing import COLORS
from lensbench.datasets.fills import STRAY
from lensbench.datasets.flowers import PETAL_COLORS, PROMPT, draw_flower
from lensbench.datasets.manifest import read_manifest
from lensbench.files import sha256_of
from lensbench.lexicon import load_lexicon

# What comes from elsewhere has tests of its own.
DRAWN = ("scenes", "fills", "flowers", "facts")


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def pixels(folder: Path, image: str) -> np.ndarray:
    with Image.open(folder / image) as picture:
        assert picture.mode == "RGB"
        return np.asarray(picture).astype(int)


@pytest.mark.parametrize("name", DRAWN)
def test_two_runs_are_equal_to_the_byte_and_another_seed_is_not(tmp_path: Path, name: str) -> None:
    _, make = DATASETS[name]
    for run, seed in (("a", 7), ("b", 7), ("c", 8)):
        make(tmp_path / run, n=24, seed=seed)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")
    make(tmp_path / "c", n=24, seed=7)  # Written over what stood there.
    assert hashes(tmp_path / "a") == hashes(tmp_path / "c")


@pytest.mark.parametrize("name", DRAWN)
def test_the_manifest_fits_its_kind_its_pictures_and_the_lexicon(tmp_path: Path, name: str) -> None:
    kind, make = DATASETS[name]
    make(tmp_path / name, n=30, seed=1)
    manifest = read_manifest(tmp_path / name)
    lexicon = load_lexicon()
    assert len(manifest) == 30
    assert set(manifest["kind"]) == {kind}
    assert manifest["sample_id"].str.startswith(f"{name}-").all()
    for row in manifest.itertuples():
        assert row.language in lexicon.languages(row.gold), row.sample_id
    named = {image for image in manifest["image"] if image is not None}
    there = {path for path in hashes(tmp_path / name) if path.endswith(".png")}
    assert named == there
    for image in named:
        assert pixels(tmp_path / name, image).shape == (224, 224, 3)


def test_fills_are_plain_exact_and_meet_every_language(tmp_path: Path) -> None:
    DATASETS["fills"][1](tmp_path / "fills", n=40, seed=3)
    manifest = read_manifest(tmp_path / "fills")
    first = manifest.iloc[: 2 * len(COLORS)]
    assert len(set(zip(first["gold"], first["language"], strict=True))) == 2 * len(COLORS)
    for place, row in manifest.iterrows():
        inside = pixels(tmp_path / "fills", row["image"]).reshape(-1, 3)
        assert (inside == inside[0]).all()
        away = np.abs(inside[0] - COLORS[row["gold"].removeprefix("color:")]).max()
        assert away == 0 if place < 2 * len(COLORS) else away <= STRAY
    assert manifest.loc[0, "prompt"] == "What color is the picture? Answer in English."
    assert manifest.loc[1, "prompt"] == "What color is the picture? Answer in Chinese."


def test_drawn_flowers_have_their_color_inside_the_box_only(tmp_path: Path) -> None:
    DATASETS["flowers"][1](tmp_path / "flowers", n=2 * len(PETAL_COLORS), seed=5)
    manifest = read_manifest(tmp_path / "flowers")
    assert manifest["gold"].value_counts().eq(2).all()
    assert set(manifest["prompt"]) == {PROMPT}
    for row in manifest.itertuples():
        (flower,) = json.loads(row.objects)
        assert f"color:{flower['color']}" == row.gold
        x0, y0, x1, y1 = flower["box"]
        assert 0 <= x0 < x1 <= 224
        assert 0 <= y0 < y1 <= 224
        petal = (pixels(tmp_path / "flowers", row.image) == COLORS[flower["color"]]).all(axis=2)
        inside = petal[y0:y1, x0:x1]
        assert inside.mean() > 0.2, row.sample_id  # Of the box's area, by the very color.
        assert inside.sum() == petal.sum()
        others = [name for name in COLORS if name != flower["color"]]
        picture = pixels(tmp_path / "flowers", row.image)
        for name in others:
            assert (picture == COLORS[name]).all(axis=2).sum() < inside.sum() / 2


@pytest.mark.parametrize("color", list(COLORS))
def test_a_flowers_center_differs_from_its_petals(color: str) -> None:
    picture, flower = draw_flower(np.random.default_rng(2), color)
    around = np.asarray(picture)[
        round(flower.y) - 5 : round(flower.y) + 6, round(flower.x) - 5 : round(flower.x) + 6
    ].astype(int)
    distance = np.abs(around - COLORS[color]).max(axis=2)
    assert (distance > 40).mean() > 0.9
    assert flower.box[0] < flower.x - 0.5 * flower.radius
    assert flower.box[2] > flower.x + 0.5 * flower.radius


def test_a_prompt_can_be_given(tmp_path: Path) -> None:
    DATASETS["flowers"][1](tmp_path / "f", n=1, seed=0, prompt="What color is the flower?")
    assert read_manifest(tmp_path / "f").loc[0, "prompt"] == "What color is the flower?"
