"""Models of a hub: what would be fetched, fetching it once, and finding it without a network.

Everything lies where huggingface_hub keeps it (HF_HOME, HF_HUB_CACHE), so that what other programs
fetched is found, and what is fetched here they find. HF_ENDPOINT and HF_TOKEN are respected by it.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lensbench.downloads.retries import POLICY, Policy
from lensbench.errors import ModelError
from lensbench.files import atomic_path, sha256_of
from lensbench.models.hub_blobs import HubFile, fetch_blobs, git_sha1_of, part_of
from lensbench.models.hub_errors import HubAwayError, asked
from lensbench.models.source import HUB_FILES, INDEX, WEIGHTS, indexed_weights, parse_source

#: Files at the top of a repository; the one folder that a tokenizer's templates may lie in.
_PLACE = re.compile(r"(additional_chat_templates/)?[^/\\]+")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")


@dataclass(frozen=True)
class Fetched:
    """A repository's files at one commit, whole and checked.

    Args:
        repository: ORG/NAME.
        revision: the commit.
        folder: where they lie.
        files: each with its size and SHA-256.
    """

    repository: str
    revision: str
    folder: Path
    files: tuple[HubFile, ...]

    def to_json(self) -> str:
        """Return what was fetched as JSON with sorted keys; no path is in it."""
        files = [{key: asdict(f)[key] for key in ("name", "bytes", "sha256")} for f in self.files]
        tree = {"repository": self.repository, "revision": self.revision, "files": files}
        return json.dumps(tree, indent=2, sort_keys=True) + "\n"


def plan(repository: str, revision: str, policy: Policy = POLICY) -> list[HubFile]:
    """Return the files of a repository that a model is loaded from, by name.

    These are its weights as safetensors, its configuration, its tokenizer and its processor; of
    weights that are there both whole and in shards, those that the index names.

    Args:
        repository: ORG/NAME.
        revision: the commit, 40 hexadecimal digits.
        policy: how often and how long is tried again.

    Raises:
        ModelError: if there is no such commit, access is refused, or it has no safetensors.
    """
    from huggingface_hub import HfApi

    parse_source(f"hub:{repository}", revision)
    what = _what(repository, revision)
    api = HfApi(library_name="lensbench")
    ask = partial(api.model_info, repository, revision=revision, files_metadata=True, timeout=60)
    info = asked(what, ask, policy)
    if info.sha != revision:
        raise ModelError(f"{what}: the hub answers with another commit ({info.sha}).")
    listed = {
        sibling.rfilename: HubFile(
            sibling.rfilename,
            sibling.size or 0,
            "" if sibling.lfs is None else sibling.lfs.sha256,
            "" if sibling.lfs is not None else sibling.blob_id or "",
        )
        for sibling in info.siblings or []
    }
    found = [file for name, file in listed.items() if _wanted(name)]
    if "config.json" not in listed:
        raise ModelError(f"{what} has no config.json: it is no model that transformers loads.")
    weights = _weights(what, repository, revision, listed, policy)
    found = [f for f in found if not f.name.endswith(".safetensors") or f.name in weights]
    return sorted(found, key=lambda file: file.name)


def fetch(repository: str, revision: str, policy: Policy = POLICY) -> Fetched:
    """Fetch a model's files, unless they are there, and check each of them.

    Says on stderr how much it is before it begins. What is whole is never fetched again, what is
    there in part goes on where it stopped, and once all is there nothing is asked.

    Args:
        repository: ORG/NAME.
        revision: the commit, 40 hexadecimal digits.
        policy: how often and how long is tried again.

    Raises:
        ModelError: if they can't be had, or don't fit on the disk; what arrived is kept.
    """
    noted = _noted(repository, revision)
    if noted is not None:
        return noted
    try:
        files = plan(repository, revision, policy)
    except HubAwayError:
        copied = _copied(repository, revision)
        if copied is None:
            raise
        return _note(copied)
    what, folder = _what(repository, revision), snapshot(repository, revision)
    blobs = _storage(repository) / "blobs"
    wrong = [file for file in files if not file.fits(folder / file.name)]
    for file in wrong:  # Damaged, or of an interrupted copy: huggingface_hub would trust it.
        _remove(folder / file.name)
    large = [file for file in wrong if file.sha256]
    parts = [part_of(blobs, file) for file in large if not (blobs / file.sha256).exists()]
    begun = sum(part.stat().st_size for part in parts if part.exists())
    _announce(what, files, sum(file.bytes for file in wrong), begun)
    # The small ones first: whether a gated repository is open is known before gigabytes are.
    for file in [f for f in wrong if not f.sha256]:
        _place(what, repository, revision, file, policy)
    fetch_blobs(repository, revision, large, blobs, begun, policy)
    for file in large:
        _place(what, repository, revision, file, policy)
    return _note(Fetched(repository, revision, folder, _digested(folder, files)))


def snapshot(repository: str, revision: str) -> Path:
    """Return the folder in which huggingface_hub keeps a commit's files, there or not."""
    return _storage(repository) / "snapshots" / revision


