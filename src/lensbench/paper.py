"""The paper: its generated parts, its compilation, and what is said at the end of a run."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from lensbench.config import ROOT
from lensbench.errors import LensbenchError
from lensbench.files import atomic_path

PAPER = ROOT / "paper"
#: The parts of main.tex that depend on what was run, each from a template of that name.
PARTS = ("settings", "abstract", "data", "models", "results", "numerics", "runs")
#: What datasets are called that have a name of their own.
_CALLED = {
    "tallyqa": "TallyQA",
    "oxford_flowers": "Oxford Flowers",
    "tf_flowers": "TensorFlow flowers",
}
#: Whose files each dataset is made from, as src/lensbench/data/sources.csv names them.
_FETCHED = {
    "tallyqa": ("tallyqa", "visual_genome"),
    "oxford_flowers": ("oxford_flowers",),
    "tf_flowers": ("tf_flowers",),
}
#: What a Debian machine needs for the PDF.
DEBIAN_PACKAGES = "latexmk texlive-luatex texlive-latex-recommended"


def engine() -> str | None:
    """Return "latexmk" (with lualatex) or "tectonic", whichever is there, else None."""
    if shutil.which("latexmk") and shutil.which("lualatex"):
        return "latexmk"
    return "tectonic" if shutil.which("tectonic") else None


def advice() -> str:
    """Return the one command that adds what the PDF needs."""
    if shutil.which("apt-get"):
        return f"sudo apt-get install --no-install-recommends {DEBIAN_PACKAGES}"
    return "conda install -c conda-forge tectonic"


def wants_pdf(setting: str) -> bool:
    """Return whether the PDF is a target, for the configuration's paper.pdf.

    Raises:
        LensbenchError: if it is always wanted, but no LaTeX is there.
    """
    if setting == "always" and engine() is None:
        raise LensbenchError(
            f"paper.pdf is always, but no latexmk with lualatex, nor tectonic, is here: {advice()}"
        )
    return setting != "never" and engine() is not None


def write_parts(
    folder: str | Path,
    metrics: str | Path,
    runs: Sequence[tuple[str, str]],
    config: Mapping[str, Any],
) -> None:
    """Write the generated parts of the paper as {part}.tex.

    Args:
        folder: where they go.
        metrics: folder of the metric tables.
        runs: (model, dataset) of every run, in order.
        config: the validated configuration.
    """
    from lensbench.figures import FIGURES, RUN_FIGURES
    from lensbench.figures.frames import read_tables
    from lensbench.models.source import packaged_models
    from lensbench.numeric_prose import numeric_prose
    from lensbench.tables import TABLES, latex_escape

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAPER / "templates"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters |= {
        "e": latex_escape,
        "called": _called,
        "percent": lambda value: f"{100 * value:.0f}\\,\\%",
        "thousands": lambda value: f"{int(value):,}".replace(",", "\\,"),
    }
    frames = read_tables(metrics, ["accuracy_by_family", "numerics"])
    context = {
        "config": config,
        "runs": list(runs),
        "models": sorted({model for model, _ in runs}),
        "datasets": {dataset for _, dataset in runs},
        "sources": _sources({dataset for _, dataset in runs}, config),
        "packaged": packaged_models(),
        "figures": FIGURES,
        "run_figures": RUN_FIGURES,
        "tables": TABLES,
        "names": {
            "count": "counting (0 to 5)",
            "large count": "counting (6 and more)",
            "simple": "simple counting",
            "complex": "complex counting",
        },
        "families": _families(frames["accuracy_by_family"]),
        "numerics": numeric_prose(frames["numerics"]),
    }
    for part in PARTS:
        text = environment.get_template(f"{part}.tex.jinja").render(context)
        with atomic_path(Path(folder) / f"{part}.tex") as path:
            path.write_text(text, encoding="utf-8", newline="\n")


def _called(dataset: str, first: bool = False) -> str:
    """Return a dataset's name as prose has it, with a capital if it is the first word."""
    name = _CALLED.get(dataset, dataset.replace("_", " "))
    return name[0].upper() + name[1:] if first else name


