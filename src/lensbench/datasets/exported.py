"""Tables as spreadsheets and programs export them: CSV of any common dialect, and JSONL."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lensbench.errors import DataError

_DELIMITERS = ",;\t"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_exported(
    path: str | Path, columns: Sequence[str]
) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    """Return number and cells of each line that holds anything, and what was left out, in words.

    A CSV file is in UTF-8, or UTF-16 with its mark. A first line `sep=` names its delimiter; else
    it is the one of comma, semicolon and tab that gives the first line most known names, whatever
    their case and outer space. Left out are empty rows, columns that are empty and have no name,
    and a first column without a name, which pandas writes for the index.

    Args:
        path: CSV, or JSONL if its name ends so.
        columns: names that are known.

    Raises:
        DataError: naming the first line that can't be read, and why.
    """
    source = Path(path)
    try:
        raw = source.read_bytes()
        text = raw.decode("utf-16" if raw.startswith(_UTF16) else "utf-8-sig").lstrip("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source} can't be read as UTF-8: check its name and encoding.") from error
    if "\n" not in text:
        text = text.replace("\r", "\n")
    if source.suffix.lower() in (".jsonl", ".ndjson"):
        return list(_json_lines(text, source)), []
    if text.startswith(("{", "[{")):
        raise DataError(f"{source} looks like JSON: write an object a line and name it .jsonl.")
    return _csv_lines(text, source, columns)


def _csv_lines(
    text: str, source: Path, columns: Sequence[str]
) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    first = re.match(r'"?sep=(.)"?\r?\n', text, re.IGNORECASE)
    before, text = (1, text[first.end() :]) if first else (0, text)
    delimiter = first[1] if first else _delimiter(text, columns)
    reader = _reader(text, delimiter)
    lines: list[tuple[int, dict[str, Any]]] = []
    blank, unnamed = 0, False
    try:
        names = [_plain(name) for name in next(reader, [])]
        if len(set(filter(None, names))) < len(list(filter(None, names))):
            raise DataError(f"{source} has a column twice: keep one.")
        for cells in reader:
            where = f"{source}, line {before + reader.line_num}"
            if not any(cell.strip() for cell in cells):
                blank += 1
                continue
            for place, cell in enumerate(cells):
                if not cell.strip() or (place < len(names) and names[place]):
                    continue
                if place:
                    raise DataError(
                        f"{where}: it has more cells than the first line has columns "
                        f"(read with {_called(delimiter)} between them): put quotes around texts "
                        "that hold it."
                    )
                unnamed = True
            named = zip(names, cells + [""] * (len(names) - len(cells)), strict=False)
            lines.append((before + reader.line_num, {name: cell for name, cell in named if name}))
    except csv.Error as error:
        line = before + reader.line_num
        raise DataError(f"{source}, line {line}: it is no CSV ({error}).") from error
    notes = [f"{blank} empty row{'s' if blank > 1 else ''}"] if blank else []
    return lines, notes + (["the first column, which has no name"] if unnamed else [])


def _reader(text: str, delimiter: str) -> Any:
    return csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )


def _delimiter(text: str, columns: Sequence[str]) -> str:
    """Return the delimiter by which the first line has most known names, a comma if none has."""

    def known(delimiter: str) -> int:
        try:
            return sum(_plain(name) in columns for name in next(_reader(text, delimiter), []))
        except csv.Error:
            return 0

    return max(_DELIMITERS, key=known)


def _called(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab"}.get(delimiter, repr(delimiter))


def _plain(name: str) -> str:
    """Return the name of a column without case, outer space and invisible characters."""
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return seen.strip().casefold()


def _json_lines(text: str, source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and content of each line of a JSONL file that isn't blank."""
    # Not splitlines: JSON texts may hold other characters that it takes for line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{source}, line {number}: it is not JSON.") from error
        if not isinstance(pairs, _Pairs):
            raise DataError(f"{source}, line {number}: it is no object such as {{…}}.")
        cells = {_plain(name): _as_dicts(value) for name, value in pairs}
        if len(cells) < len(pairs):
            raise DataError(f"{source}, line {number}: it has a key twice: keep one.")
        yield number, cells


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of an object, as they stand."""


def _as_dicts(value: Any) -> Any:
    """Return a value in which objects are dictionaries again."""
    if isinstance(value, _Pairs):
        return {name: _as_dicts(inner) for name, inner in value}
    return [_as_dicts(inner) for inner in value] if isinstance(value, list) else value
