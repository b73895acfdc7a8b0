"""How long a page of 3,000 patches × 33 layers takes to appear and to answer a hover, and its size.

python benchmarks/explorer.py [--repeats 300] prints medians; it drives Debian's Chromium.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.explorer.realistic import sample, vocabulary

from lensbench.explorer.pages import page_of
from lensbench.explorer.pictures import embedded

CHROMIUM = "/usr/bin/chromium"

# One hover: handler, style and layout until the answer stands; then until the table, which follows
# after that frame, shows the same position.
HOVER = """async (repeats) => {
  const stage = document.getElementById("stage");
  const box = stage.getBoundingClientRect();
  const answer = [], table = [];
  const tick = () => new Promise((done) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  });
  for (let i = 0; i < repeats; i += 1) {
    const at = { clientX: box.left + box.width * Math.random(), bubbles: true,
                 clientY: box.top + box.height * Math.random(), pointerType: "mouse" };
    await new Promise(requestAnimationFrame);
    const start = performance.now();
    stage.dispatchEvent(new PointerEvent("pointermove", at));
    document.body.getBoundingClientRect();
    answer.push(performance.now() - start);
    const where = document.getElementById("details-where").textContent;
    const row = Number(where.match(/position (\\d+) of/)[1]) + 2;
    while (Number(document.querySelector(".chosen")?.getAttribute("aria-rowindex")) !== row) {
      await tick();
    }
    document.body.getBoundingClientRect();
    table.push(performance.now() - start);
  }
  return { answer, table };
}"""
PAINT = """() => ({
  first: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
  ready: performance.getEntriesByName("ready")[0]?.startTime,
})"""


def picture(folder: Path, width: int, height: int) -> Path:
    """Write a picture with as much detail as a photograph."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    path = folder / "picture.png"
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def measure(path: Path, repeats: int) -> dict[str, float]:
    """Return medians in milliseconds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        paints = []
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]")
            paints.append(page.evaluate(PAINT))
            page.close() if len(paints) < 5 else None
        times = page.evaluate(HOVER, repeats)
        browser.close()
    values = {
        "first paint": [paint["first"] for paint in paints],
        "ready": [paint["ready"] for paint in paints],
        "hover: answered (handler, style, layout)": times["answer"],
        "hover: table has followed, frame between": times["table"],
    }
    return {name: round(statistics.median(found), 2) for name, found in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    arguments = parser.parse_args()
    words = vocabulary()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown, _ = embedded(picture(folder, 336, 336))
        cases = {
            "576 patches x 33 layers, k = 5": sample(24, 24),
            "576 patches x 33 layers, k = 5, 32 x 32 heads": sample(24, 24, heads=32),
            "3,000 patches x 33 layers, k = 5": sample(50, 60),
        }
        for label, made in cases.items():
            path = folder / "page.html"
            path.write_text(page_of(made, words, shown), encoding="utf-8")
            size = path.stat().st_size
            figures = measure(path, arguments.repeats)
            print(json.dumps({"page": label, "bytes": size, "milliseconds": figures}))


if __name__ == "__main__":
    main()
