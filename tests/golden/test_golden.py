"""Golden outputs of every default model on every dataset; `make golden` makes them anew.

The files stand in `test_golden/`. A test that fails here after a change that is meant to change
numbers is met with `make golden` and a look at the difference; any other is a bug.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pytest_regressions.dataframe_regression import DataFrameRegressionFixture
from tests.golden import golden_runs as golden

from lensbench.models.load import LoadedModel
from lensbench.models.source import SMOLLM2_SHA256, packaged_models

#: The models that come with lensbench; one that is missing fails, as does one without files here.
PACKAGED = ("lensbench-llava", "lensbench-onevision", "lensbench-qwen2vl")
RUNS = [
    ("smollm2-135m", "facts"),
    *(
        (model, dataset)
        for model in sorted({*PACKAGED, *packaged_models()})
        for dataset in ("scenes", "fills", "flowers")
    ),
]
FILES = Path(__file__).with_suffix("")

Compare = Callable[..., None]


@pytest.fixture(scope="module")
def run_of(
    load: Callable[[str], LoadedModel],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Callable[[str, str], golden.GoldenRun]:
    """Return what extracts and measures a run's samples, once."""
    folder = tmp_path_factory.mktemp("golden")
    made: dict[tuple[str, str], golden.GoldenRun] = {}

    def run(model: str, dataset: str) -> golden.GoldenRun:
        if (model, dataset) not in made:
            loaded, data = load(model), folder / "data" / dataset
            if not data.exists():
                golden.draw(dataset, data)
            answers = FILES / f"{model}-{dataset}.yml"
            regenerate = pytestconfig.getoption("regen_all") or not answers.exists()
            if regenerate:
                ids = golden.candidates(data)
                shard = golden.trace(loaded, data, ids, folder / model)
                ids = golden.clearest(shard, golden.SAMPLES[loaded.task])
            else:
                ids = sorted(yaml.safe_load(answers.read_text(encoding="utf-8")))
            made[model, dataset] = golden.golden_run(
                golden.trace(loaded, data, ids, folder / model)
            )
        return made[model, dataset]

    return run


@pytest.fixture
def compare(
    dataframe_regression: DataFrameRegressionFixture, monkeypatch: pytest.MonkeyPatch
) -> Compare:
    """Return what compares the tables of a run with the golden ones."""
    monkeypatch.setattr(DataFrameRegressionFixture, "DISPLAY_PRECISION", 6)

    def check(model: str, dataset: str, table: str, frame: object) -> None:
        dataframe_regression.check(
            frame,
            basename=f"{model}-{dataset}-{table}",
            tolerances=golden.TOLERANCES[table],
            default_tolerance=golden.REAL,
        )

    return check


@pytest.fixture
def read_only(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no comparison write a file, also while golden files are made anew."""
    for option in ("regen_all", "force_regen"):
        monkeypatch.setattr(pytestconfig.option, option, False)


def test_every_packaged_model_is_there_and_pinned():
    assert packaged_models() == sorted(PACKAGED)


def test_the_weights_of_smollm2_are_the_pinned_ones(load):
    assert load("smollm2-135m").weights_sha256 == SMOLLM2_SHA256


@pytest.mark.parametrize(("model", "dataset"), RUNS)
def test_answers_are_the_golden_ones(model, dataset, run_of, data_regression):
    data_regression.check(run_of(model, dataset).answers, basename=f"{model}-{dataset}")


@pytest.mark.parametrize("table", golden.TOLERANCES)
@pytest.mark.parametrize(("model", "dataset"), RUNS)
def test_numbers_are_the_golden_ones(model, dataset, table, run_of, compare):
    compare(model, dataset, table, run_of(model, dataset).tables[table])


@pytest.mark.parametrize("table", ["trajectory", "heads"])
@pytest.mark.parametrize(("model", "dataset"), RUNS)
def test_a_layer_off_by_one_is_not_golden(model, dataset, table, run_of, compare, read_only):
    frame = run_of(model, dataset).tables[table]
    compare(model, dataset, table, frame)
    for sample in frame.index.unique("sample_id"):
        with pytest.raises(AssertionError, match="Values are not sufficiently close"):
            compare(model, dataset, table, golden.shifted(frame, sample))
