"""Four readings of each state: their order, by construction, and what is told of the states."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from tests.planted import written_model

from lensbench.look import Lens
from lensbench.raw_normed import READINGS, STATES, by_layer, read_both, sureness

ASK = "How many stars are there ?"


@pytest.fixture(scope="module")
def lens() -> Lens:
    loaded = written_model({2: {"三": 3.0}, 4: {"三": -3.0, " three": 4.0}}, n_layers=5)
    norm = loaded.anatomy.final_norm
    # A gain that turns directions: some coordinates weigh ten times as much as others.
    gain = torch.linspace(0.2, 2.0, norm.weight.numel())
    norm.weight.data.copy_(
        gain[torch.randperm(len(gain), generator=torch.Generator().manual_seed(1))]
    )
    return Lens(loaded, verify=False)


@pytest.fixture(scope="module")
def table(lens: Lens) -> pd.DataFrame:
    return read_both(lens, ASK, 2, style="plain")[0]


def of(table: pd.DataFrame, reading: str) -> pd.DataFrame:
    return table[table["reading"] == reading].reset_index(drop=True)


def test_direction_decides_the_token_and_length_how_sure_it_is(table: pd.DataFrame) -> None:
    normed, raw, length, direction = (of(table, reading) for reading in READINGS)
    assert (direction["token_id"] == normed["token_id"]).all()
    assert (length["token_id"] == raw["token_id"]).all()
    assert normed["same_top1"].all()
    assert direction["same_top1"].all()
    assert (raw["same_top1"] == (raw["token_id"] == normed["token_id"])).all()
    # A longer state of one direction has less entropy.
    longer = (normed["normed_norm"] > normed["norm"]).to_numpy()
    assert longer.any()
    assert (length["entropy_nats"] <= raw["entropy_nats"])[longer].all()
    assert (normed["entropy_nats"] <= direction["entropy_nats"])[longer].all()


def test_normed_and_raw_are_what_the_lens_says(lens: Lens, table: pd.DataFrame) -> None:
    for kind in ("normed", "raw"):
        look = lens(ASK, max_new_tokens=2, k=1, lens=kind, style="plain").to_frame()
        mine = of(table, kind).sort_values(["step", "layer"])
        # The raw lens of a look has the model's own last layer.
        keep = (look["layer"] < 5).to_numpy() | (kind == "normed")
        assert mine["token_id"].to_numpy()[keep].tolist() == look["token_id"][keep].tolist()
        np.testing.assert_allclose(mine["probability"][keep], look["probability"][keep], rtol=1e-4)
        np.testing.assert_allclose(
            mine["entropy_nats"][keep], look["entropy_nats"][keep], atol=1e-4
        )


def test_what_is_told_of_states_by_hand(lens: Lens, table: pd.DataFrame) -> None:
    from lensbench.lens.generate import trace_batch
    from lensbench.models.prompt import encode

    encoded = encode(lens.loaded, [{"prompt": ASK, "style": "plain", "image": None}])
    state = trace_batch(lens.loaded, encoded, 1).residuals[0, 0, 3].double().numpy()
    weight = lens.loaded.anatomy.final_norm.weight.double().numpy()
    eps = lens.loaded.anatomy.final_norm.variance_epsilon
    normed = weight * state / np.sqrt((state**2).mean() + eps)
    row = table.query("reading == 'raw' and step == 0 and layer == 3").iloc[0]
    told = {
        "norm": np.sqrt((state**2).sum()),
        "normed_norm": np.sqrt((normed**2).sum()),
        "cosine": state @ normed / np.sqrt((state**2).sum() * (normed**2).sum()),
        "largest_share": (state**2).max() / (state**2).sum(),
        "normed_largest_share": (normed**2).max() / (normed**2).sum(),
    }
    assert set(told) == set(STATES)
    assert {name: row[name] for name in told} == pytest.approx(told, rel=1e-4)


def test_means_over_steps_by_hand() -> None:
    rows = [
        {
            "step": step, "layer": layer, "reading": reading, "same_top1": step == layer,
            "probability": 0.5, "entropy_nats": float(step),
            **dict.fromkeys(STATES, 10.0 * layer + step),
        }
        for reading in READINGS for step in range(2) for layer in range(3)
    ]  # fmt: skip
    got = by_layer(pd.DataFrame(rows)).set_index(["reading", "metric", "layer"]).sort_index()
    assert got.loc[("raw", "same_top1"), "value"].tolist() == [0.5, 0.5, 0]
    assert got.loc[("", "norm"), "value"].tolist() == [0.5, 10.5, 20.5]
    assert got.loc[("", "norm", 1), ["low", "high"]].tolist() == [10, 11]
    assert (got["n"] == 2).all()


@pytest.mark.parametrize(
    ("normed", "raw", "length", "direction", "says"),
    [
        # Length: 0.70 and 0.60; direction: 0.05 and 0.05.
        (0.85, 0.20, 0.90, 0.25, "by 0.60 and 0.70 (in either direction), another direction by "
         "0.05 and 0.05 (at either length): in this text how sure layer 4 sounds is above all a "
         "matter of the length."),
        (0.85, 0.20, 0.25, 0.90, "above all a matter of the direction."),
        # Length: 0.70 and 0.10; direction: 0.30 and 0.30.
        (0.60, 0.20, 0.90, 0.50, "neither alone decides how sure layer 4 sounds."),
    ],
)  # fmt: skip
def test_what_decides_how_sure_a_layer_sounds_is_measured(
    normed: float, raw: float, length: float, direction: float, says: str
) -> None:
    values = dict(zip(READINGS, (normed, raw, length, direction), strict=True))
    rows = [(name, "probability", 4, value) for name, value in values.items()]
    rows += [(name, "probability", 3, 0.5) for name in READINGS]
    layers = pd.DataFrame(rows, columns=["reading", "metric", "layer", "value"])
    assert sureness(layers, 4).endswith(says)
