"""Where data come from: one table with addresses, sizes, checksums, licences and citations."""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from lensbench.downloads.checksums import parse_checksum
from lensbench.errors import DataError

TABLE = Path(__file__).parents[1] / "data" / "sources.csv"
#: Names another table of the same columns: of a repacked copy, or of a small one for trials.
VARIABLE = "LENSBENCH_SOURCES"


@dataclass(frozen=True)
class SourceFile:
    """A file that somebody else publishes, as the table of sources tells it.

    Args:
        dataset: the dataset it belongs to.
        file: its name.
        version: of the dataset, as its publisher counts.
        url: where it is published.
        bytes: its size; None where it isn't known.
        checksum: "sha256:…" or "git-blob-sha1:…", in hexadecimal digits.
        licence: its SPDX name, or where to read of it.
        licence_url: the page that says so.
        citation: the key of its entry in paper/references.bib.
    """

    dataset: str
    file: str
    version: str
    url: str
    bytes: int | None
    checksum: str
    licence: str
    licence_url: str
    citation: str


def _rows() -> tuple[SourceFile, ...]:
    return _read(Path(os.environ.get(VARIABLE) or TABLE))


@cache
def _read(table: Path) -> tuple[SourceFile, ...]:
    try:
        return _parsed(table, table.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"The table of sources {table} can't be read ({error.strerror}): correct {VARIABLE}."
        ) from error
    # A program's bytes, or a field longer than any line here.
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table} is no table of sources as UTF-8 text: correct {VARIABLE}."
        ) from error


def _parsed(table: Path, text: str) -> tuple[SourceFile, ...]:
    with io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream)
        wanted = [field.name for field in fields(SourceFile)]
        if reader.fieldnames != wanted:
            raise DataError(f"{table} must have the columns {', '.join(wanted)}: correct it.")
        rows = []
        for row in reader:
            size = row.pop("bytes", None) or "0"
            if None in row or None in row.values() or not re.fullmatch(r"[0-9]{1,18}", size):
                raise DataError(f"{table}, line {reader.line_num}, is no source: correct it there.")
            parse_checksum(row["checksum"])
            rows.append(SourceFile(bytes=int(size) or None, **row))
    return tuple(rows)


def load_sources() -> list[SourceFile]:
    """Return the table of sources, in its order.

    Raises:
        DataError: if the table, or the one that `LENSBENCH_SOURCES` names, can't be read.
    """
    return list(_rows())


def find_source(dataset: str, file: str) -> SourceFile:
    """Return one row of the table of sources.

    Raises:
        DataError: if the table has no such dataset or file.
    """
    of_dataset = [source for source in _rows() if source.dataset == dataset]
    if not of_dataset:
        known = ", ".join(dict.fromkeys(source.dataset for source in _rows()))
        raise DataError(f'No source of data is called "{dataset}": known are {known}.')
    for source in of_dataset:
        if source.file == file:
            return source
    known = ", ".join(source.file for source in of_dataset)
    raise DataError(f'The source {dataset} has no file "{file}": it has {known}.')


def markdown() -> str:
    """Return the table of sources that docs/data.md holds."""
    lines = [
        "| dataset | file | version | bytes | checksum | licence | citation |",
        "|---|---|---|---:|---|---|---|",
    ]
    for source in _rows():
        size = "" if source.bytes is None else f"{source.bytes:,}"
        lines.append(
            f"| {source.dataset} | [{source.file}]({source.url}) | {source.version} | {size} "
            f"| `{source.checksum}` | [{source.licence}]({source.licence_url}) "
            f"| `{source.citation}` |"
        )
    return "\n".join(lines) + "\n"
