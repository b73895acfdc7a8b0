"""Write docs/gallery/: small pictures of the results, each linked to the notebook that explains it.

`make gallery` after `make reproduce`. Figures come from results/figures and screenshots of the
explorer's pages from a headless Chromium (its path in CHROMIUM, else `chromium` of PATH). What is
missing is said in one sentence each and ends the command with status 1; the rest is written.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES, MOST_WIDE = 120_000, 900
SHOT = (1280, 900)  # pixels of the window


@dataclass(frozen=True)
class Picture:
    """A picture of the gallery.

    Args:
        name: of its file, without its ending.
        source: below results/: a figure (.png) or a page to be photographed (.html).
        caption: what it shows.
        notebook: the one that explains it, a file of notebooks/.
    """

    name: str
    source: str
    caption: str
    notebook: str


FIGURES = (
    Picture(
        "answer_way", "figures/lensbench-onevision/fills/answer_way.png",
        "The answer's way: top token by layer, raw beside normed, and the answer's rank",
        "1_answers_way.py",
    ),
    Picture(
        "final_rank", "figures/final_rank.png", "Rank of the final token by layer",
        "1_answers_way.py",
    ),
    Picture(
        "heads", "figures/heads.png", "Attention on the picture by head and layer",
        "2_heads.py",
    ),
    Picture(
        "ablation", "figures/ablation.png", "What switching heads off does to the answer",
        "2_heads.py",
    ),
    Picture(
        "patch_maps", "figures/patch_maps.png", "Where patches speak and where they are blank",
        "3_patches.py",
    ),
    Picture(
        "patch_regions", "figures/patch_regions.png",
        "Which patches name the object: inside its box, on the border, outside", "3_patches.py",
    ),
    Picture(
        "tokens", "figures/smollm2-135m/facts/tokens.png",
        "A language model's heat map: top token by layer and generated token", "4_heat_map.py",
    ),
    Picture(
        "lenses", "figures/lenses.png", "Raw against normed, and attention and MLP alone",
        "4_heat_map.py",
    ),
    Picture(
        "han_in_topk", "figures/han_in_topk.png", "Han in the top k by layer", "5_counting.py"
    ),
    Picture(
        "han_floor", "figures/han_floor.png", "How much of the Han there is for any picture",
        "5_counting.py",
    ),
    Picture(
        "language_lead", "figures/language_lead.png", "Does the answer arrive in Chinese first?",
        "5_counting.py",
    ),
    Picture(
        "by_variant", "figures/by_variant.png", "Accuracy and convergence against picture size",
        "5_counting.py",
    ),
    Picture(
        "accuracy_by_answer", "figures/accuracy_by_answer.png", "Accuracy by answer and layer",
        "5_counting.py",
    ),
)  # fmt: skip
PAGES = (
    Picture(
        "explorer_index", "explorer/index.html", "The explorer: every sample of every run",
        "3_patches.py",
    ),
    Picture(
        "explorer_page", "explorer/lensbench-onevision/scenes/scenes-00000.html",
        "A page of the explorer: patches, top tokens, attention and trajectory", "3_patches.py",
    ),
)  # fmt: skip


class MissingError(Exception):
    """A picture can't be made; the sentence says why."""


def small(content: bytes) -> bytes:
    """Return a picture as a PNG of at most 900 pixels across and 120 kB, in as many colors as fit.

    Raises:
        MissingError: if it is no picture, or not small enough at 400 pixels across.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            picture = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise MissingError("is no picture") from error
    wide = min(MOST_WIDE, picture.width)
    while True:
        high = max(1, round(picture.height * wide / picture.width))
        scaled = picture.resize((wide, high), Image.Resampling.LANCZOS)
        for colors in (256, 128, 64):
            flat = scaled.quantize(colors, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            stream = io.BytesIO()
            flat.save(stream, "PNG", optimize=True)
            if stream.tell() <= MOST_BYTES:
                return stream.getvalue()
        if wide <= 400:
            raise MissingError(
                f"is larger than {MOST_BYTES // 1000} kB even at {wide} pixels across"
            )
        wide = max(400, wide * 4 // 5)


def photograph(page: Path) -> bytes:
    """Return a screenshot of a page, as a headless Chromium shows it.

    Raises:
        MissingError: if there is no such page, no Chromium, or Chromium fails.
    """
    if not page.is_file():
        raise MissingError("is missing: run the workflow's explorer")
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if browser is None:
        raise MissingError("can't be photographed without chromium (apt install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        out, fonts = Path(folder) / "shot.png", Path(folder) / "fonts.conf"
        fonts.write_text(_font_settings(Path(folder)), encoding="utf-8")
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={folder}/profile", f"--window-size={SHOT[0]},{SHOT[1]}",
            "--virtual-time-budget=5000", f"--screenshot={out}", page.resolve().as_uri(),
        ]  # fmt: skip
        try:
            subprocess.run(
                command, capture_output=True, timeout=120, check=True,
                env={**os.environ, "FONTCONFIG_FILE": str(fonts)},
            )  # fmt: skip
            return out.read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            raise MissingError(
                f"can't be photographed ({type(error).__name__} of {browser})"
            ) from error


def _font_settings(folder: Path) -> str:
    """Return fontconfig's settings that add the project's own fonts: tokens are in any script."""
    from lensbench.figures.fonts import register

    register()
    from matplotlib.font_manager import fontManager

    places = sorted({str(Path(font.fname).parent) for font in fontManager.ttflist})
    dirs = "".join(f"<dir>{place}</dir>" for place in ["/usr/share/fonts", *places])
    return (
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"{dirs}<cachedir>{folder}/cache</cachedir></fontconfig>"
    )


def make(results: Path, out: Path) -> list[str]:
    """Write the gallery and return a sentence for each picture that couldn't be made."""
    out.mkdir(parents=True, exist_ok=True)
    faults, rows = [], []
    for picture in (*FIGURES, *PAGES):
        source = results / picture.source
        try:
            if source.suffix == ".html":
                content = photograph(source)
            elif source.is_file():
                content = source.read_bytes()
            else:
                raise MissingError("is missing: run the workflow's figures")
            (out / f"{picture.name}.png").write_bytes(small(content))
            rows.append(picture)
        except MissingError as why:
            faults.append(f"{picture.source} {why}.")
    (out / "README.md").write_text(listing(rows), encoding="utf-8", newline="\n")
    return faults


def listing(pictures: list[Picture]) -> str:
    """Return the gallery's README: a table with each picture, what it shows and its notebook."""
    lines = [
        "# Gallery",
        "",
        "Made by `make gallery` from the default run; a picture leads to the notebook behind it.",
        "",
        "| picture | what it shows | notebook |",
        "|---|---|---|",
    ]
    for each in pictures:
        link = f"../../notebooks/{each.notebook}"
        lines.append(
            f"| [![{each.caption}]({each.name}.png)]({link}) | {each.caption} "
            f"| [`{each.notebook}`]({link}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write docs/gallery/ of this clone."""
    faults = make(ROOT / "results", ROOT / "docs" / "gallery")
    for fault in faults:
        print(f"gallery: {fault}", file=sys.stderr)
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
