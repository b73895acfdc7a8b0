"""What readers wait for: the answer to a hover, and the first paint, of a page of 3,000 patches.

Held to are the bounds that are promised, several times what benchmarks/explorer.py finds: a machine
that is busy passes, and a change that lets the page crawl does not.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser
from tests.explorer.realistic import sample, vocabulary

from lensbench.explorer.pages import page_of
from lensbench.explorer.pictures import embedded

HOVERS = """async (repeats) => {
  const stage = document.getElementById("stage");
  const box = stage.getBoundingClientRect();
  const times = [];
  for (let i = 0; i < repeats; i += 1) {
    const at = { clientX: box.left + box.width * ((i * 0.37) % 1), bubbles: true,
                 clientY: box.top + box.height * ((i * 0.61) % 1), pointerType: "mouse" };
    await new Promise(requestAnimationFrame);
    const start = performance.now();
    stage.dispatchEvent(new PointerEvent("pointermove", at));
    document.body.getBoundingClientRect();
    times.push([performance.now() - start, document.getElementById("details-title").textContent]);
  }
  return times;
}"""


def test_three_thousand_patches_appear_within_a_second_and_answer_within_a_frame(
    browser: Browser, tmp_path: Path
) -> None:
    gray, path = tmp_path / "gray.png", tmp_path / "page.html"
    Image.new("RGB", (336, 280), (120, 120, 120)).save(gray)
    shown, _ = embedded(gray)
    path.write_text(page_of(sample(50, 60), vocabulary(), shown), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    hovers = page.evaluate(HOVERS, 60)
    page.close()
    assert len({title for _, title in hovers}) > 50, "the patches hovered over are not shown"
    assert paint < 1000
    assert statistics.median(time for time, _ in hovers) < 16
