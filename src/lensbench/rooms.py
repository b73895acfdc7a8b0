"""Which code made a file: the rooms of each stage of the workflow, and their digest."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

# The rooms whose code a stage's files depend on: its own, and those it imports. How files are
# fetched, how far a job is and what a killed one left (downloads, progress, leftovers) changes
# nothing in what is made.
_BASE = ("files.py", "errors.py")
_WORDS = ("scripts.py", "lexicon.py", "yamls.py", "data/lexicon.yaml")
_ANSWERS = ("answers.py", "data/answers.yaml")
_PARQUET = ("parquets.py", "parquet_pages.py", "footers.py", "thrift.py")
_TRACE = (
    *("trace.py", "trace_meta.py", "trace_schema.py", "trace_checks.py", "trace_stream.py"),
    *("shards.py", *_PARQUET),
)
_MODEL = (
    *(*_BASE, *_WORDS, *_TRACE, "models/*.py", "lens"),
    *("inspection.py", "pixels.py", "limits.py"),
)
_EXTRACT = (
    *_MODEL,
    *("datasets/manifest.py", "extract.py", "part.py", "feed.py", "tracing.py", "variants.py"),
    *("provenance.py", "steps.py"),
)
_METRICS = (
    *(*_BASE, *_WORDS, *_ANSWERS, *_TRACE, "pixels.py", "steps.py", "metrics"),
    *("models/checks.py", "models/vocabulary.py"),
)
_METRIC_TABLES = tuple(
    f"metrics/{name}.py" for name in ("convergence", "intervals", "study_tables", "tables")
)
_TOLERANCES = tuple(f"compare/{name}.py" for name in ("tolerances", "measures", "tally"))
_SHOW = (
    *(*_BASE, "scripts.py", "pixels.py", "figures", "fontfiles.py", "tables"),
    *("numbers.py", *_PARQUET, "data/reference", "metrics/intervals.py", "metrics/tables.py"),
)
_PAGE = ("fontfiles.py", "webfonts.py")
_TOLD = (
    *("*prose.py", "peers.py", "raw_normed.py", "compared.py", "published*.py"),
    *("mining.py", "mined_files.py", "request.py", "look*.py", "notebook.py", "terminal.py"),
)
ROOMS = {
    "dataset": (
        *(*_BASE, *_WORDS, *_ANSWERS, *_PARQUET),
        *("data/facts.yaml", "data/sources.csv", "datasets", "downloads", "pixels.py"),
    ),
    "model": _MODEL,
    "extract": _EXTRACT,
    "import": (
        *(*_BASE, *_WORDS, *_TRACE, "imported.py", "imported_file.py", "pixels.py"),
        *("models/prompt.py", "models/checks.py", "models/pictures.py", "models/probe.py"),
        *("models/views.py", "models/layouts.py", "models/tiles.py", "limits.py"),
    ),
    "ablate": (*_EXTRACT, "ablation.py", "head_groups.py", "metrics/heads.py"),
    "metrics": _METRICS,
    "numerics": (*_EXTRACT, "numerics.py", "compare", *_METRIC_TABLES),
    "show": _SHOW,
    "explorer": (
        *(*_BASE, *_WORDS, *_TRACE, *_PAGE, "datasets/manifest.py", "pixels.py", "explorer"),
        "steps.py",
    ),
    "notebook": (
        *(*_MODEL, *_METRICS, *_SHOW, *_PAGE, *_TOLD, "data", "config.py"),
        *("notebooks.py", "notebook_page.py"),
        *("notebook_page.html.jinja", "notebook_cells.html.jinja"),
    ),
    "paper": (
        *(*_SHOW, "paper.py", "config.py", "yamls.py"),
        *("downloads/sources.py", "data/sources.csv", "numeric_prose.py", *_TOLERANCES),
    ),
}


# Endings of the files that a digest of code takes in.
_CODE = {".py", ".yaml", ".csv", ".json", ".jinja", ".js", ".css"}


@cache
def code_version(stage: str) -> str:
    """Return a digest of the code that a stage's files depend on, so that a change reruns it.

    Args:
        stage: a key of ROOMS.
    """
    digest = hashlib.sha256()
    for entry in ROOMS[stage]:
        for path in sorted(PACKAGE.glob(entry)):
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in inside:
                if file.is_file() and file.suffix in _CODE:
                    digest.update(file.relative_to(PACKAGE).as_posix().encode())
                    digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