def fetched_folder(repository: str, revision: str) -> Path:
    """Return the folder of a model that was fetched; nothing is asked of the hub.

    Raises:
        ModelError: if it was not fetched, or not wholly.
    """
    folder = snapshot(repository, revision)
    missing = _missing(folder)
    if missing:
        raise ModelError(
            f"{_what(repository, revision)} is not fetched ({missing} is not in the cache): run "
            f"`lensbench fetch-hub {repository} --revision {revision}` or, in the workflow, "
            "snakemake with --forcerun fetch_hub; or download it elsewhere and use folder:PATH."
        )
    return folder


def is_fetched(repository: str, revision: str) -> bool:
    """Say whether a model's weights and configuration are in the cache."""
    return not _missing(snapshot(repository, revision))


def _missing(folder: Path) -> str:
    """Return the first file that a model can't be loaded without and that isn't there, or ""."""
    needed = ["config.json"]
    if not (folder / WEIGHTS).is_file():
        index = folder / INDEX
        try:
            needed += sorted(indexed_weights(index)) if index.is_file() else [WEIGHTS]
        except ModelError:  # Damaged: fetching it again mends that.
            return INDEX
    return next((name for name in needed if not (folder / name).is_file()), "")


def _what(repository: str, revision: str) -> str:
    return f"hub:{repository} at {revision}"


def _storage(repository: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repository, repo_type="model")
    return Path(constants.HF_HUB_CACHE).expanduser() / name


def _wanted(name: str) -> bool:
    plain = _PLACE.fullmatch(name) and not name.startswith(".")
    foreign = name.endswith(".index.json") and name != INDEX
    return bool(plain) and not foreign and any(fnmatch(name, pattern) for pattern in HUB_FILES)


def _weights(
    what: str, repository: str, revision: str, listed: dict[str, HubFile], policy: Policy
) -> set[str]:
    """Return the names of the files of weights to fetch."""
    if INDEX in listed:
        cached = snapshot(repository, revision) / INDEX
        if not listed[INDEX].fits(cached):  # Damaged: huggingface_hub would give it back as it is.
            _remove(cached)
        _place(what, repository, revision, listed[INDEX], policy)
        names = indexed_weights(cached)
        for name in sorted(names - set(listed)):
            raise ModelError(
                f"{what} lacks {name}, which its index names: choose another revision."
            )
        return names
    if WEIGHTS in listed:
        return {WEIGHTS}
    pickled = [n for n in sorted(listed) if any(fnmatch(n, pattern) for pattern in _PICKLED)]
    if pickled:
        raise ModelError(
            f"{what} has its weights as pickles only ({pickled[0]}), which can run code when they "
            "are read: find a revision with safetensors, or convert them where you trust them and "
            "use folder:PATH."
        )
    raise ModelError(f"{what} has no {WEIGHTS}: it is no model that transformers loads.")


