"""A foreign file of a patch lens, read with distrust: JSON, packed or not, every part checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lensbench.errors import DataError, reason_of

#: Bytes a file may have, packed and unpacked. A page of 3,000 patches × 33 states × top 10 has
#: half of it, and what hostile JSON of this size makes of memory is still some gigabytes.
LARGEST = 128 * 2**20
#: Characters that a token's text may have.
LONGEST_TEXT = 1000
LONGEST_PROMPT = 1_000_000
_KEYS = ("image", "prompt", "token_labels", "top5")
_IMAGE_LABEL = re.compile(r"<IMG(\d*)[^<>]*>")
_NUMBER = re.compile(r"(\d+)(?:\.(\d*))?(?:[eE]([-+]?\d{1,4}))?", re.ASCII)
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
#: Smaller ones would have no logarithm.
_SMALLEST = 1e-300


@dataclass(frozen=True)
class PatchLens:
    """What such a file holds, checked: S states × T positions × the k likeliest tokens.

    Args:
        image: what the file calls its picture.
        prompt: the prompt's text.
        labels: [T] text of each position; image positions are labelled <IMG…>.
        texts: the tokens' texts, each once, in order of first appearance (labels first).
        label_ids: [T] place in `texts` of each label; -1 at image positions.
        top_id: [S, T, k] place in `texts`, likeliest first.
        probability: [S, T, k] as printed; 0 where nothing but zeros was.
        unit: the last digit's unit of the most exact probability in the file.
        sha256: of the file's bytes.
    """

    image: str
    prompt: str
    labels: list[str]
    texts: list[str]
    label_ids: np.ndarray
    top_id: np.ndarray
    probability: np.ndarray
    unit: float
    sha256: str

    @property
    def image_positions(self) -> np.ndarray:
        """Places of the image positions in the prompt, [P]."""
        return np.flatnonzero(self.label_ids < 0)

    @property
    def zero(self) -> float:
        """What a probability printed as zero is taken for: the largest number that rounds to it.

        It has no logarithm as it stands. Half of the last digit's unit is an upper bound, so that a
        trace never claims a token to be less likely than the file says.
        """
        return max(self.unit / 2, _SMALLEST)

    @property
    def logprob(self) -> np.ndarray:
        """Natural logarithms of the probabilities, [S, T, k], a printed zero as `zero`."""
        given = np.where(self.probability > 0, np.maximum(self.probability, _SMALLEST), self.zero)
        # A zero can't be likelier than what stands before it.
        return np.log(np.minimum.accumulate(given, axis=2))


def read_patch_lens(path: str | Path) -> PatchLens:
    """Read a file of a patch lens.

    Args:
        path: JSON, plain or packed with gzip, with the keys image, prompt, token_labels (T texts)
            and top5 ([states][T][k] pairs of token and probability, as text or number).

    Raises:
        DataError: in one sentence, for whatever is wrong with it.
    """
    source = Path(path)
    name = shown(source.name)
    raw = _bytes_of(source, name)
    tree = _tree(_unpacked(raw, name), name)
    if not isinstance(tree, dict):
        raise DataError(f"{name} holds {_kind(tree)}, where an object with {_KEYS} belongs.")
    missing = [key for key in _KEYS if key not in tree]
    if missing:
        raise DataError(f"{name} lacks {', '.join(missing)}: it is no file of a patch lens.")
    image = _text(tree["image"], f"{name}: image", LONGEST_TEXT)
    prompt = _text(tree["prompt"], f"{name}: prompt", LONGEST_PROMPT)
    given = _list(tree["token_labels"], f"{name}: token_labels")
    labels = [
        _text(label, f"{name}: token_labels[{place}]", LONGEST_TEXT)
        for place, label in enumerate(given)
    ]
    reader = _Tokens()
    label_ids = np.array(
        [-1 if _IMAGE_LABEL.fullmatch(label) else reader.id_of(label) for label in labels],
        dtype=np.int64,
    )
    _check_images([label for label in labels if _IMAGE_LABEL.fullmatch(label)], name)
    top_id, probability = _states(tree["top5"], len(labels), reader, name)
    lens = PatchLens(
        image=image,
        prompt=prompt,
        labels=labels,
        texts=list(reader.ids),
        label_ids=label_ids,
        top_id=top_id,
        probability=probability,
        unit=10.0**-reader.decimals,
        sha256=hashlib.sha256(raw).hexdigest(),
    )
    _check_probabilities(lens, name)
    return lens


def shown(text: str, most: int = 60) -> str:
    """Return a hostile text as a sentence can hold it: one line, cut, nothing unprintable."""
    plain = "".join(char if char.isprintable() else "\ufffd" for char in text[: most + 1])
    return plain if len(plain) <= most else plain[:most] + "…"


class _Tokens:
    """Numbers texts as they first appear, and notes how exactly probabilities are printed."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.decimals = 0

    def id_of(self, text: str) -> int:
        return self.ids.setdefault(text, len(self.ids))


def _bytes_of(source: Path, name: str) -> bytes:
    try:
        if source.exists() and not source.is_file():
            raise DataError(f"{name} is no file: name a .json or .json.gz file.")
        with open(source, "rb") as stream:
            raw = stream.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise DataError(f"{name} is missing: check its path.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{name} can't be read: {reason_of(error)}.") from error
    if len(raw) > LARGEST:
        raise DataError(f"{name} has more than the {LARGEST // 2**20} MiB that are allowed.")
    return raw


