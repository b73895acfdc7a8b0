"""Coverage-guided fuzzing of the readers of plain bytes: `guided.py READER [SECONDS]`.

It needs atheris, which is no requirement of the project (`pip install atheris` into an environment
with lensbench; it has wheels for few versions of Python). Whatever it finds becomes an example of
the tests beside it. Every input is held to one promise here: it is read, or met with a sentence.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def readers(place: Path) -> dict[str, tuple[Callable[[bytes], object], list[bytes]]]:
    """Return name → (what reads bytes, valid inputs); files go to an empty folder."""
    from tests.fuzz import seeds

    from lensbench.config import read_yaml
    from lensbench.datasets.folder import Picture, convert
    from lensbench.datasets.manifest import read_manifest
    from lensbench.downloads.archives import unpack
    from lensbench.downloads.zips import Limits
    from lensbench.imported_file import read_patch_lens
    from lensbench.lexicon import load_lexicon
    from lensbench.models.sizes import names_of
    from lensbench.trace import read_table

    def given(name: str, content: bytes) -> Path:
        path = place / name
        path.write_bytes(content)
        return path

    def unpacked(content: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=place) as out:
            unpack(given("a", content), Path(out) / "made", limits=Limits(50, 2**20, 2**22, 50))

    def shrunk(content: bytes) -> None:
        convert(Picture(given("p", content), "p", "p"), place, place / "p.png")

    def table(content: bytes) -> None:
        read_table(given("samples.parquet", content).parent, "samples")

    shard = "traces/synthetic-llava/scenes/0/samples.parquet"
    archives = [seeds.zip_bytes({"a/b": b"x" * 99}), seeds.tar_bytes({"a/b": b"x" * 99}, "w:gz")]
    return {
        "yaml": (lambda content: read_yaml(given("c.yaml", content)), [b"a: [1, {b: c}]\n"]),
        "lexicon": (
            lambda content: load_lexicon(given("l.yaml", content)),
            [b"number:\n  '3':\n    en: [three]\n"],
        ),
        "manifest": (
            lambda content: read_manifest(given("manifest.parquet", content).parent),
            [seeds.manifest_bytes()],
        ),
        "trace": (table, [seeds.run_files()[shard]]),
        "lens": (lambda content: read_patch_lens(given("l.json", content)), [seeds.lens_bytes()]),
        "archive": (unpacked, archives),
        "picture": (shrunk, seeds.pictures()),
        "safetensors": (
            lambda content: names_of(given("m.safetensors", content)),
            [b'\x02\0\0\0\0\0\0\0{}'],
        ),
    }  # fmt: skip


def main(arguments: list[str]) -> None:
    """Fuzz one reader until something breaks, or for some seconds."""
    try:
        import atheris
    except ImportError:
        sys.exit("guided.py needs atheris, which is not installed: see its first lines.")
    with atheris.instrument_imports(include=["lensbench", "zipfile", "tarfile", "gzip", "yaml"]):
        import lensbench.trace  # noqa: F401
        from lensbench.errors import LensbenchError
    place = Path(tempfile.mkdtemp(prefix="guided-"))
    known = readers(place)
    if not arguments or arguments[0] not in known:
        sys.exit(f"guided.py reads one of {', '.join(known)}: name it.")
    read, valid = known[arguments[0]]
    corpus = place / "corpus"
    corpus.mkdir()
    for number, content in enumerate(valid):
        (corpus / str(number)).write_bytes(content)

    def one(content: bytes) -> None:
        try:
            read(content)
        except LensbenchError as error:
            if len(str(error).splitlines()) != 1:
                raise RuntimeError("not one line") from error

    seconds = arguments[1] if len(arguments) > 1 else "0"
    options = [f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-timeout=20", "-max_len=20000"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
