"""Models by name: what a user may call one, and which source and commit is meant by it."""

from __future__ import annotations

import difflib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lensbench.errors import ConfigError, ModelError
from lensbench.models.hub import is_fetched
from lensbench.models.rules import ModelRule, read_rule, rule_files
from lensbench.models.source import (
    COMMIT,
    PACKAGED,
    SMOLLM2_MEMBER,
    Source,
    fetch_smollm2,
    packaged_models,
    parse_source,
)

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
#: The file that the package registry has, wherever a workflow keeps it.
_SMOLLM2 = Path(SMOLLM2_MEMBER).name


@dataclass(frozen=True)
class Known:
    """A model with a name of its own.

    Args:
        name: its name.
        source: as `parse_source` takes it.
        revision: the commit that the workflow pins, None for a source that needs none or whose
            rule leaves it to the configuration.
        task: "text" or "image-text"; "" if its rule can't be read.
        there: "packaged", "fetched", "to be fetched", "on the hub", "revision needed" or "missing".
    """

    name: str
    source: str
    revision: str | None
    task: str
    there: str


def known_models() -> list[Known]:
    """Return the packaged models and those of the workflow's rules, by name.

    A rule that can't be read as text is there with its file as the source.
    """
    found = {name: _packaged(name) for name in packaged_models()}
    for name, path in rule_files().items():
        try:
            found[name] = _of_rule(read_rule(path))
        except ConfigError:
            found[name] = Known(name, str(path), None, "", "missing")
    return [found[name] for name in sorted(found)]


def find_model(text: str, revision: str | None = None) -> tuple[str, Source]:
    """Return the name and the source that a user means.

    A name of `known_models` comes first, then a folder, a .gguf file and a repository of the hub;
    "kind:value" says which of them it is. A branch or tag of the hub is resolved to its commit; a
    known model whose file a package registry has is fetched.

    Args:
        text: what the user calls the model.
        revision: branch, tag or commit of a hub repository; its default branch if None, or the
            commit that the workflow pins if the model is known.

    Raises:
        ModelError: if nothing or more than one thing is called so, with the nearest names, or if
            the commit can't be found.
    """
    if not isinstance(text, str | Path) or not str(text).strip():
        raise ModelError(
            "A model is given by its name, a folder, a .gguf file or a hub repository ORG/NAME."
        )
    given = str(text).strip()
    path = Path(given).expanduser()
    names = {*packaged_models(), *rule_files()}
    kind, colon, value = given.partition(":")
    if colon and kind.isalpha() and not path.exists():
        return _placed(kind, value, revision)
    if given in names:
        if (path / "config.json").is_file():
            raise ModelError(
                f'"{given}" is both a known model and a folder here: write folder:{given} for the '
                f"folder, or the model's own source for the other ({_known(given).source})."
            )
        return _from_known(given, revision)
    if path.is_dir():
        return _placed("folder", str(path), revision)
    if path.suffix == ".gguf":
        return _placed("gguf", str(path), revision)
    if path.is_file():
        raise ModelError(
            f"{path} is a file, but a model is a folder with its config.json, or a .gguf file."
        )
    if _REPOSITORY.fullmatch(given):
        return _placed("hub", given, revision)
    raise ModelError(
        f'No model, folder or .gguf file is called "{given}"{_nearest(given)}; `lensbench models` '
        "lists the known ones, and a repository of the hub is written ORG/NAME."
    )


