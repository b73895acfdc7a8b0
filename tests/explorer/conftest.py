"""For all tests of the explorer: one planted site, and pages that must stay silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page
from tests.explorer import planted

from lensbench.explorer import write_index, write_pages

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a site of three runs: pictures, text alone, an imported lens."""
    root = tmp_path_factory.mktemp("site")
    explorer = root / "explorer"
    runs = [explorer / name for name in ("planted-llava/scenes", "planted-gpt/facts", "lens/x")]
    write_pages(runs[0], **planted.write_run(root))  # type: ignore[arg-type]
    write_pages(runs[1], **planted.write_run(root, "text"))  # type: ignore[arg-type]
    write_pages(runs[2], imported=planted.write_import(root))
    write_index(runs, explorer / "index.html")
    return explorer


@pytest.fixture
def open_page(browser: Browser, site: Path) -> Iterator[Open]:
    """Return what opens a page of the site from disk; at the end nothing may have gone wrong."""
    trouble: list[str] = []
    contexts = []

    def opened(
        name: str = "planted-llava/scenes/scenes-0.html",
        fragment: str = "",
        width: int = 1280,
        theme: str = "light",
        **options: object,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            **options,  # type: ignore[arg-type]
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: _note_error(trouble, message))
        page.on("pageerror", lambda error: trouble.append(f"exception: {error}"))
        page.on("dialog", lambda dialog: (trouble.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: _note(trouble, request.url))
        page.goto((site / name).as_uri() + fragment)
        page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert trouble == []


def _note_error(trouble: list[str], message: ConsoleMessage) -> None:
    if message.type == "error":
        trouble.append(f"console: {message.text}")


def _note(trouble: list[str], url: str) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        trouble.append(f"request: {url}")
