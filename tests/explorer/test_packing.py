"""The packed sample, unpacked by other code, is the trace to the digits shown; pages are small."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.explorer import planted, realistic

from lensbench.explorer.packing import TINY, pack, probability_codes
from lensbench.explorer.pages import page_of
from lensbench.explorer.pictures import embedded
from lensbench.explorer.reading import read_closeup, read_imported, read_vocabulary
from lensbench.explorer.sample import Sample


def naive(blob: dict[str, Any]) -> list[int]:
    """Unpack bytes one by one, from the description of the format alone."""
    data = zlib.decompress(base64.b64decode(blob["data"]))
    n = len(data) // blob["width"]
    return [sum(data[b * n + i] << 8 * b for b in range(blob["width"])) for i in range(n)]


def naive_probability(code: int) -> float:
    return float(f"{100 + code % 900}e{-2 - code // 900}")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, Any]:
    root = tmp_path_factory.mktemp("packing")
    run = planted.write_run(root)
    found = read_closeup(run["closeup"], run["manifest"], run["convergence"], 1)
    return next(found), read_vocabulary(run["model_folder"])


def test_tokens_and_probabilities_are_those_of_the_trace(sample: tuple[Sample, Any]) -> None:
    packed = json.loads(json.dumps(pack(*sample)))
    ids, codes = naive(packed["blobs"]["ids"]), naive(packed["blobs"]["probability"])
    shape = (packed["layers"], packed["positions"], packed["k"])
    assert shape == (9, 3 + 69 + 4 + 2, 5)
    place = 0
    for layer in range(shape[0]):
        for position in range(shape[1]):
            for rank in range(shape[2]):
                token = sample[0].top_id[layer, position, rank]
                index = ids[place]
                assert packed["tokens"]["text"][index] == planted.TOKENS[token][0]
                script = packed["scripts"][packed["tokens"]["script"][index]]
                assert script == planted.TOKENS[token][1]
                p = np.exp(float(sample[0].top_logprob[layer, position, rank]))
                assert naive_probability(codes[place]) == float(f"{p:.2e}")
                place += 1
    assert place == len(ids) == len(codes)


def test_places_entropies_and_best_layers_are_those_planted(sample: tuple[Sample, Any]) -> None:
    packed = pack(*sample)
    patch = naive(packed["blobs"]["patch"])
    assert patch == [65535] * 3 + list(range(69)) + [65535] * 6
    best = naive(packed["blobs"]["best"])
    assert best[3:72] == [planted.best_layer(number) for number in range(69)]
    view, row, col = np.reshape(naive(packed["blobs"]["place"]), (3, -1))
    assert (view[3 + 25], row[3 + 25], col[3 + 25]) == (1, 0, 5)
    assert (view[71], row[71], col[71]) == (65535, 65535, 65535)
    entropy = np.reshape(naive(packed["blobs"]["entropy"]), (9, -1))
    assert entropy[4, 3 + 20] == 452
    assert naive(packed["blobs"]["step"])[-3:] == [65535, 1, 2]
    texts = [packed["tokens"]["text"][i] for i in naive(packed["blobs"]["token"])[-2:]]
    assert texts == [" three", planted.TOKENS[73][0]]


def test_the_trajectory_is_the_trace_s(sample: tuple[Sample, Any]) -> None:
    (first, *later) = pack(*sample)["trajectory"]
    rows = planted.trajectory("x", 3, True)
    rows = rows[rows["step"] == 0]
    for name in ("final", "gold"):
        wanted = [float(f"{p:.2e}") for p in np.exp(rows[f"{name}_logprob"].astype(np.float32))]
        assert [naive_probability(code) for code in first[f"{name}_probability"]] == wanted
        assert np.allclose(first[f"{name}_logprob"], rows[f"{name}_logprob"], atol=1e-4)
        assert first[f"{name}_rank"] == rows[f"{name}_rank"].tolist()
    texts = pack(*sample)["tokens"]["text"]
    assert [texts[index] for index in first["top"][planted.CONVERGENCE :]] == [" three"] * 4
    assert texts[first["final"]] == " three"
    assert first["convergence"] == planted.CONVERGENCE
    assert [(step["step"], step["convergence"]) for step in later] == [(1, None), (2, None)]


def test_attention_is_kept_to_a_hundredth_of_the_largest(sample: tuple[Sample, Any]) -> None:
    packed = pack(*sample)
    about = packed["attention"]
    found = np.reshape(naive(packed["blobs"]["attention"]), (8, 3, 69))
    most = np.reshape(about["most"], (8, 3, 1))
    frame = planted.attention("x", 69)
    wanted = np.reshape(np.stack(list(frame["weights"])), (8, 3, 69))
    assert np.abs(most * (found / 255) ** 2 - wanted).max() < 0.01 * 0.8
    relative = np.abs(most * (found / 255) ** 2 - wanted) / most
    assert relative.max() < 0.005
    assert np.allclose(about["mass"], wanted.sum(axis=2).ravel(), rtol=1e-3)
    assert found[2, 1].argmax() == 9


@pytest.mark.parametrize("p", [1.0, 0.9996, 0.5, 0.03665, 0.0999999, 1e-5, 3.21e-40, 9.99e-71])
def test_a_probability_is_what_python_prints_of_it(p: float) -> None:
    (code,) = probability_codes(np.log([p]))
    assert naive_probability(int(code)) == float(f"{p:.2e}")


def test_probabilities_beyond_the_codes_are_told_apart() -> None:
    codes = probability_codes(np.array([1e-4, -170.0, -1000.0]))
    assert codes.tolist() == [0, TINY, TINY]


def test_an_import_has_no_entropy_and_no_answer(tmp_path: Path) -> None:
    folder = planted.write_import(tmp_path)
    packed = pack(next(read_imported(folder, 5)), read_vocabulary(folder))
    assert not packed["has_entropy"]
    assert "entropy" not in packed["blobs"]
    assert packed["trajectory"] == []
    assert packed["attention"] is None


def test_many_tokens_take_wider_numbers() -> None:
    large = realistic.sample(2, 2, layers=2, words=0)
    packed = pack(large, realistic.vocabulary(100))
    assert packed["blobs"]["ids"]["width"] == 2
    ids = np.arange(2 * 4 * 10_000, dtype=np.int32).reshape(2, 4, 10_000)
    wide = Sample(**{**large.__dict__, "top_id": ids, "top_logprob": np.zeros(ids.shape)})
    packed = pack(wide, realistic.vocabulary(100), k=10_000)
    assert packed["blobs"]["ids"]["width"] == 4
    texts = [packed["tokens"]["text"][i] for i in naive(packed["blobs"]["ids"])[-2:]]
    assert texts == ["⟨token 79998⟩", "⟨token 79999⟩"]


def test_a_page_of_576_patches_and_33_layers_is_under_one_megabyte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (84, 84, 3), dtype=np.uint8))
    noise.resize((336, 336), Image.Resampling.BICUBIC).save(tmp_path / "picture.png")
    picture, _ = embedded(tmp_path / "picture.png")
    words = realistic.vocabulary()
    page = page_of(realistic.sample(24, 24), words, picture).encode()
    assert len(page) < 1_000_000
    # Attention of 32 × 32 heads comes on top.
    with_heads = page_of(realistic.sample(24, 24, heads=32), words, picture).encode()
    assert len(with_heads) < 2_000_000