def resolve_commit(repository: str, revision: str | None = None) -> str:
    """Return the commit that a branch or tag of a hub repository stands for now.

    Without a network it is the one that the branch stood for when it was last fetched.

    Args:
        repository: ORG/NAME.
        revision: branch, tag or commit; the default branch if None.

    Raises:
        ModelError: if the hub has no such repository or revision, or can't be reached.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return str(HfApi().model_info(repository, revision=revision).sha)
    except HFValidationError as error:
        raise ModelError(f'"{repository}" is no name of a hub repository: use ORG/NAME.') from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"No folder is called {repository}, and the hub has no such repository or keeps it "
            f"closed{_nearest(repository)}."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"hub:{repository} has no revision {revision}.") from error
    # The hub's client raises many kinds of error, of several packages; all mean the same here.
    except Exception as error:
        cached = _cached(repository, revision or "main")
        if cached is not None:
            return cached.name
        raise ModelError(
            f"No folder is called {repository}{_nearest(repository)}, and the hub can't be asked "
            f"for it ({type(error).__name__}): check the network, or download it elsewhere and "
            "name its folder."
        ) from error


def _cached(repository: str, revision: str) -> Path | None:
    """Return the folder of a revision that was fetched before, None if none was."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _placed(kind: str, value: str, revision: str | None) -> tuple[str, Source]:
    """Return the name and the checked source of a kind and its value."""
    if kind == "hub":
        return value.split("/")[-1], parse_source(f"hub:{value}", resolve_commit(value, revision))
    if revision:
        raise ModelError(
            f"{kind}:{value} has no revisions, only a hub repository has: leave {revision} out."
        )
    value = str(Path(value).expanduser()) if kind in ("folder", "gguf") else value
    if kind == "gguf" and not Path(value).is_file():
        raise ModelError(f"There is no GGUF file {value}: check the path.")
    place = Path(value).resolve()
    name = {"folder": place.name, "gguf": place.stem}.get(kind, value)
    return name, parse_source(f"{kind}:{value}")


def _from_known(name: str, revision: str | None) -> tuple[str, Source]:
    """Return a known model's name and source, fetched if a package registry has it."""
    known = _known(name)
    kind, _, value = known.source.partition(":")
    if kind == "gguf" and not Path(value).is_file() and Path(value).name == _SMOLLM2:
        print(f"fetching {name} into {value}", file=sys.stderr)
        fetch_smollm2(value)
    if kind == "hub":
        revision = revision or known.revision
    return name, _placed(kind, value, revision)[1]


def _known(name: str) -> Known:
    files = rule_files()
    return _of_rule(read_rule(files[name])) if name in files else _packaged(name)


def _packaged(name: str) -> Known:
    config = json.loads((PACKAGED / name / "config.json").read_text(encoding="utf-8"))
    task = "image-text" if "vision_config" in config else "text"
    return Known(name, f"packaged:{name}", None, task, "packaged")


def _of_rule(rule: ModelRule) -> Known:
    kind, _, value = rule.source.partition(":")
    source, there = rule.source, "missing"
    if kind == "packaged":
        there = "packaged" if value in packaged_models() else "missing"
    elif kind == "hub":
        there = "on the hub" if rule.revision else "revision needed"
        if rule.revision and is_fetched(value, rule.revision):
            there = "fetched"
    else:
        # Here first, as the workflow itself sees it when it is run here.
        here = Path(value).exists() or rule.place == Path.cwd()
        path = Path(value) if here else rule.place / value
        source = f"{kind}:{path}"
        if path.exists():
            there = "fetched"
        elif path.name == _SMOLLM2:
            there = "to be fetched"
    pinned = rule.revision or None if kind == "hub" else None
    return Known(rule.name, source, pinned, rule.task, there)


def _nearest(given: str) -> str:
    """Return " (did you mean …?)" with the names most like what was given, or ""."""
    spelled: dict[str, str] = {}
    for known in known_models():
        kind, _, value = known.source.partition(":")
        for name in (known.name, value) if kind == "hub" else (known.name,):
            spelled |= {name.lower(): name, name.lower().split("/")[-1]: name}
    wanted: Any = {given.lower(), given.lower().split("/")[-1]}
    close = [
        spelled[match]
        for text in sorted(wanted, key=len, reverse=True)
        for match in difflib.get_close_matches(text, spelled, n=2, cutoff=0.7)
    ]
    close += [name for text, name in spelled.items() if len(given) > 2 and given.lower() in text]
    near = [name for name in dict.fromkeys(close) if name != given][:3]
    return f" (did you mean {' or '.join(near)}?)" if near else ""
