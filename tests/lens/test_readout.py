"""The readout against hand-computed values and against a naive reference in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lensbench.errors import ModelError
from lensbench.lens.readout import read_out
from lensbench.lens.top import BLOCK, block_maxima, top_tokens

FIELDS = (
    "entropy_nats",
    "kl_to_final_nats",
    "js_to_final_nats",
    "final_logprob",
    "gold_logprob",
    "script_mass",
    "concept_mass",
    "top_logprob",
)


def plain(states):
    """The lens of these tests: a state is its own logits."""
    return states


def run(hidden, gold=(), k=3, scripts=None, n_languages=2, budget=2**20):
    """Read out [n, layers, V] logits; `gold` has a list of (id, language) for each sample."""
    hidden = torch.as_tensor(hidden, dtype=torch.float32)
    size = hidden.shape[-1]
    gold = list(gold) or [[]] * hidden.shape[0]
    width = max(1, *(len(pairs) for pairs in gold))
    ids, languages = torch.full((2, len(gold), width), -1)
    for row, pairs in enumerate(gold):
        for column, (token, language) in enumerate(pairs):
            ids[row, column], languages[row, column] = token, language
    scripts = torch.eye(size)[:, :1] * 0 + 1.0 if scripts is None else torch.as_tensor(scripts)
    return read_out(hidden, plain, plain, k, scripts, ids, languages, n_languages, budget)


def naive(hidden, gold, k, scripts, n_languages):
    """The same statistics, one number after the other, in float64."""
    hidden = np.asarray(hidden, dtype=np.float64)
    n, layers, size = hidden.shape
    out = {name: np.zeros((n, layers)) for name in (*FIELDS[:5], "final_rank", "gold_rank")}
    out["top_id"] = np.zeros((n, layers, k), dtype=int)
    out["top_logprob"] = np.zeros((n, layers, k))
    out["script_mass"] = np.zeros((n, layers, scripts.shape[1]))
    out["concept_mass"] = np.zeros((n, layers, n_languages))
    for s in range(n):
        z = hidden[s, -1]
        q = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        y = int(np.argmax(z))
        for layer in range(layers):
            z = hidden[s, layer]
            p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            logp = z - z.max() - math.log(np.exp(z - z.max()).sum())
            order = sorted(range(size), key=lambda t: (-z[t], t))[:k]
            m = (p + q) / 2
            out["top_id"][s, layer] = order
            out["top_logprob"][s, layer] = logp[order]
            out["entropy_nats"][s, layer] = -sum(a * b for a, b in zip(p, logp, strict=True) if a)
            out["kl_to_final_nats"][s, layer] = sum(
                a * (math.log(a) - b) for a, b in zip(q, logp, strict=True) if a
            )
            out["js_to_final_nats"][s, layer] = 0.5 * sum(
                (a * math.log(a / c) if a else 0) + (b * math.log(b / c) if b else 0)
                for a, b, c in zip(p, q, m, strict=True)
                if c
            )
            out["final_rank"][s, layer] = sum(v > z[y] for v in z)
            out["final_logprob"][s, layer] = logp[y]
            best = max(gold[s], key=lambda pair: z[pair[0]], default=None)
            out["gold_rank"][s, layer] = -1 if best is None else sum(v > z[best[0]] for v in z)
            out["gold_logprob"][s, layer] = 0 if best is None else logp[best[0]]
            out["script_mass"][s, layer] = p @ scripts
            for token, language in gold[s]:
                out["concept_mass"][s, layer, language] += p[token]
    return out


@pytest.mark.parametrize("budget", [1, 4 * 50 * 6 * 4, 2**30])
@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
def test_equals_the_naive_reference_whatever_the_chunk(scale, budget):
    generator = np.random.default_rng(7)
    hidden = (generator.normal(size=(5, 4, 50)) * scale).astype(np.float32)
    gold = [[(3, 0), (9, 1), (11, 1)], [], [(0, 0)], [(49, 1)], [(1, 0), (2, 0)]]
    scripts = np.eye(4, dtype=np.float32)[generator.integers(0, 4, 50)]
    found = run(hidden, gold, k=6, scripts=scripts, budget=budget)
    wanted = naive(hidden, gold, 6, scripts, 2)
    for name in ("top_id", "final_rank", "gold_rank"):
        np.testing.assert_array_equal(getattr(found, name).numpy(), wanted[name], err_msg=name)
    for name in FIELDS:
        values = getattr(found, name).numpy()
        np.testing.assert_allclose(values, wanted[name], atol=2e-5, rtol=2e-6, err_msg=name)
    assert (found.kl_to_final_nats[:, -1] == 0).all()


def test_values_computed_by_hand():
    # p_0 = (1/2, 1/4, 1/4), p_1 = (1/4, 1/2, 1/4), read as logits log p.
    hidden = np.log([[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]])
    found = run(hidden, [[(0, 1), (2, 0)]], k=2)
    assert found.final_id.tolist() == [[1, 1]]
    assert found.final_rank.tolist() == [[1, 0]]
    assert found.top_id.tolist() == [[[0, 1], [1, 0]]]
    np.testing.assert_allclose(found.entropy_nats[0], 1.5 * math.log(2), rtol=1e-6)
    # KL = 1/4 log(1/2) + 1/2 log 2 = 1/4 log 2
    np.testing.assert_allclose(found.kl_to_final_nats[0], [0.25 * math.log(2), 0], atol=1e-7)
    # JS with m = (3/8, 3/8, 1/4): 1/2 log(4/3) + 1/4 log(2/3)
    js = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3)
    np.testing.assert_allclose(found.js_to_final_nats[0], [js, 0], atol=1e-6)
    np.testing.assert_allclose(found.concept_mass[0], [[0.25, 0.5], [0.25, 0.25]], atol=1e-6)
    assert found.gold_rank.tolist() == [[0, 1]]
    np.testing.assert_allclose(found.gold_logprob[0].exp(), [0.5, 0.25], rtol=1e-6)


def test_equal_logits_are_ranked_by_id_and_share_a_rank():
    found = run([[[1.0, 3.0, 3.0, 0.0], [3.0, 1.0, 3.0, 3.0]]], [[(3, 0)]], k=3)
    assert found.top_id.tolist() == [[[1, 2, 0], [0, 2, 3]]]
    assert found.final_id.tolist() == [[0, 0]]
    assert found.final_rank.tolist() == [[2, 0]]
    assert found.gold_rank.tolist() == [[3, 0]]


def test_huge_and_impossible_logits_stay_numbers():
    far = [[[1e4, -1e4, 0.0], [0.0, 1e4, -math.inf]]]
    found = run(far, [[(2, 0)]], k=2)
    for name in ("entropy_nats", "js_to_final_nats", "script_mass", "concept_mass"):
        assert torch.isfinite(getattr(found, name)).all(), name
    np.testing.assert_allclose(found.js_to_final_nats[0], [math.log(2), 0], atol=1e-6)
    np.testing.assert_allclose(found.entropy_nats[0], 0, atol=1e-6)


def test_more_top_tokens_than_the_vocabulary_has():
    found = run([[[0.0], [5.0]]], k=3)
    assert found.top_id.tolist() == [[[0, 0, 0]] * 2]
    assert found.top_logprob.tolist() == [[[0.0] * 3] * 2]
    assert top_tokens(torch.tensor([[1.0, 2.0]]), 4).tolist() == [[1, 0, 0, 0]]


def test_distributions_that_share_nothing():
    # p_0 is all on token 0, p_1 all on token 1.
    found = run([[[0.0, -math.inf], [-math.inf, 0.0]]], k=2)
    assert found.js_to_final_nats[0].tolist() == pytest.approx([math.log(2), 0])
    assert found.kl_to_final_nats[0].tolist() == [math.inf, 0.0]
    assert found.entropy_nats[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ModelError, match="logits that are no numbers"):
        run([[[0.0, 1.0], [0.0, bad]]])
    with pytest.raises(ModelError, match="logits that are no numbers"):
        run([[[0.0, bad], [0.0, 1.0]]])


def test_logits_that_differ_far_from_the_largest_keep_their_ranks():
    # Less the maximum, the two would be the same float32.
    low, high = 1.0, float(np.nextafter(np.float32(1.0), np.float32(2.0)))
    found = run([[[low, high, 1000.0], [0.0, 1.0, 0.0]]], [[(0, 0)]], k=3)
    assert found.top_id[0, 0].tolist() == [2, 1, 0]
    assert found.final_rank.tolist() == [[1, 0]]
    assert found.gold_rank[0, 0] == 2


def exact(hidden, gold, k, scripts, n_languages):
    """All statistics in float64 by their definitions, whole rows at a time."""
    z = np.asarray(hidden, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        shifted = z - z.max(-1, keepdims=True)
        logp = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        p, q = np.exp(logp), np.exp(logp[:, -1:])
        logq, m = logp[:, -1:], (np.exp(logp) + np.exp(logp[:, -1:])) / 2
        plogp, qlogq = np.where(p > 0, p * logp, 0), np.where(q > 0, q * logq, 0)
        mlogm = np.where(m > 0, m * np.log(m), 0)
        # A share that float32 has no number for counts as none.
        kl = np.where(q > 1e-37, q * (logq - logp), 0).sum(-1)
    order = np.argsort(-z, axis=-1, kind="stable")[..., : min(k, z.shape[-1])]
    pad = np.repeat(order[..., -1:], max(0, k - z.shape[-1]), axis=-1)
    top = np.concatenate([order, pad], axis=-1)
    y = order[:, -1, 0]
    at_y = np.take_along_axis(z, np.broadcast_to(y[:, None, None], (*z.shape[:2], 1)), -1)
    out = {
        "top_id": top,
        "top_logprob": np.take_along_axis(logp, top, -1),
        "entropy_nats": -plogp.sum(-1),
        "kl_to_final_nats": kl,
        "js_to_final_nats": 0.5 * (plogp.sum(-1) + qlogq.sum(-1)) - mlogm.sum(-1),
        "final_rank": (z > at_y).sum(-1),
        "script_mass": p @ np.asarray(scripts, dtype=np.float64),
        "concept_mass": np.zeros((*z.shape[:2], n_languages)),
        "gold_rank": np.full(z.shape[:2], -1),
    }
    for sample, pairs in enumerate(gold):
        for token, language in pairs:
            out["concept_mass"][sample, :, language] += p[sample, :, token]
        if pairs:
            best = z[sample][:, [token for token, _ in pairs]].max(-1, keepdims=True)
            out["gold_rank"][sample] = (z[sample] > best).sum(-1)
    return out


@st.composite
def logits(draw):
    """Logits [n, layers, V] of many kinds: ties, huge ones, −∞, one token, sizes around a block."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    size = draw(st.sampled_from([1, 2, 7, BLOCK - 1, BLOCK, BLOCK + 1, 500, 22 * BLOCK, 1999]))
    n, layers = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    values = rng.normal(size=(n, layers, size)) * draw(st.sampled_from([0.01, 1.0, 30.0, 1e4]))
    kind = draw(st.sampled_from(["plain", "ties", "ruled out", "one value", "far away"]))
    if kind == "ties":
        values = np.round(values / max(1.0, np.abs(values).max() / 3))
    elif kind == "ruled out":
        values[rng.random(values.shape) < 0.4] = -np.inf
        values[..., 0] = 0.0
    elif kind == "one value":
        values[:] = values.flat[0]
    elif kind == "far away":
        values += 1e6
    return values.astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    hidden=logits(), k=st.sampled_from([1, 3, 10, 25]), budget=st.sampled_from([1, 10**5, 2**30])
)
@example(hidden=np.zeros((1, 1, 1), np.float32), k=3, budget=1)
def test_equals_the_definitions_in_float64_whatever_the_logits(hidden, k, budget):
    n, _, size = hidden.shape
    rng = np.random.default_rng(size)
    scripts = np.eye(5, dtype=np.float32)[rng.integers(0, 5, size)]
    gold = [
        [(token, token % 2) for token in dict.fromkeys(rng.integers(0, size, 4).tolist())],
        [],
        [(0, 1)],
    ][:n]
    found = run(hidden, gold, k=k, scripts=scripts, budget=budget)
    wanted = exact(hidden, gold, k, scripts, 2)
    for name in ("top_id", "final_rank", "gold_rank"):
        np.testing.assert_array_equal(getattr(found, name).numpy(), wanted[name], err_msg=name)
    for name in wanted:
        if name not in ("top_id", "final_rank", "gold_rank"):
            values = getattr(found, name).numpy()
            np.testing.assert_allclose(values, wanted[name], atol=1e-5, rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("n", [1, 2])
def test_sums_over_a_large_flat_vocabulary_are_as_exact_as_any(n):
    # 151,936 probabilities of almost the same size: added one after the other in float32, they
    # would be off by a thousandth.
    size, rng = 151_936, np.random.default_rng(0)
    hidden = rng.normal(0, 0.01, (n, 3, size)).astype(np.float32)
    hidden[:, 0] = 0.5
    scripts = np.eye(10, dtype=np.float32)[rng.integers(0, 10, size)]
    gold = [[(7, 0), (9, 1)]] * n
    found, wanted = run(hidden, gold, scripts=scripts), exact(hidden, gold, 3, scripts, 2)
    for name in ("entropy_nats", "kl_to_final_nats", "js_to_final_nats", "top_logprob"):
        values = getattr(found, name).numpy()
        np.testing.assert_allclose(values, wanted[name], atol=1e-5, rtol=0, err_msg=name)
    np.testing.assert_allclose(found.script_mass.numpy(), wanted["script_mass"], rtol=5e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 10]), st.sampled_from([0, 1, 37]))
def test_top_tokens_with_equal_logits_everywhere(seed, k, rest):
    # Few different values among many logits: equal ones lie on both sides of the edge of the list.
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, size=(3, 30 * BLOCK + rest)).astype(np.float32)
    values[0, rng.integers(0, values.shape[1], 2)] = 9.0
    found = top_tokens(torch.from_numpy(values), k)
    wanted = [sorted(range(len(row)), key=lambda t: (-row[t], t))[:k] for row in values]
    assert found.tolist() == wanted
    maxima = block_maxima(torch.from_numpy(values)).numpy()
    assert maxima.max(-1).tolist() == values.max(-1).tolist()


def test_scripts_that_overlap_or_leave_tokens_out_are_added_up_too():
    hidden = np.log([[[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]])
    scripts = [[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    found = run(hidden, k=1, scripts=scripts)
    np.testing.assert_allclose(found.script_mass[0], [[0.5, 0.8], [0.2, 0.5]], atol=1e-6)
