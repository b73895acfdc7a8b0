"""Run a notebook from top to bottom in a kernel of this very Python, into one HTML file."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lensbench.errors import DataError, LensbenchError, reason_of
from lensbench.files import atomic_path
from lensbench.notebook_page import title_of, to_html
from lensbench.prose import NothingToTellError

TIME_LIMIT = 600.0
#: The names under which a notebook finds its folder of results and its settings.
RESULTS, OPTIONS = "LENSBENCH_RESULTS", "LENSBENCH_OPTIONS"
#: A socket's path may have 107 bytes; "-5" and the like are added.
_LONGEST = 100
#: Figures are shown as PNG although pyplot never heard of them, and it need not be imported.
_STARTUP = """\
from lensbench.prose import png

get_ipython().display_formatter.formatters["image/png"].for_type_by_name(
    "matplotlib.figure", "Figure", png
)
del png
"""


class NotebookError(LensbenchError):
    """A notebook can't be read, or one of its cells failed or took too long."""


def run_notebook(
    notebook: str | Path,
    results: str | Path,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    time_limit: float = TIME_LIMIT,
) -> None:
    """Run a notebook and write it as HTML with its outputs, or not at all.

    The kernel runs where this is called, finds the results in `LENSBENCH_RESULTS` and the settings
    as JSON in `LENSBENCH_OPTIONS`, and asks no hub. What cells print to stderr goes to stderr.

    Args:
        notebook: a .py file in jupytext's percent format, with a title (`# # Title`) on top.
        results: the folder of results.
        out: the .html file to write.
        options: settings of the notebook.
        time_limit: seconds that all cells may take together.

    Raises:
        DataError: if there is no such folder of results.
        NotebookError: if the notebook can't be read, a cell fails or time runs out.
    """
    path, folder = Path(notebook), Path(results)
    if not folder.is_dir():
        raise DataError(f"There is no folder of results {folder}: run the workflow first.")
    found = read_notebook(path)
    variables = {
        RESULTS: str(folder.resolve()),
        OPTIONS: json.dumps(dict(options or {}), sort_keys=True),
    }
    _execute(found, path.name, variables, time_limit)
    page = to_html(found, path.name)
    with atomic_path(out) as target:
        target.write_text(page, encoding="utf-8", newline="\n")


def read_notebook(path: str | Path) -> Any:
    """Return a notebook of jupytext's percent format.

    Raises:
        NotebookError: if the file is missing, no such notebook, or has no title.
    """
    import jupytext

    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookError(
            f"The notebook {source} can't be read ({reason_of(error)}): check the path."
        ) from error
    if source.suffix != ".py" or "# %%" not in text:
        raise NotebookError(
            f"{source} is no notebook in jupytext's percent format: a .py file with # %% cells."
        )
    found = jupytext.reads(text, fmt="py:percent")
    if not title_of(found):
        raise NotebookError(
            f"The notebook {source} has no title: begin it with a cell of # # Title."
        )
    return found


def _execute(notebook: Any, name: str, variables: Mapping[str, str], time_limit: float) -> None:
    """Run all cells in order, outputs into the notebook."""
    from nbclient import NotebookClient
    from nbclient.exceptions import (
        CellExecutionError,
        CellTimeoutError,
        DeadKernelError,
    )

    running = [0]
    end = time.monotonic() + time_limit

    def begun(cell: Any, cell_index: int) -> None:
        running[0] = cell_index

    with _kernel() as (manager, place):
        client = NotebookClient(
            notebook,
            km=manager,
            timeout_func=lambda cell: max(1, round(end - time.monotonic())),
            startup_timeout=120,
            record_timing=False,
            on_cell_execute=begun,
        )
        own = {
            # What a user has set up for IPython must not change a page.
            "IPYTHONDIR": str(place),
            "HF_HUB_OFFLINE": "1",
            "PYTHONHASHSEED": "0",
        }
        try:
            # The client shuts down at the end only a kernel of its own, unless told to.
            client.execute(cleanup_kc=True, cwd=os.getcwd(), env={**os.environ, **own, **variables})
        except CellExecutionError as error:
            if error.ename == NothingToTellError.__name__:
                _end(notebook, running[0], error.evalue)
                return
            said = f"{error.ename}: {_last_line(error.evalue)}"
            raise NotebookError(f"{_where(notebook, name, running[0])} failed: {said}") from None
        except CellTimeoutError:
            raise NotebookError(
                f"{_where(notebook, name, running[0])} was still running when the {time_limit:g} s "
                "that the notebook may take were over: give it more, or less to do."
            ) from None
        except (DeadKernelError, RuntimeError) as error:
            raise NotebookError(
                f"{_where(notebook, name, running[0])} ended its kernel ({reason_of(error)}): "
                "most often memory ran out."
            ) from error
        finally:
            _tell_stderr(notebook)


def _end(notebook: Any, index: int, sentence: str) -> None:
    """Let a notebook end at a cell that has nothing to tell, with its sentence in place of more."""
    from nbformat.v4 import new_output

    said = new_output("display_data", {"text/markdown": sentence})
    notebook.cells[index].outputs = [
        output for output in notebook.cells[index].outputs if output.output_type != "error"
    ] + [said]
    del notebook.cells[index + 1 :]


@contextmanager
def _kernel() -> Iterator[tuple[Any, Path]]:
    """Yield the manager of a kernel of this Python, and an empty folder for what it leaves."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    with tempfile.TemporaryDirectory(prefix="lensbench-notebook-") as folder:
        place = Path(folder)
        spec = place / "kernels" / "lensbench"
        spec.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        described = {
            "argv": [*command, "--HistoryManager.enabled=False"],
            "display_name": "lensbench",
            "language": "python",
        }
        (spec / "kernel.json").write_text(json.dumps(described), encoding="utf-8")
        specs = KernelSpecManager(kernel_dirs=[str(spec.parent)], ensure_native_kernel=False)
        sockets = str(place / "socket")
        # No port that others on the machine could listen to, where the path of a socket may be so
        # long.
        way = {"transport": "ipc", "ip": sockets} if len(sockets) < _LONGEST else {}
        startup = place / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "figures.py").write_text(_STARTUP, encoding="utf-8")
        manager = AsyncKernelManager(
            kernel_name="lensbench",
            kernel_spec_manager=specs,
            connection_file=str(place / "connection.json"),
            **way,
        )
        yield manager, place


def _where(notebook: Any, name: str, index: int) -> str:
    """Return which cell it is, counted among those of code, with its first line."""
    cells = notebook.cells
    number = sum(cell.cell_type == "code" for cell in cells[: index + 1])
    lines = cells[index].source.strip().splitlines() if cells else []
    first = f" ({lines[0][:60]})" if lines else ""
    return f"Notebook {name}, cell {number}{first}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no more is said"


def _tell_stderr(notebook: Any) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                print(output["text"], end="", file=sys.stderr)
