"""Self-contained HTML: one script, one style sheet, data as JSON, and a policy that allows no more.

Tokens, prompts and names are anybody's text. They reach the page as JSON inside a data block in
which no character can end the block, and the script puts them on the page as text alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from lensbench.webfonts import font_faces

_HERE = Path(__file__).parent
#: Parts of the script of each kind of page, in order; each file says what it is for.
SCRIPTS = {
    "page": (
        "text", "unpack", "numbers", "colors", "state", "find", "picture", "details", "table",
        "trajectory", "search", "controls", "keys", "page",
    ),
    "index": ("text", "index"),
}  # fmt: skip
STYLES = {"page": ("base", "page", "table"), "index": ("base", "index")}
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff\ufeff]")


def render(kind: str, payload: Any, **values: Any) -> str:
    """Return a whole HTML document.

    Args:
        kind: "page" or "index".
        payload: what its script reads, as JSON can hold it.
        values: what its template prints, escaped.
    """
    script, data = _joined("js", SCRIPTS[kind]), script_json(payload)
    said = map(str, values.values())
    # The data last: its tokens come commonest first, should there be more than a font may hold.
    faces = font_faces([_source(kind), script, *said, data])
    style = f"{_joined('css', STYLES[kind])}{faces}\n"
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; font-src data:; base-uri 'none'; form-action 'none'"
    )
    return _template(kind).render(
        policy=policy,
        script=script,
        style=style,
        payload=data,
        visible=visible,
        **values,
    )


def script_json(value: Any) -> str:
    """Return JSON that nothing in it can end the script element it stands in.

    Lone surrogates, which no file can hold, are written as JSON's escapes as well.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def visible(text: str) -> str:
    """Return a text with what can't be seen, or turns what follows around, as its code point."""
    return "".join(
        c if c == " " or unicodedata.category(c)[0] not in "CZ" else f"⟨U+{ord(c):04X}⟩"
        for c in text
    )


@cache
def _joined(ending: str, names: Sequence[str]) -> str:
    """Return files of static/ as one; scripts are strict and keep their names to themselves."""
    parts = [(_HERE / "static" / f"{name}.{ending}").read_text(encoding="utf-8") for name in names]
    text = "\n".join(parts)
    return text if ending == "css" else f'(() => {{\n"use strict";\n{text}}})();\n'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


@cache
def _source(kind: str) -> str:
    """Return a template's text, whose arrows and signs the page shows."""
    return (_HERE / "templates" / f"{kind}.html.jinja").read_text(encoding="utf-8")


@cache
def _template(kind: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{kind}.html.jinja")
