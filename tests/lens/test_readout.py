"""The readout against hand-computed values and against a naive reference in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lensbench.lens.readout import js_divergence, kl_divergence, read_out, top_tokens

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
    assert top_tokens(torch.tensor([1.0, 2.0]), 4).tolist() == [1, 0, 0, 0]


def test_divergences_of_distributions_that_share_nothing():
    left = torch.tensor([0.0, -math.inf])
    right = torch.tensor([-math.inf, 0.0])
    assert float(js_divergence(left, right)) == pytest.approx(math.log(2))
    assert float(kl_divergence(left, left)) == 0.0
    assert float(kl_divergence(left, right)) == math.inf
