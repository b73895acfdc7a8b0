"""The gallery: pictures made small, what is missing told, and every link to something there."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lensbench.config import ROOT

spec = importlib.util.spec_from_file_location("gallery", ROOT / "scripts/gallery.py")
gallery = importlib.util.module_from_spec(spec)
sys.modules["gallery"] = gallery  # its dataclass looks its own module up
spec.loader.exec_module(gallery)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_a_picture_is_made_small_and_stays_what_it_is() -> None:
    left = np.zeros((700, 1400, 3))
    left[:, :700] = (255, 0, 0)
    made = gallery.small(png(left))
    assert len(made) < 5_000
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.size == (900, 450)
        colors = picture.convert("RGB")
        assert (colors.getpixel((100, 200)), colors.getpixel((800, 200))) == (
            (255, 0, 0),
            (0, 0, 0),
        )


def test_noise_is_scaled_until_it_fits_or_refused() -> None:
    rng = np.random.default_rng(0)
    made = gallery.small(png(rng.integers(0, 256, (300, 1200, 3))))
    assert len(made) <= gallery.MOST_BYTES
    with pytest.raises(gallery.MissingError, match="larger than 120 kB"):
        gallery.small(png(rng.integers(0, 256, (1500, 900, 3))))
    with pytest.raises(gallery.MissingError, match="no picture"):
        gallery.small(b"no")


def test_what_is_missing_is_told_and_the_rest_is_written(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "gallery"
    there = gallery.FIGURES[0]
    (results / there.source).parent.mkdir(parents=True)
    (results / there.source).write_bytes(png(np.zeros((40, 60, 3))))
    faults = gallery.make(results, out)
    assert len(faults) == len(gallery.FIGURES) + len(gallery.PAGES) - 1
    assert f"{gallery.FIGURES[1].source} is missing: run the workflow's figures." in faults
    assert f"{gallery.PAGES[0].source} is missing: run the workflow's explorer." in faults
    assert sorted(path.name for path in out.iterdir()) == ["README.md", f"{there.name}.png"]
    assert (
        f"({there.name}.png)](../../notebooks/{there.notebook})" in (out / "README.md").read_text()
    )


def test_a_page_is_photographed_with_the_fonts_of_the_figures(tmp_path: Path) -> None:
    page = tmp_path / "a b.html"
    page.write_text(
        "<!DOCTYPE html><meta charset=utf-8><body style='margin:0;background:#0000ff'>"
        "<p style='color:#fff;font:400px \"Noto Sans CJK SC\"'>三"
    )
    with Image.open(io.BytesIO(gallery.photograph(page))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (900, 1280)
    assert pixels[5, 1200].tolist() == [0, 0, 255]
    white = (pixels > 200).all(axis=2)
    assert white.sum() > 5_000
    # Three strokes in the middle of the character, one below the other; an empty box has two.
    middle = white[:, 200].astype(int)
    assert (np.diff(middle) == 1).sum() == 3


def test_every_picture_has_a_name_of_its_own_and_a_known_source() -> None:
    from lensbench.figures import FIGURES, RUN_FIGURES

    pictures = [*gallery.FIGURES, *gallery.PAGES]
    assert len({picture.name for picture in pictures}) == len(pictures)
    assert all((ROOT / "notebooks" / picture.notebook).is_file() for picture in pictures)
    known = {*FIGURES, *RUN_FIGURES}
    assert {Path(picture.source).stem for picture in gallery.FIGURES} <= known
