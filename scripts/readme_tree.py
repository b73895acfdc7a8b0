"""Write the README's file tree: every file with its own first line as its description.

A Python file tells its docstring's first sentence, others the first comment; what can't tell, and
folders told as a whole, stand in TOLD. `--check` compares instead of writing.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```tree\n.*?```", re.DOTALL)

# Folders with a line of their own; those whose text ends in (…) are told as a whole.
TOLD = {
    "benchmarks/": "what it costs, beside the plain pass and beside other tools",
    "docs/": "pages: clusters, sizes, numbers elsewhere, where data come from, model types",
    ".dockerignore": "the image gets the lock file and nothing else",
    "deploy/": "the environment as an image, for nodes that run containers",
    "docs/data.md": "the files that are fetched: addresses, sizes, checksums, licences",
    "src/lensbench/data/sources.csv": "what docs/data.md and the report's data section are made of",
    "src/lensbench/coverage/": "a tiny random model of every type, and a verdict on each",
    ".ci/": "the check that runs before a change is taken",
    "config/": "what is run, and how large",
    "notebooks/": "notebooks as Python files (jupytext)",
    "paper/": "the report's text; its numbers, tables and figures come from results/",
    "paper/templates/": "parts of the report that depend on what was run",
    "scripts/": "what the Makefile calls",
    "src/": "the code",
    "src/lensbench/": "the package; each room knows those before it by their files alone",
    "src/lensbench/data/": "data that come with the package",
    "src/lensbench/data/mined/": "words mined from middle layers, with what was decided (…)",
    "src/lensbench/data/peers/": "what other tools read at each layer, recorded (…)",
    "src/lensbench/explorer/": "traces, pictures → pages that open from disk, offline",
    "src/lensbench/explorer/static/": "scripts and styles, joined into each page (…)",
    "src/lensbench/explorer/templates/": "the pages themselves (…)",
    "docs/gallery/": "small pictures of the results, made by make gallery (…)",
    "src/lensbench/data/reference/": "published results, drawn beside ours (…)",
    "src/lensbench/downloads/": "an address and a checksum → a verified file; never torch",
    "src/lensbench/datasets/": "a seed, folder or download → a manifest with pictures; never torch",
    "src/lensbench/models/": "a name or folder → a loaded model with its gate passed",
    "src/lensbench/models/packaged/": "the embedded models, weights and processors (…)",
    "src/lensbench/lens/": "hidden states and attention → small statistics of each layer",
    "src/lensbench/metrics/": "traces → tidy tables; one short file a family; never torch",
    "src/lensbench/compare/": "two folders of results held against each other; tolerances",
    "src/lensbench/verify/": "results read again: every file against what made it",
    "src/lensbench/figures/": "tidy tables → figures; one file a figure; computes no statistic",
    "src/lensbench/tables/": "tidy tables → tables for print",
    "src/lensbench/training/": "how the embedded models were trained",
    "tests/": "tests, in the folders of what they test (…)",
    "workflow/": "which file is made from which; no science in it",
    "workflow/profiles/": "settings of machines",
    "workflow/report/": "captions of snakemake's report (…)",
    "workflow/rules/": "one file a stage, in the order of the flow",
    "workflow/rules/models/": "one file a model: adding one is adding a file here",
    "workflow/schemas/": "what a configuration may hold",
    "workflow/profiles/default/": "what every run takes",
    "workflow/profiles/generic/": "another batch system",
    "workflow/profiles/slurm/": "a cluster with SLURM",
    "workflow/profiles/slurm/config.yaml": "its limits, and the place for account and partition",
    "config/config.yaml": "the default run: no GPU, no model hub",
    "config/paper.yaml": "laid over it for the published study, its models and its data",
    "config/comparison.yaml": "laid over it for more families and sizes",
    "environment.yml": "the same versions for conda users",
    "paper/main.tex": "the report; no number is typed in it",
    ".gitignore": "what is made and not kept",
    ".snakemake-workflow-catalog.yml": "how the workflow catalog may use this",
    "CITATION.cff": "how to cite",
    "LICENSE": "Apache-2.0",
    "README.md": "this page",
    "pyproject.toml": "the package, its pinned dependencies and the linters' settings",
    "docs/coverage.csv": "the verdict on each type, with its reason",
    "config/README.md": "every key, what it allows and its default",
    "src/lensbench/data/facts.yaml": "the questions of the dataset facts",
    "src/lensbench/data/lexicon.yaml": "concepts and their forms in nine languages",
    "src/lensbench/notebook_page.html.jinja": "an executed notebook as one file that loads nothing",
    "src/lensbench/tables/booktabs.tex.jinja": "what every printed table looks like",
    "paper/references.bib": "the literature",
    "paper/templates/abstract.tex.jinja": "the abstract",
    "paper/templates/data.tex.jinja": "the section on data, with the table of fetched files",
    "paper/templates/float.tex.jinja": "what every figure and table stands in",
    "paper/templates/models.tex.jinja": "the section on models",
    "paper/templates/numerics.tex.jinja": "the appendix on numbers under other conditions",
    "paper/templates/results.tex.jinja": "the section on results",
    "paper/templates/runs.tex.jinja": "one page a run, in the appendix",
    "paper/templates/settings.tex.jinja": "the configuration, as macros",
    "workflow/schemas/config.schema.yaml": "every key with its type, default and description",
}


def tracked() -> list[str]:
    """Return the files that a commit would hold, less the empty __init__.py, sorted."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others"]
    listed = subprocess.run(
        [*command, "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return sorted(
        {name for name in listed if (ROOT / name).is_file() and Path(name).name != "__init__.py"}
    )


def description(name: str) -> str:
    """Return the one line that tells what a file is.

    Raises:
        SystemExit: if the file doesn't say and TOLD doesn't either.
    """
    if name in TOLD:
        return TOLD[name]
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".py") and (docstring := ast.get_docstring(ast.parse(text))):
        found = docstring
    elif name == "Snakefile":
        found = text.split('"""')[1]
    elif heading := re.search(r"^# %% \[markdown\]\n# # (.+)$", text, re.MULTILINE):
        found = heading[1]
    elif comment := re.search(r"^[#%] (.+)$", text, re.MULTILINE):
        found = comment[1]
    else:
        raise SystemExit(f"{name} doesn't say what it is: give it a first line, or TOLD one.")
    line = " ".join(found.split("\n\n")[0].split())
    return line.removesuffix(".")