def _sources(datasets: set[str], config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the published files that datasets are made from, as the paper's table has them."""
    from lensbench.downloads.sources import load_sources

    wanted = [source for name in _FETCHED if name in datasets for source in _FETCHED[name]]
    tally = config["datasets"]["tallyqa"]
    if "tallyqa" in wanted and tally["split"] == "train" and tally["subset"] != "published":
        wanted.append("coco")
    return [
        {
            "dataset": file.dataset.replace("_", " "),
            "file": file.file,
            "size": f"{file.bytes:,}".replace(",", "\\,") if file.bytes else "--",
            "licence": file.licence,
            "digest": file.checksum.partition(":")[2][:12],
        }
        for name in wanted
        for file in load_sources()
        if file.dataset == name
    ]


def _families(table: pd.DataFrame) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return (model, dataset) → accuracy of the generated answers, a row a kind of question."""
    wanted = table[(table["asked"] == "all") & (table["metric"] == "accuracy_generated")]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in wanted.to_dict("records"):
        of_run = found.setdefault((str(row["model"]), str(row["dataset"])), [])
        of_run.append({str(name): value for name, value in row.items()})
    return found


def compile_paper(
    parts: str | Path, numbers: str | Path, tables: str | Path, figures: str | Path, out: str | Path
) -> None:
    """Compile the paper beside its sources, all gathered in one folder, and check the result.

    The folder `build` beside `out` holds everything that LaTeX reads, so that it can be sent away.

    Args:
        parts: folder of the generated parts.
        numbers: the file of number macros.
        tables: folder of the LaTeX tables.
        figures: folder of the figures.
        out: the PDF to make.

    Raises:
        LensbenchError: if no LaTeX is there, it fails, or a glyph or reference is missing.
    """
    from lensbench.figures.fonts import latex_fonts

    tool = engine()
    if tool is None:
        raise LensbenchError(f"No LaTeX is here to make {out}: {advice()}")
    build = Path(out).parent / "build"
    # Once more if a LaTeX that outlived its killed job put something there in between.
    for _ in range(8):
        shutil.rmtree(build, ignore_errors=True)
        if not build.exists():
            break
    build.mkdir(parents=True)
    for source in (PAPER / "main.tex", PAPER / "references.bib", Path(numbers)):
        shutil.copy(source, build)
    for part in PARTS:
        shutil.copy(Path(parts) / f"{part}.tex", build)
    shutil.copytree(tables, build / "tables", ignore=shutil.ignore_patterns("*.csv", ".*"))
    shutil.copytree(figures, build / "figures", ignore=shutil.ignore_patterns("*.png", ".*"))
    # Like all that lies here it is not sealed: it names this machine's fonts by their paths.
    (build / "fonts.tex").write_text(latex_fonts(), encoding="utf-8", newline="\n")
    command = {
        "latexmk": [
            "latexmk",
            "-lualatex",
            "-interaction=nonstopmode",
            "-halt-on-error",
            # Nothing in a text may start a program, not even those that TeX thinks harmless.
            "-latexoption=-no-shell-escape",
            "main.tex",
        ],
        "tectonic": ["tectonic", "--keep-logs", "main.tex"],
    }[tool]
    done = subprocess.run(
        command, cwd=build, capture_output=True, text=True, errors="replace", check=False
    )
    log = build / "main.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else done.stdout
    if done.returncode:
        raise LensbenchError(
            f"{tool} failed on {build}/main.tex: {_first_error(text)} (see {log})."
        )
    faults = log_faults(text)
    if faults:
        raise LensbenchError(f"The paper is not fit to print: {'; '.join(faults)} (see {log}).")
    with atomic_path(out) as path:
        shutil.copy(build / "main.pdf", path)


def log_faults(log: str) -> list[str]:
    """Return what a LaTeX log says that a reader would see: missing glyphs, broken references.

    LaTeX breaks its log's lines at 79 characters, so that they are joined before the search.
    """
    joined = re.sub(r"(?<=[^\n]{79})\n", "", log)
    faults = sorted(set(re.findall(r"Missing character: There is no (\S+)", joined)))
    found = [f"no glyph for {char}" for char in faults]
    found += [
        f"undefined {kind.lower()} {name}"
        for kind, name in sorted(set(re.findall(r"(Reference|Citation) [`'](.+?)'", joined)))
    ]
    # A few points over are not seen; a line that sticks out by a character is.
    wide = [
        float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide", joined)
    ]
    found += [f"a line {points:.0f} pt too wide" for points in wide if points > 6]
    return found


def _first_error(log: str) -> str:
    for line in log.splitlines():
        if line.startswith("!"):
            return line.removeprefix("! ").rstrip(".")
    return "it gave no reason"


def summary(results: str | Path = "results") -> list[str]:
    """Return the last lines of a run: what was made and where, and what is missing."""
    folder = Path(results)
    runs = sorted(path.parent for path in folder.glob("metrics/*/*/summary.parquet"))
    models = sorted({path.parent.name for path in runs})
    lines = [
        "",
        f"Made in {folder}/ from {len(models)} models ({', '.join(models)}) in {len(runs)} runs:",
    ]
    for place, pattern, what in (
        ("metrics", "*.csv", "tables of every metric"),
        ("figures", "**/*.pdf", "figures, as PDF and PNG"),
        ("tables", "*.tex", "tables for print, as CSV and LaTeX"),
        ("notebooks", "*.html", "studies, one page each"),
        ("explorer", "*/*/*.html", "pages of samples; index.html leads to them"),
    ):
        count = len(list((folder / place).glob(pattern)))
        lines.append(f"  {folder / place}/".ljust(32) + f"{count} {what}")
    pdf = folder / "paper" / "lensbench.pdf"
    if pdf.is_file():
        lines.append(f"  {pdf}".ljust(32) + "  the report")
    else:
        lines += [
            f"Missing: {pdf}, the report, for want of LaTeX.",
            "The one command that adds it (then run again):",
            f"  {advice()}",
        ]
    return lines
