"""Every kind of damage is found, by its path, with the target that makes it anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.faults.places import ALL, RUN, Place
from tests.faults.test_damage import age, cut, flip

from lensbench.verify import verify

OF_RUN = "metrics/lensbench-llava/fills"
CLOSEUP = "closeups/lensbench-llava/fills"
LEDGERS = f"snakemake --cores all {RUN}/parts/0.json"


@pytest.fixture
def results(undisturbed: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the undisturbed results, seen from their project's folder."""
    shutil.copytree(undisturbed.results, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return Path("results")


def test_nothing_is_told_of_an_undamaged_folder(results: Path) -> None:
    found = verify(results)
    assert list(found.lines()) == [f"{found.files:,} files, 1 runs: all as they were made"]
    there = [
        path
        for path in results.rglob("*")
        if path.is_file()
        and path.name != ".snakemake_timestamp"
        and path.parts[1:3] != ("paper", "build")
    ]
    assert found.files == len(there)


def edit(path: Path, change: Callable[[dict], None]) -> None:
    """Change a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def reseal(path: Path) -> None:
    """Put the digest of a changed file into its seal, as a hand that wants to hide it would."""
    from lensbench.files import sha256_of

    for seal in path.parent.glob(".made/*.json"):
        noted = json.loads(seal.read_text())
        if path.name in noted["files"]:
            noted["files"][path.name] = sha256_of(path)
            seal.write_text(json.dumps(noted))


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a table, and hide that it was changed."""
    table = pq.read_table(path, partitioning=None)
    pq.write_table(change(table), path, compression="zstd")
    reseal(path)


def without_value(table: pa.Table) -> pa.Table:
    nothing = pa.array([float("nan")] * table.num_rows)
    return table.set_column(table.column_names.index("value"), "value", nothing)


def without_a_sample(table: pa.Table) -> pa.Table:
    return table.filter(pc.not_equal(table["sample_id"], "fills-00000"))


def other_weights(path: Path) -> None:
    edit(path, lambda about: about.update(weights_sha256="0" * 64))
    reseal(path)


def failing_gate(path: Path) -> None:
    edit(path, lambda gate: gate["checks"][0].update(value=2.5, passed=True))
    reseal(path)


def no_number(path: Path) -> None:
    edit(path, lambda gate: gate["checks"][0].update(value=None, passed=False))
    reseal(path)


def a_limit_of_limits(path: Path) -> None:
    edit(path, lambda gate: gate["checks"][0].update(limit={}, passed=False))
    reseal(path)


def one_more(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("more")


def a_shard_too_many(path: Path) -> None:
    shutil.copytree(path.with_name("7"), path)


def a_temporary_folder(path: Path) -> None:
    path.mkdir()
    (path / "half").write_text("half of a")


def a_line_short(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def another_header(path: Path) -> None:
    path.write_text(path.read_text().replace("metric", "messure", 1))
    reseal(path)


def uncounted(path: Path) -> None:
    edit(path, lambda ledger: ledger["shards"][0].update(n_samples=7))


def shard_left_out(path: Path) -> None:
    edit(path, lambda ledger: ledger["shards"].pop())


def no_digests(path: Path) -> None:
    edit(path, lambda noted: noted.pop("files"))


def names_outside(path: Path) -> None:
    edit(path, lambda noted: noted["files"].update({"/etc/passwd": "0", "../../x": "0"}))


def a_name_without_end(path: Path) -> None:
    edit(path, lambda noted: noted["files"].update({"x" * 300: "0"}))


def a_number_of_text(path: Path) -> None:
    edit(path, lambda gate: gate["checks"][0].update(value="much", passed=True))
    reseal(path)


def shard_of_any_number(path: Path) -> None:
    path.write_text(path.read_text().replace('"shard": 6', '"shard": -6'))


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    # what is done: (where, how, what is told, which target makes it anew)
    "a manifest is cut": (
        *("datasets/fills/manifest.parquet", cut, "is not as its job made it"),
        "snakemake --cores all results/datasets/fills/manifest.parquet",
    ),
    "a manifest has a row less": (
        "datasets/fills/manifest.parquet",
        lambda path: rewrite(path, without_a_sample),
        "has noted another SHA-256 of its pictures",
        "snakemake --cores all results/datasets/fills/manifest.parquet",
    ),
    "a picture has a flipped bit": (
        *("datasets/fills/images/fill-00003.png", flip, "is not as its job made it"),
        "snakemake --cores all results/datasets/fills/manifest.parquet",
    ),
    "a picture is gone": (
        *("datasets/fills/images/fill-00003.png", Path.unlink, "is missing"),
        "snakemake --cores all results/datasets/fills/manifest.parquet",
    ),
    "a gate was not passed": (
        *("models/lensbench-llava/gate.json", failing_gate, "is 2.5, where 0 is allowed"),
        "snakemake --cores all results/models/lensbench-llava/gate.json",
    ),
    "a vocabulary is cut": (
        *("models/lensbench-llava/vocabulary.parquet", cut, "is not as its job made it"),
        "snakemake --cores all results/models/lensbench-llava/gate.json",
    ),
    "a model's note is gone": (
        *("models/lensbench-llava/model.json", Path.unlink, "is missing"),
        "snakemake --cores all results/models/lensbench-llava/gate.json",
    ),
    "other weights": (
        "models/lensbench-llava/model.json",
        *(other_weights, "was made with other weights", LEDGERS),
    ),
    "a shard has a flipped bit": (
        "traces/lensbench-llava/fills/7/trajectory.parquet",
        *(flip, "is not as its provenance says", LEDGERS),
    ),
    "a shard's table is cut": (
        "traces/lensbench-llava/fills/7/lenses.parquet",
        *(cut, "is not as its provenance says", LEDGERS),
    ),
    "a shard's table is gone": (
        *("traces/lensbench-llava/fills/7/floors.parquet", Path.unlink, "is missing", LEDGERS),
    ),
    "a shard is gone": (*("traces/lensbench-llava/fills/7", shutil.rmtree, "is missing", LEDGERS),),
    "a shard of an older schema": (
        "traces/lensbench-llava/fills/7/samples.parquet",
        *(age, "samples.parquet is written by schema 2, this is 4", LEDGERS),
    ),
    "a shard without digests": (
        "traces/lensbench-llava/fills/7/provenance.json",
        *(no_digests, "names no files by their digests", LEDGERS),
    ),
    "a shard that names files elsewhere": (
        "traces/lensbench-llava/fills/7/provenance.json",
        *(names_outside, "which is no table's file", LEDGERS),
    ),
    "a seal that names files elsewhere": (
        *("metrics/.made/collect.json", names_outside, "is no seal that can be read"),
        "snakemake --cores all results/metrics/summary.csv",
    ),
    "a seal that names what no file can be called": (
        *("metrics/.made/collect.json", a_name_without_end, "is no seal that can be read"),
        "snakemake --cores all results/metrics/summary.csv",
    ),
    "a gate whose figure is a text": (
        *("models/lensbench-llava/gate.json", a_number_of_text, "is no report of the gate"),
        "snakemake --cores all results/models/lensbench-llava/gate.json",
    ),
    "a gate whose figure is no number": (
        *("models/lensbench-llava/gate.json", no_number, "is nan, where 0 is allowed"),
        "snakemake --cores all results/models/lensbench-llava/gate.json",
    ),
    "a gate whose limit is none": (
        *("models/lensbench-llava/gate.json", a_limit_of_limits, "is no report of the gate"),
        "snakemake --cores all results/models/lensbench-llava/gate.json",
    ),
    "a ledger with a shard of no number": (
        "traces/lensbench-llava/fills/parts/1.json",
        *(shard_of_any_number, "is no ledger of lensbench-llava on fills"),
        f"snakemake --cores all {RUN}/parts/1.json",
    ),
    "a shard too many": (
        *("traces/lensbench-llava/fills/18", a_shard_too_many, "no job promised", LEDGERS),
    ),
    "a ledger that counts wrongly": (
        "traces/lensbench-llava/fills/parts/1.json",
        *(uncounted, "counts the samples of shard 6 wrongly"),
        f"snakemake --cores all {RUN}/parts/1.json",
    ),
    "a ledger that leaves a shard out": (
        "traces/lensbench-llava/fills/parts/2.json",
        *(shard_left_out, "no ledger names it", LEDGERS),
    ),
    "a ledger that is no JSON": (
        "traces/lensbench-llava/fills/parts/0.json",
        *(cut, "is no ledger of lensbench-llava on fills", LEDGERS),
    ),
    "no ledger": (
        "traces/lensbench-llava/fills/parts",
        *(shutil.rmtree, "has no ledger", LEDGERS),
    ),
    "a close-up with a flipped bit": (
        *(f"{CLOSEUP}/patches.parquet", flip, "is not as its provenance says"),
        f"snakemake --cores all results/{CLOSEUP}/samples.parquet",
    ),
    "a table of a run is changed": (
        *(f"{OF_RUN}/by_layer.parquet", flip, "is not as its job made it"),
        f"snakemake --cores all results/{OF_RUN}/by_layer.parquet",
    ),
    "a table of a run has no numbers": (
        f"{OF_RUN}/summary.parquet",
        lambda path: rewrite(path, without_value),
        "has value that is no number",
        f"snakemake --cores all results/{OF_RUN}/summary.parquet",
    ),
    "a table of a run has a column less": (
        f"{OF_RUN}/heads.parquet",
        lambda path: rewrite(path, lambda table: table.drop_columns(["kind"])),
        "has other columns than heads must have",
        f"snakemake --cores all results/{OF_RUN}/heads.parquet",
    ),
    "a table of a run is gone": (
        *(f"{OF_RUN}/tokens.parquet", Path.unlink, "is missing"),
        f"snakemake --cores all results/{OF_RUN}/tokens.parquet",
    ),
    "a CSV has a row less": (
        *("metrics/by_layer.csv", a_line_short, "is not as its job made it"),
        "snakemake --cores all results/metrics/by_layer.csv",
    ),
    "a CSV has another header": (
        *("metrics/lenses.csv", another_header, "has other columns than lenses must have"),
        "snakemake --cores all results/metrics/lenses.csv",
    ),
    "a figure is cut": (
        *("figures/accuracy_by_layer.pdf", cut, "is not as its job made it"),
        "snakemake --cores all results/figures/accuracy_by_layer.pdf",
    ),
    "a figure is cut and sealed": (
        "figures/accuracy_by_layer.png",
        lambda path: (cut(path), reseal(path)),
        "can't be opened",
        "snakemake --cores all results/figures/accuracy_by_layer.png",
    ),
    "a table for print is gone": (
        *("tables/summary.tex", Path.unlink, "is missing"),
        "snakemake --cores all results/tables/summary.tex",
    ),
    "a page is cut": (
        *("explorer/lensbench-llava/fills/fills-00000.html", cut, "is not as its job made it"),
        "snakemake --cores all results/explorer/lensbench-llava/fills",
    ),
    "the index is changed": (
        *("explorer/index.html", flip, "is not as its job made it"),
        "snakemake --cores all results/explorer/index.html",
    ),
    "the numbers are changed": (
        *("paper/numbers.tex", flip, "is not as its job made it"),
        "snakemake --cores all results/paper/numbers.tex",
    ),
    "a seal can't be read": (
        *("metrics/.made/collect.json", cut, "is no seal that can be read"),
        "snakemake --cores all results/metrics/summary.csv",
    ),
    "a file that nobody promised": (
        *("figures/mine.pdf", one_more, "promised by no job"),
        "delete results/figures/mine.pdf",
    ),
    "a folder that a killed process left": (
        *("metrics/.summary.csv.0a1b2c3d-77-x1y2z3", a_temporary_folder, "no job promised"),
        "delete results/metrics/.summary.csv.0a1b2c3d-77-x1y2z3",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_the_line_says_which_target_makes_it_anew(
    name: str, results: Path
) -> None:
    where, harm, told, target = DAMAGE[name]
    harm(results / where)
    lines = list(verify(results).lines())
    assert len([line for line in lines if told in line and target in line]) == 1, lines
    assert all("\n" not in line for line in lines)


def test_metrics_of_other_traces_are_found(results: Path) -> None:
    """All digests are right, but the traces are not those that the metrics were made from."""
    age_of = results / "traces/lensbench-llava/fills/parts/0.json"
    edit(age_of, lambda ledger: ledger.update(note="made again"))
    lines = [line for line in verify(results).lines() if "from other traces" in line]
    assert len(lines) == 1
    assert f"snakemake --cores all results/{OF_RUN}/" in lines[0]


def test_what_the_line_says_makes_the_results_whole_again(place: Place) -> None:
    """Followed to the letter, for a file of each stage."""
    flip(place.results / "traces/lensbench-llava/fills/7/heads.parquet")
    flip(place.results / OF_RUN / "lenses.parquet")
    for _ in range(6):
        done = place.lensbench("verify")
        if done.returncode == 0:
            break
        problem = done.stdout.splitlines()[0]
        _, _, steps = problem.rpartition(": delete ")
        doomed, _, target = steps.partition(", then ")
        place.remove(*doomed.split())
        place.whole(target.strip("`").split()[-1])
    place.whole(*ALL)
    assert place.lensbench("verify").stdout.endswith("all as they were made\n")