def tree() -> str:
    """Return the tree, two spaces a level, folders before what is in them."""
    lines: list[str] = []
    seen: set[str] = set()
    for name in tracked():
        parents = [f"{parent}/" for parent in reversed(Path(name).parents) if str(parent) != "."]
        for parent in parents:
            if parent not in seen and not _whole(parent, parents):
                seen.add(parent)
                lines.append(_line(parent, TOLD.get(parent, "")))
        if not any(TOLD.get(parent, "").endswith("(…)") for parent in parents):
            lines.append(_line(name, description(name)))
    return "\n".join(lines)


def _whole(folder: str, parents: list[str]) -> bool:
    above = parents[: parents.index(folder)]
    return any(TOLD.get(parent, "").endswith("(…)") for parent in above)


def _line(path: str, text: str) -> str:
    depth = path.rstrip("/").count("/")
    name = path.rstrip("/").rpartition("/")[2] + ("/" if path.endswith("/") else "")
    return f"{'  ' * depth}{name}".ljust(38) + f" {text}".rstrip()


def main() -> None:
    """Write the block into README.md, or with --check fail if it differs."""
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    block = f"```tree\n{tree()}\n```"
    new = BLOCK.sub(lambda _: block, old)
    if "--check" in sys.argv[1:]:
        if new != old:
            raise SystemExit("README.md's tree is not the tree: run make readme.")
        return
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
