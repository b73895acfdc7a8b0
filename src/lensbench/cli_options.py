"""What the commands share: their options, and settings read from a line of JSON and checked."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from lensbench.errors import ConfigError

#: Under which heading of --help the workflow's commands stand.
STAGES = "Stages, as the workflow calls them"

Out = Annotated[Path, typer.Option("--out", help="Where the result goes.")]
Options = Annotated[str, typer.Option("--options", help="Settings as one line of JSON.")]
Metrics = Annotated[Path, typer.Option("--metrics", help="Folder of the metric tables.")]
Source = Annotated[
    str, typer.Option("--source", help="packaged:NAME, folder:PATH, gguf:FILE or hub:OWNER/NAME.")
]
Dataset = Annotated[Path, typer.Option(help="Folder of the manifest.")]
ModelFolder = Annotated[Path, typer.Option(help="Folder written by inspect.")]
Revision = Annotated[str, typer.Option("--revision", help="Pinned revision of the source.")]
Code = Annotated[
    str, typer.Option("--code", help="Digest of the code, as the workflow gives it; it is noted.")
]


Gpus = Annotated[
    int,
    typer.Option("--gpus", help="GPUs to take for this job alone, as the workflow counts them."),
]


def before_a_model(options: str, gpus: int) -> None:
    """Do what must be done before a library that models are loaded with is imported.

    None asks a hub, since what they load was fetched before, and none sees another job's GPU.

    Args:
        options: of the command, whose `device` may say that no GPU is used.
        gpus: how many this job takes for itself; 0 leaves them as they are.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    if gpus and str(settings_of(options).get("device", "auto")).startswith(("auto", "cuda")):
        from lensbench.devices import own_gpus

        own_gpus(gpus)


def settings_of(options: str) -> dict[str, Any]:
    """Return the settings in a line of JSON.

    Raises:
        ConfigError: if it is no JSON object of numbers, texts and the like.
    """
    try:
        settings = json.loads(options, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--options is no valid JSON at character {error.pos}.") from None
    except (ValueError, RecursionError):  # A number of thousands of digits, lists in lists in …
        raise ConfigError("--options holds more than settings can mean: correct it.") from None
    if not isinstance(settings, dict):
        raise ConfigError("--options must be a JSON object, such as '{\"n\": 10}'.")
    return settings


def _no_number(name: str) -> NoReturn:
    raise ConfigError(f"--options has {name}, which is no number: correct it.")


#: What settings of these names may be, wherever they are taken.
_RANGES = {"seed": (0, math.inf), "max_rejected": (0, 1)}
_TYPES: dict[str, Any] = {
    "int": int,
    "int | None": (int, type(None)),
    "float": (int, float),
    "str": str,
    "str | None": (str, type(None)),
    "str | Path": str,
    "str | Path | None": (str, type(None)),
    "Sequence[str]": list,
    "Sequence[int]": list,
    "bool": bool,
}
_KINDS = {
    "int": "a whole number",
    "int | None": "a whole number or null",
    "float": "a number",
    "str": "a text",
    "str | None": "a text or null",
    "str | Path": "a text",
    "str | Path | None": "a text or null",
    "Sequence[str]": "a list",
    "Sequence[int]": "a list",
    "bool": "true or false",
}


def fitting(
    what: str, settings: dict[str, Any], call: Callable[..., Any], given: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the settings if `call` takes them all and lacks none; `given` comes from elsewhere."""
    wanted = {k: p for k, p in signature(call).parameters.items() if k not in given}
    for key in settings:
        if key not in wanted:
            known = ", ".join(wanted)
            raise ConfigError(f"{what} takes no setting {key}: there are {known}.")
        kind = str(wanted[key].annotation)
        allowed = _TYPES.get(kind, object)
        if not isinstance(settings[key], allowed) or (
            kind in ("int", "int | None", "float") and isinstance(settings[key], bool)
        ):
            raise ConfigError(
                f"{what} takes {_KINDS[kind]} for {key}, not {settings[key]!r}: correct --options."
            )
        low, high = _RANGES.get(key, (-math.inf, math.inf))
        if key in _RANGES and not low <= settings[key] <= high:
            limits = f"{low} or more" if high == math.inf else f"between {low} and {high}"
            raise ConfigError(f"{what} takes a {key} of {limits}, not {settings[key]}.")
    for key, parameter in wanted.items():
        if parameter.default is parameter.empty and key not in settings:
            raise ConfigError(f"{what} needs the setting {key}: give it in --options.")
    return settings


def extraction_of(options: str) -> tuple[Any, int, dict[str, Any]]:
    """Return the options of an extraction, its shards a job, and how the model is loaded."""
    from lensbench.tracing import ExtractOptions

    settings = settings_of(options)
    # Neither changes anything in a shard, whose provenance holds the digest of what does.
    shards_per_job = settings.pop("shards_per_job", 1)
    if type(shards_per_job) is not int or shards_per_job < 1:
        raise ConfigError(f"extraction.shards_per_job is {shards_per_job!r}: use 1 or more.")
    counted = {key: value for key, value in settings.items() if key != "workers"}
    digest = hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
    place = loading_of(settings)
    chosen = ExtractOptions(
        **fitting("Extraction", settings, ExtractOptions, given=("config_hash",)),
        config_hash=digest,
    )
    return chosen, shards_per_job, place


def loading_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Take out of settings, and return, those that say how a model is loaded."""
    loading = ("dtype", "device", "device_map", "quantization", "chat_template", "date")
    return {key: settings.pop(key) for key in loading if key in settings}