def _announce(what: str, files: list[HubFile], left: int, begun: int) -> None:
    """Say how much is fetched and where to; refuse what the disk has no room for."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE).expanduser()
    total = sum(file.bytes for file in files)
    there = total - left + begun
    some = f", {_size(there)} of it are there" if there else ""
    print(f"{what}: {len(files)} files, {_size(total)} into {cache}{some}", file=sys.stderr)
    disk = next(place for place in (cache, *cache.resolve().parents) if place.exists())
    free = shutil.disk_usage(disk).free
    if left - begun > free:
        raise ModelError(
            f"{what} needs {_size(left - begun)} more in {cache}, but {_size(free)} are free: free "
            "some, or set HF_HOME to a folder on a larger disk."
        )


def _size(n: int) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.2f} MB"


class _NoBar(tqdm):
    """No bar: small files need none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})


def _place(what: str, repository: str, revision: str, file: HubFile, policy: Policy) -> None:
    """Have huggingface_hub put a file into the commit's folder, and fetch it if it is small.

    Raises:
        ModelError: if it isn't what the hub states; then it is removed.
    """
    put = partial(_put, repository, revision, file)
    place = Path(asked(f"{what}, {file.name}", put, policy))
    # A large one was checked before it took its place.
    if place.resolve().name == file.sha256 or file.fits(place):
        return
    _remove(place)
    raise ModelError(
        f"{what}: {file.name} isn't what the hub states; run again, and check HF_ENDPOINT if it "
        "happens again."
    )


def _put(repository: str, revision: str, file: HubFile) -> str:
    from huggingface_hub import hf_hub_download

    return hf_hub_download(repository, file.name, revision=revision, tqdm_class=_NoBar)


def _remove(place: Path) -> None:
    """Remove a file of the cache, and the bytes it links to."""
    place.resolve().unlink(missing_ok=True)
    place.unlink(missing_ok=True)


def _digested(folder: Path, files: list[HubFile]) -> tuple[HubFile, ...]:
    """Return the files with the SHA-256 of the small ones, too."""
    return tuple(
        HubFile(f.name, f.bytes, f.sha256 or sha256_of(folder / f.name), f.git) for f in files
    )


def _copied(repository: str, revision: str) -> Fetched | None:
    """Return what another program left in the cache, if it is whole as far as can be told.

    huggingface_hub names a file's bytes by their digest and links to them; such files are checked.
    """
    folder = snapshot(repository, revision)
    if _missing(folder):
        return None
    files = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or not _wanted(name):
            continue
        file, stated = HubFile(name, path.stat().st_size, sha256_of(path)), path.resolve().name
        if path.is_symlink() and stated not in (file.sha256, git_sha1_of(path)):
            raise ModelError(
                f"{path} is damaged: delete it and what it links to, then fetch again."
            )
        files.append(file)
    return Fetched(repository, revision, folder, tuple(files))


def _note_path(repository: str, revision: str) -> Path:
    return _storage(repository) / "lensbench" / f"{revision}.json"


def _note(fetched: Fetched) -> Fetched:
    """Write down that a commit's files are whole, so that they aren't asked for again."""
    with atomic_path(_note_path(fetched.repository, fetched.revision)) as path:
        path.write_text(fetched.to_json(), encoding="utf-8", newline="\n")
    return fetched


def _noted(repository: str, revision: str) -> Fetched | None:
    """Return what was noted to be whole, if all of it is still there."""
    folder = snapshot(repository, revision)
    try:
        tree = json.loads(_note_path(repository, revision).read_text(encoding="utf-8"))
        files = tuple(HubFile(**file) for file in tree["files"])
        whole = all((folder / f.name).stat().st_size == f.bytes for f in files)
    # Not there, or not ours: it is looked at anew.
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Fetched(repository, revision, folder, files) if whole and files else None
