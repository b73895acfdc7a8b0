"""What every file of a trace says about itself, and whether it can be believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lensbench.errors import TraceError
from lensbench.parquets import DamagedError, schema_of
from lensbench.trace_schema import SCHEMA_VERSION

#: Of the Parquet metadata.
KEY = b"lensbench"
#: No run has more scripts, languages, layers, heads a block or top tokens a row.
_MOST_LABELS = 10_000


@dataclass(frozen=True)
class TraceMeta:
    """What every file of a shard says about itself, in its Parquet metadata.

    Args:
        model: name of the model.
        dataset: name of the dataset ("" in a model's own tables).
        shard: number of this shard, from 0.
        n_shards: how many shards the run has.
        k: how many top tokens a row of `trajectory` lists.
        scripts: labels of `script_mass`, in order.
        languages: labels of `concept_mass`, in order.
        n_layers: number of blocks L; `trajectory` has layers 0 … L.
        n_heads: query heads a block.
        lens: kind of lens, "normed" or "raw".
        head_layers: numbers of the blocks that `heads` has rows of, from 1; empty for none.
        schema_version: version of `trace_schema`.
    """

    model: str
    dataset: str
    shard: int
    n_shards: int
    k: int
    scripts: tuple[str, ...]
    languages: tuple[str, ...]
    n_layers: int
    n_heads: int
    lens: str
    head_layers: tuple[int, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def widths(self) -> dict[str, int]:
        """Length of the lists of each kind in this shard."""
        return {"k": self.k, "scripts": len(self.scripts), "languages": len(self.languages)}

    def to_json(self) -> str:
        """Return the metadata as JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> TraceMeta:
        """Return the metadata of `to_json`."""
        values = json.loads(text)
        for name in ("scripts", "languages", "head_layers"):
            values[name] = tuple(values[name])
        return cls(**{field.name: values[field.name] for field in fields(cls)})


def meta_of(path: Path) -> TraceMeta:
    """Return what a file of a trace says about itself.

    Raises:
        TraceError: if it is missing, damaged or of another schema.
    """
    if not path.exists():
        raise TraceError(f"{path} is missing: run the rule that makes it again.")
    try:
        text = (schema_of(path).metadata or {}).get(KEY)
    except DamagedError as error:
        raise TraceError(f"{path} {error}: delete it and rerun.") from error
    if text is None:
        raise TraceError(f"{path} is no lensbench trace: delete it and rerun.")
    try:
        values = json.loads(text)
        found = values.get("schema_version")
    except (ValueError, RecursionError, AttributeError) as error:
        raise TraceError(f"{path} says nothing of itself: delete it and rerun.") from error
    if found != SCHEMA_VERSION:
        raise TraceError(
            f"{path} is written by schema {found!r}, this is {SCHEMA_VERSION}: delete the folder "
            f"{path.parent} and rerun."
        )
    wrong = _wrong(values)
    if wrong:
        raise TraceError(f"{path} says of itself a {wrong}: delete it and rerun.")
    return TraceMeta.from_json(text)


def _wrong(values: Mapping[str, Any]) -> str:
    """Return what is missing or not as it must be in a file's metadata, "" if nothing is."""
    for field in fields(TraceMeta):
        value, kind = values.get(field.name), str(field.type)
        listed = value if kind.startswith("tuple") and isinstance(value, list) else [value]
        fits = isinstance(value, list) == kind.startswith("tuple")
        if "int" in kind:
            most = _MOST_LABELS if field.name in ("n_layers", "n_heads", "k") else 2**31 - 1
            fits &= all(type(each) is int and 0 <= each <= most for each in listed)
        else:
            fits &= all(isinstance(each, str) for each in listed)
        if not fits or len(listed) > _MOST_LABELS:
            return f"{field.name} that is none"
    return ""
