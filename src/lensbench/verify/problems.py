"""One thing that is wrong in a folder of results: what, where, and how it is made again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from lensbench.made import FOLDER

_STAGES = (
    *("datasets", "models", "imported", "traces", "closeups", "variants", "metrics", "ablations"),
    *("studies", "numerics", "figures", "tables", "explorer", "notebooks", "paper"),
)
#: command → an output of it, in the folder of its seal.
_FIRST = {
    "dataset": "manifest.parquet",
    "inspect": "gate.json",
    "metrics": "summary.parquet",
    "collect": "summary.csv",
    "collect-studies": "patch_summary.csv",
    "collect-numerics": "numerics.csv",
    "patch-metrics": "patch_summary.parquet",
    "variant-metrics": "by_variant.parquet",
    "ablation-metrics": "ablation.parquet",
    "import-patch-lens": "samples.parquet",
    "explorer-pages": "",
    "paper-parts": "abstract.tex",
}
#: command → the ending that its `--out` has not; the longer name of two comes first.
_STEMS = {
    "run-figure": ".pdf",
    "figure": ".pdf",
    "table": ".csv",
    "paper": "",
    "numbers": "",
    "ablate": "",
    "notebook": "",
    "numerics": "",
    "explorer-index": "",
}


@dataclass(frozen=True)
class Problem:
    """One line of the report.

    Args:
        root: the folder of results.
        path: the file or folder that is wrong.
        what: is wrong with it, as the end of a sentence that begins with the path.
    """

    root: Path
    path: Path
    what: str

    @property
    def stage(self) -> int:
        """Its place in the order in which things are made."""
        first = self.path.relative_to(self.root).parts[:1]
        return _STAGES.index(first[0]) if first and first[0] in _STAGES else len(_STAGES)

    def __str__(self) -> str:
        doomed, target = remedy(self.path.relative_to(self.root))
        there = [str(self.root / part) for part in doomed if (self.root / part).exists()]
        steps = []
        if there:
            steps.append(f"delete {' '.join(map(shlex.quote, there))}")
        if target:
            steps.append(f"`snakemake --cores all {shlex.quote(target)}`")
        # Names may hold anything, and a problem is one line.
        line = f"{self.path} {self.what}: {', then '.join(steps)}"
        return printable(line)


def printable(text: str) -> str:
    """Return a text without what would end its line or can't be shown."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def remedy(path: Path) -> tuple[list[Path], str]:
    """Return what is deleted and which target of the workflow makes a file again.

    Args:
        path: the file or folder, relative to the results.

    Returns:
        Paths relative to the results, and the target; "" if no rule makes such a file.
    """
    parts = path.parts
    if FOLDER in parts:
        return _of_seal(path)
    if any(part.startswith(".") for part in parts):
        return [path], ""
    match parts:
        case ("datasets", name, *_):
            return [Path("datasets", name)], f"results/datasets/{name}/manifest.parquet"
        case ("models", name, *_):
            return [Path("models", name)], f"results/models/{name}/gate.json"
        case ("traces", model, dataset, *inside):
            return _of_traces(Path("traces", model, dataset), inside)
        case ("closeups", model, dataset, *_):
            folder = f"closeups/{model}/{dataset}"
            return [Path(folder)], f"results/{folder}/samples.parquet"
        case ("variants", model, dataset, *_):
            folder = f"variants/{model}/{dataset}"
            return [Path(folder)], f"results/{folder}/native/samples.parquet"
        case ("imported", name, *_):
            return [Path("imported", name)], f"results/imported/{name}/samples.parquet"
        case ("explorer", one, two, *_):
            return [Path("explorer", one, two)], f"results/explorer/{one}/{two}"
        case ("paper", "parts", *_):
            return [path], f"results/{path.as_posix()}"
        case (kind, model, dataset) if kind in ("metrics", "studies"):
            table = "summary" if kind == "metrics" else "patch_summary"
            return [path], f"results/{kind}/{model}/{dataset}/{table}.parquet"
    return [path], f"results/{path.as_posix()}" if path.suffix else ""


def _of_seal(path: Path) -> tuple[list[Path], str]:
    """A seal is written anew by the job whose outputs it lists: one of them has to go with it."""
    folder, name = path.parent.parent, path.stem
    if name in _FIRST:
        made = folder / _FIRST[name]
        return [path, made], f"results/{made.as_posix()}"
    # NAME-OUT, where OUT is a file, or a path whose endings are added.
    for command, ending in _STEMS.items():
        if name.startswith(f"{command}-"):
            made = folder / f"{name.removeprefix(f'{command}-')}{ending}"
            return [path, made], f"results/{made.as_posix()}"
    return [path], ""


def _of_traces(run: Path, inside: list[str]) -> tuple[list[Path], str]:
    """Shards are made again by the job of their ledger, which keeps those that are whole."""
    if inside[:1] == ["parts"]:
        return [run.joinpath(*inside)], f"results/{run.joinpath(*inside).as_posix()}"
    ledgers = run / "parts"
    shard = [run / inside[0]] if inside else []
    return [*shard, ledgers], f"results/{ledgers.as_posix()}/0.json"
