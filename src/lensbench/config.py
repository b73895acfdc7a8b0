"""The configuration: one schema holds every key, its default and its description."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from lensbench.errors import ConfigError, reason_of
from lensbench.yamls import MOST, parse

ROOT = Path(__file__).resolve().parents[2]
SCHEMA_PATH = ROOT / "workflow" / "schemas" / "config.schema.yaml"

#: Keys that were, and what stands in their place.
_GONE = {
    "extraction.shards": "how many shards there are follows from extraction.shard_samples (samples "
    "a shard at most), and extraction.shards_per_job is how many one job takes: set these instead."
}

_TYPE_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text",
    "array": "a list",
    "object": "a group of keys",
    "null": "null",
}


def load_schema(path: str | Path = SCHEMA_PATH) -> dict[str, Any]:
    """Return the JSON schema of the configuration.

    Raises:
        ConfigError: if the schema isn't where it should be.
    """
    return read_yaml(path)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        ConfigError: if the file is missing, is no YAML or holds no mapping.
    """
    try:
        content = parse(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror}): check the path.") from error
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" near line {line + 1}"
        raise ConfigError(f"{path} is not valid YAML{where}: correct it there.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys with values, as config/config.yaml does.")
    return content


def validate(
    config: Mapping[str, Any],
    files: Iterable[str | Path] = (),
    schema: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the configuration with every default filled in.

    Args:
        config: the keys as given, files and command line already merged.
        files: the files that were merged, in order; an error names the last one with the key.
        schema: the schema to hold the configuration to, by default the project's.

    Raises:
        ConfigError: for an unknown key, a wrong type or a value that isn't allowed.
    """
    schema = load_schema() if schema is None else schema
    plain = _plain(config)
    error = best_match(Draft202012Validator(schema).iter_errors(plain))
    if error is not None:
        raise ConfigError(_sentence(error, list(files)))
    filled: dict[str, Any] = with_defaults(plain, schema)
    _check_places(filled, list(files))
    return filled


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as JSON would give it back; snakemake has read its files by itself.

    Raises:
        ConfigError: if it holds a date, something that is no number, or more than can be meant.
    """
    known: dict[int, int] = {}

    def count(value: Any) -> int:
        # What a YAML alias repeats is one object at many places.
        if not isinstance(value, Mapping | list):
            return 1
        if id(value) not in known:
            known[id(value)] = 0
            parts = value.values() if isinstance(value, Mapping) else value
            known[id(value)] = 1 + sum(count(part) for part in parts)
        return known[id(value)]

    try:
        if count(config) > MOST:
            raise ConfigError(f"The configuration holds more than {MOST:,} values: repeat less.")
        plain: dict[str, Any] = json.loads(json.dumps(config, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"The configuration holds what is no text, number, list or group ({reason_of(error)}): "
            "put dates in quotes, and give numbers that are finite."
        ) from error
    return plain


def _check_places(config: Mapping[str, Any], files: Sequence[str | Path]) -> None:
    """Refuse pictures and questions that are not there, before any job has begun."""
    datasets = config.get("datasets", {})
    where = f" in {files[-1]}" if files else ""
    flowers, own = datasets.get("flowers", {}), datasets.get("own", {})
    folder = flowers.get("folder")
    if folder is not None and flowers.get("n", 0) and not Path(folder).is_dir():
        raise ConfigError(
            f"datasets.flowers.folder{where} is {folder}, but there is no such folder: name one "
            "with photographs, or null to draw flowers."
        )
    if not own.get("n", 0):
        return
    if own["folder"] is None and own["questions"] is None:
        raise ConfigError(
            f"datasets.own{where} has neither folder nor questions: name the folder of your "
            "pictures, or a CSV or JSONL file of questions in words alone."
        )
    if own["folder"] is not None and not Path(own["folder"]).is_dir():
        raise ConfigError(
            f"datasets.own.folder{where} is {own['folder']}, but there is no such folder: name the "
            "one with your pictures, or null if your questions are in words alone."
        )
    if (own["questions"] is None) == (own["question"] is None):
        raise ConfigError(
            f"datasets.own{where} needs either questions (a CSV or JSONL file) or question (one "
            "for all pictures): give one of them."
        )
    if own["questions"] is not None and not Path(own["questions"]).is_file():
        raise ConfigError(
            f"datasets.own.questions{where} is {own['questions']}, but there is no such file: "
            "correct its path."
        )


def load_config(path: str | Path, *overlays: str | Path) -> dict[str, Any]:
    """Return the validated configuration of a file with others laid over it, in order."""
    merged: dict[str, Any] = {}
    for each in (path, *overlays):
        merged = merge(merged, read_yaml(each))
    return validate(merged, [path, *overlays])


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with the keys of `above` laid over it, group by group."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def with_defaults(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a value with the defaults of its schema in place of what was left out."""
    if schema.get("type") != "object" or "properties" not in schema:
        return value
    properties = schema.get("properties", {})
    return {
        key: with_defaults(value.get(key, part.get("default")), part)
        for key, part in properties.items()
    }


def walk_keys(schema: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield every key of the schema as ("extraction.top_k", its part of the schema)."""
    for key, part in schema.get("properties", {}).items():
        name = f"{prefix}{key}"
        yield name, part
        yield from walk_keys(part, f"{name}.")


def allowed(part: Mapping[str, Any]) -> str:
    """Return in words what values a part of the schema allows, such as "a whole number ≥ 1"."""
    if "enum" in part:
        return "one of " + ", ".join(str(choice) for choice in part["enum"])
    types = part.get("type", [])
    names = [_TYPE_NAMES[name] for name in ([types] if isinstance(types, str) else types)]
    free = part.get("additionalProperties")
    if isinstance(free, Mapping):
        return f"names, each with {allowed(free)}"
    limits = [
        f"{sign} {part[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in part
    ]
    words = " or ".join(names)
    if part.get("pattern"):
        words += f" like {part['examples'][0]}"
    if part.get("items"):
        many = "two" if part.get("minItems") == part.get("maxItems") == 2 else "a list of"
        what, _, limit = allowed(part["items"]).removeprefix("a ").partition(" ≥")
        plural = what if what.startswith("one of") else f"{what}s"
        words = f"{many} {plural}{' ≥' if limit else ''}{limit}"
    if part.get("minLength"):
        words += " that isn't empty"
    return f"{words} {' and '.join(limits)}".strip()


def markdown(schema: Mapping[str, Any] | None = None) -> str:
    """Return the table of all keys that config/README.md holds."""
    lines = ["| key | value | default | what it does |", "|---|---|---|---|"]
    for name, part in walk_keys(load_schema() if schema is None else schema):
        if "properties" in part:
            lines.append(f"| **`{name}`** | | | {part['description']} |")
            continue
        default = json.dumps(part["default"], ensure_ascii=False)
        lines.append(f"| `{name}` | {allowed(part)} | `{default}` | {part['description']} |")
    return "\n".join(lines) + "\n"


def _sentence(error: ValidationError, files: list[str | Path]) -> str:
    """Return one sentence for a schema error: the key, the file and what is allowed."""
    path = [str(step) for step in error.absolute_path]
    part: dict[str, Any] = dict(cast(Mapping[str, Any], error.schema))
    value: Any = error.instance
    if error.validator == "additionalProperties":
        known = list(part.get("properties", {}))
        unknown = sorted(set(map(str, value)) - set(known))[0]
        full = ".".join([*path, unknown])
        if full in _GONE:
            where = _file_of([*path, unknown], value[unknown], files)
            return f"{full} in {where} is no key any more: {_GONE[full]}"
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the keys there are {', '.join(known)}."
        where = _file_of([*path, unknown], value[unknown], files)
        return f"Unknown key {full} in {where}: {hint}"
    # A wrong entry of a list is told under the list's own key.
    keys = [str(step) for step in error.absolute_path if not isinstance(step, int)]
    given = json.dumps(value, ensure_ascii=False, default=str)
    if len(given) > 60:
        given = given[:57] + "..."
    wish = "a list with no entry twice" if error.validator == "uniqueItems" else allowed(part)
    if part.get("type") == "array" and isinstance(value, str):
        wish += f", such as {json.dumps([value], ensure_ascii=False)}"
    name = ".".join(keys) or "the configuration"
    where = _file_of(keys, value, files)
    return f"{name} in {where} is {given}: it must be {wish}."


def _file_of(keys: list[str], value: Any, files: list[str | Path]) -> str:
    """Return the last file that gives the key this value, or the command line if none does."""
    for file in reversed(files):
        try:
            node: Any = read_yaml(file)
        except ConfigError:
            continue
        for key in keys:
            node = node.get(key, _ABSENT) if isinstance(node, Mapping) else _ABSENT
        # A wrong entry of a list is looked for in the list that the keys lead to.
        if node == value or (isinstance(node, list) and value in node):
            return os.path.relpath(file) if Path(file).is_absolute() else str(file)
    return "the command line (--config)" if files else "the configuration"


_ABSENT = object()