def _unpacked(raw: bytes, name: str) -> bytes:
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        # Read no further than the limit: a small file may unpack to terabytes.
        plain = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is damaged or cut short: it can't be unpacked.") from error
    if len(plain) > LARGEST:
        raise DataError(f"{name} unpacks to more than the {LARGEST // 2**20} MiB that are allowed.")
    return plain


class _FaultError(ValueError):
    """What JSON allows and a number or an object should not be."""


def _tree(plain: bytes, name: str) -> Any:
    try:
        text = plain.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 from byte {error.start} on.") from error
    try:
        return json.loads(
            text,
            parse_constant=_no_number,
            parse_float=_Printed,
            parse_int=_Printed,
            object_pairs_hook=_without_twins,
        )
    except _FaultError as error:
        raise DataError(f"{name} has {error}.") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{name} is no valid JSON at character {error.pos}.") from error
    except RecursionError as error:
        raise DataError(f"{name} nests too deep to be a patch lens.") from error


class _Printed(str):
    """A number of the file, as it is printed there."""


def _no_number(text: str) -> NoReturn:
    raise _FaultError(f"{text}, which is no finite number")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _FaultError("an object with the same key twice")
    return found


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, _Printed):
        return "a number"
    kinds = {bool: "true or false", str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)


def _list(value: Any, where: str, length: int | None = None) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{where} is {_kind(value)}, where a list belongs.")
    if not value:
        raise DataError(f"{where} is empty.")
    if length is not None and len(value) != length:
        raise DataError(f"{where} has {len(value)} entries, where {length} belong.")
    return value


def _text(value: Any, where: str, longest: int) -> str:
    """Return a text, a half of a UTF-16 pair in it replaced: no file could hold it."""
    if not isinstance(value, str) or isinstance(value, _Printed):
        raise DataError(f"{where} is {_kind(value)}, where a text belongs.")
    if len(value) > longest:
        raise DataError(f"{where} has {len(value)} characters, more than the {longest} allowed.")
    return _HALF_CHARACTER.sub("\ufffd", value)


def _check_images(labels: list[str], name: str) -> None:
    """Numbered labels must count on by one: the patches' places in the picture hang on it."""
    if not labels:
        raise DataError(f"{name} has no image position: none of its labels is <IMG…>.")
    digits = [_IMAGE_LABEL.fullmatch(label)[1][:12] for label in labels]  # type: ignore[index]
    if not any(digits):
        return
    numbers = [int(text) if text else -1 for text in digits]
    for before, after, label in zip(numbers, numbers[1:], labels[1:], strict=False):
        if after != before + 1:
            raise DataError(
                f"{name} has the image positions out of turn: {shown(label)} does not come after "
                f"number {before}."
            )


def _states(
    value: Any, n_positions: int, tokens: _Tokens, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return token ids and probabilities, both [S, T, k]."""
    states = _list(value, f"{name}: top5")
    if len(states) < 2:
        raise DataError(f"{name}: top5 has one state, where the embeddings and a layer belong.")
    k: int | None = None
    ids: list[int] = []
    values: list[float] = []
    for s, positions in enumerate(states):
        for t, entries in enumerate(_list(positions, f"{name}: top5[{s}]", n_positions)):
            where = f"{name}: top5[{s}][{t}]"
            k = len(_list(entries, where, k))
            for rank, entry in enumerate(entries):
                if not isinstance(entry, list) or len(entry) != 2:
                    raise DataError(f"{where}[{rank}] is no pair of token and probability.")
                text = _text(entry[0], f"{where}[{rank}][0]", LONGEST_TEXT)
                ids.append(tokens.id_of(text))
                values.append(_probability(entry[1], f"{where}[{rank}][1]", tokens))
    shape = (len(states), n_positions, -1)
    return np.array(ids, dtype=np.int64).reshape(shape), np.array(values).reshape(shape)


def _probability(value: Any, where: str, tokens: _Tokens) -> float:
    if not isinstance(value, str):
        raise DataError(f"{where} is {_kind(value)}, where a probability belongs.")
    match = _NUMBER.fullmatch(value) if len(value) <= 60 else None
    if match is None:
        raise DataError(f"{where} is {shown(value)!r}, which is no probability.")
    number = float(value)
    if not 0 <= number <= 1:
        raise DataError(f"{where} is {shown(value)}, where a probability from 0 to 1 belongs.")
    decimals = len(match[2] or "") - int(match[3] or 0)
    tokens.decimals = max(tokens.decimals, min(decimals, 300))
    return number


def _check_probabilities(lens: PatchLens, name: str) -> None:
    """A list of the likeliest tokens falls, and its sum is no more than rounding above 1."""
    rises = np.argwhere(np.diff(lens.probability, axis=2) > 0)
    if len(rises):
        s, t, rank = rises[0]
        raise DataError(
            f"{name}: top5[{s}][{t}] rises at its entry {rank + 1}: the likeliest must come first."
        )
    k = lens.probability.shape[2]
    over = np.argwhere(lens.probability.sum(axis=2) > 1 + max(k * lens.unit / 2, 1e-3))
    if len(over):
        s, t = over[0]
        raise DataError(f"{name}: the probabilities of top5[{s}][{t}] sum to more than 1.")
