"""Results that somebody handed on, with ledgers and digests that fit: verify, compare, metrics."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail, command
from tests.fuzz.mutations import mutated_bytes, mutated_text, mutated_trees
from tests.fuzz.parquets import mutated_tables
from tests.fuzz.seeds import parquet_bytes, run_files

from lensbench.errors import TraceError
from lensbench.shards import is_kept, shard_folders
from lensbench.verify import verify

RUN = "traces/synthetic-llava/scenes"
MODEL = "models/synthetic-llava"
DATASET = "datasets/scenes"
MANIFEST = f"{DATASET}/manifest.parquet"
SHARD = {
    path.removeprefix(f"{RUN}/0/"): content
    for path, content in run_files().items()
    if path.startswith(f"{RUN}/0/")
}
TABLES = sorted(name for name in SHARD if name.endswith(".parquet"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def text(tree: Any) -> bytes:
    """Return JSON as it is written."""
    return (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode()


def provenance(files: dict[str, bytes], manifest: bytes) -> dict[str, Any]:
    """Return a provenance whose digests are those of the files and of the manifest."""
    noted: dict[str, Any] = json.loads(SHARD["provenance.json"])
    weights = json.loads(run_files()[f"{MODEL}/model.json"])["weights_sha256"]
    return noted | {
        "files": {name: sha256(files[name]) for name in TABLES},
        "manifest_sha256": sha256(manifest),
        "model": {"name": "synthetic-llava", "weights_sha256": weights},
    }


def ledger(noted: bytes) -> dict[str, Any]:
    """Return a ledger whose digest is that of a provenance."""
    entry = {"shard": 0, "n_samples": 4, "n_rejected": 1, "provenance_sha256": sha256(noted)}
    return {"model": "synthetic-llava", "dataset": "scenes", "part": 0, "shards": [entry]}


def seal(files: dict[str, bytes], folder: str) -> bytes:
    """Return the seal of a folder's files."""
    found = {
        path.removeprefix(f"{folder}/"): sha256(content)
        for path, content in files.items()
        if path.startswith(f"{folder}/")
    }
    return text({"command": "made", "files": found, "traces": {}})


NOTED = provenance(SHARD, run_files()[MANIFEST])
LEDGER = ledger(text(NOTED))


def give_results(jail: Jail, changed: str, content: bytes) -> None:
    """Give results of one run, one file changed and every digest above it made to fit."""
    others = {path: whole for path, whole in run_files().items() if not path.startswith(RUN)}
    if changed in others:
        others[changed] = content
    files = dict(SHARD)
    if changed in files:
        files[changed] = content
    if changed != "provenance.json":
        files["provenance.json"] = text(provenance(files, others[MANIFEST]))
    for path, whole in others.items():
        jail.give(f"results/{path}", whole)
    for folder in (MODEL, DATASET):
        jail.give(f"results/{folder}/.made/made.json", seal(others, folder))
    for name, whole in files.items():
        jail.give(f"results/{RUN}/0/{name}", whole)
    above = text(ledger(files["provenance.json"]))
    jail.give(f"results/{RUN}/parts/0.json", content if changed == "ledger" else above)


@st.composite
def changes(draw: Any) -> tuple[str, bytes]:
    """Draw which file is changed, and what it then holds."""
    models = [path for path in run_files() if path.startswith((MODEL, "datasets"))]
    name = draw(st.sampled_from(["ledger", "provenance.json", *TABLES, *models]))
    if name == "ledger":
        return name, text(draw(mutated_trees([LEDGER])))
    if name == "provenance.json":
        return name, text(draw(mutated_trees([NOTED])))
    whole = SHARD.get(name) or run_files()[name]
    if name.endswith(".json"):
        return name, text(draw(mutated_trees([json.loads(whole)])))
    if name.endswith(".parquet") and draw(st.integers(0, 3)):
        table: pa.Table = draw(mutated_tables([whole], b"lensbench", 2))
        return name, parquet_bytes(table)
    return name, draw(mutated_bytes([whole]))


def test_ledgers_and_provenances(fuzz: Fuzz) -> None:
    def read(jail: Jail, given: tuple[bytes, bytes]) -> None:
        for name in TABLES:
            jail.give(f"run/0/{name}", SHARD[name])
        jail.give("run/0/provenance.json", given[1])
        jail.give("run/parts/0.json", given[0])
        folders = shard_folders([jail.given / "run"])
        about = {key: value for key, value in NOTED.items() if key != "files"}
        if not is_kept(jail.given / "run" / "0", about, TABLES):
            raise TraceError("It is computed again.")
        assert [folder.name for folder in folders] == ["0"]

    inputs = st.tuples(
        st.one_of(mutated_trees([LEDGER]).map(text), mutated_text([text(LEDGER).decode()])),
        st.one_of(st.just(text(NOTED)), mutated_trees([NOTED], 1).map(text)),
    )
    deep, long = b"[" * 100_000, b"9" * 5000
    fuzz("ledgers", inputs, read, examples=((deep, text(NOTED)), (long, long), (b"\xff", deep)))


def test_verify_of_any_results(fuzz: Fuzz) -> None:
    def read(jail: Jail, given: tuple[str, bytes]) -> None:
        give_results(jail, *given)
        found = verify(jail.given / "results")
        for line in found.lines():
            assert len(line.splitlines()) == 1
            assert line.isprintable(), line
        if found.problems:
            raise TraceError(f"There are {len(found.problems)} problems.")

    fuzz("results handed on", changes(), read, by="verify")


def test_compare_of_any_results(fuzz: Fuzz) -> None:
    def read(jail: Jail, given: tuple[str, bytes]) -> None:
        give_results(jail, *given)
        jail.give("other/parts/0.json", text(LEDGER))
        for name, content in {**SHARD, "provenance.json": text(NOTED)}.items():
            jail.give(f"other/0/{name}", content)
        command("compare", str(jail.given / "results" / RUN), str(jail.given / "other"))

    fuzz("results handed on", changes(), read, by="compare")


def test_metrics_of_any_run(fuzz: Fuzz) -> None:
    def read(jail: Jail, given: tuple[str, bytes]) -> None:
        give_results(jail, *given)
        place = jail.given / "results"
        jail.may_remove(place / RUN / "parts" / "0.json")
        options = json.dumps({"resamples": 20, "seed": 1, "max_rejected": 0.5})
        command(
            *("metrics", str(place / RUN), "--model-folder", str(place / MODEL)),
            *("--out", str(jail.out / "metrics"), "--options", options),
        )

    fuzz(
        "results handed on",
        changes(),
        read,
        kept=lambda name: "metrics" in name,
        share=1 / 10,
        by="metrics",
    )
