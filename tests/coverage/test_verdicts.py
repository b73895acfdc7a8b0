"""The conformance suite: verdicts of a sample of types, and a suite that can find a wrong lens."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lensbench.coverage import verdict
from lensbench.coverage.instance import Unbuildable
from lensbench.coverage.table import (
    all_types,
    as_csv,
    as_markdown,
    differences,
    instance,
    judge_type,
    read_coverage,
)
from lensbench.coverage.verdict import Verdict, judge

COVERAGE = Path(__file__).parents[2] / "docs" / "coverage.csv"
NOTED = {(v.model_type, v.task): v for v in read_coverage(COVERAGE)}


def test_the_table_has_every_type_once_and_enough_are_supported():
    noted = read_coverage(COVERAGE)
    assert [(v.model_type, v.task) for v in noted] == all_types()
    counts = Counter((v.task, v.verdict) for v in noted)
    assert counts["image-text", "WRONG"] == counts["text", "WRONG"] == 0
    assert counts["image-text", "SUPPORTED"] >= 80
    assert counts["text", "SUPPORTED"] >= 150
    assert all(v.reason for v in noted if v.verdict == "REFUSED")
    page = (COVERAGE.parent / "coverage.md").read_text(encoding="utf-8")
    assert page == as_markdown(noted)
    assert COVERAGE.read_text(encoding="utf-8") == as_csv(noted)


@pytest.mark.parametrize(
    ("model_type", "task"),
    [
        ("qwen2_vl", "image-text"),  # M-RoPE
        ("llava_onevision", "image-text"),
        ("mllama", "image-text"),  # cross-attention
        ("gemma3", "image-text"),  # pictures attended to both ways
        ("qwen3_vl", "image-text"),  # adds to the stream between blocks
        ("chameleon", "image-text"),  # rules tokens out
        ("florence2", "image-text"),  # encoder–decoder
        ("gpt2", "text"),
        ("gemma2", "text"),  # soft caps, sliding window
        ("mamba", "text"),  # no attention
        ("jamba", "text"),  # some
        ("deepseek_v3", "text"),  # latent attention, experts
        ("roberta", "text"),  # an activation inside its head
        ("gpt_oss", "text"),  # learned sinks
        ("cohere", "text"),  # logit scale, parallel blocks
        ("gemma3n_text", "text"),  # several streams: refused
    ],
)
def test_verdicts_are_those_of_the_table(model_type, task):
    found = judge_type(model_type, task)
    assert found == NOTED[model_type, task]


def llama():
    return instance("llama", "text")


def judged(monkeypatch, change):
    """Judge a llama whose engine is changed after the gate, where the gate can't see it."""
    inner = verdict.loaded_instance
    made = {}

    def loaded(built):
        made["model"] = inner(built)
        return made["model"]

    def checks(model, *args):
        return []

    monkeypatch.setattr(verdict, "loaded_instance", lambda built: change(loaded(built)))
    monkeypatch.setattr(verdict, "check_all", checks)
    return judge(llama, "llama", "text")


def test_a_lens_without_the_final_norm_is_wrong(monkeypatch):
    def raw(loaded):
        ending = replace(loaded.anatomy.ending, tail=())
        return replace(loaded, anatomy=replace(loaded.anatomy, ending=ending))

    found = judged(monkeypatch, raw)
    assert found.verdict == "WRONG"
    assert "log-probabilities differ" in found.reason


def test_a_lens_one_layer_off_is_wrong(monkeypatch):
    def early(loaded):
        blocks = loaded.anatomy.blocks
        return replace(
            loaded, anatomy=replace(loaded.anatomy, blocks=(blocks[1], blocks[0], *blocks[2:]))
        )

    assert judged(monkeypatch, early).verdict != "SUPPORTED"


def test_attention_of_other_heads_is_wrong(monkeypatch):
    def mixed(loaded):
        heads = loaded.anatomy.heads
        turned = replace(heads, modules=(*heads.modules[1:], heads.modules[0]))
        return replace(loaded, anatomy=replace(loaded.anatomy, heads=turned))

    found = judged(monkeypatch, mixed)
    assert found.verdict == "WRONG"
    assert "attention in block" in found.reason


def test_a_model_that_padding_changes_is_supported_in_batches_of_one_length():
    found = judge_type("bart", "text")
    assert found.verdict == "SUPPORTED"
    assert found.reason.startswith("padding changes what it says")


def test_what_can_not_be_built_is_refused_with_the_reason():
    def build():
        raise Unbuildable("it  speaks\nmusic")

    found = judge(build, "x", "text")
    assert found == Verdict("x", "text", "REFUSED", "no tiny instance: it speaks music")


def test_a_model_that_breaks_is_refused_with_its_own_words():
    built = llama()

    class Broken(nn.Module):
        def forward(self, *args, **kwargs):
            raise RuntimeError("no such kernel")

    built.model.model.norm = Broken()
    with torch.no_grad():
        found = judge(lambda: built, "llama", "text")
    assert found.verdict == "REFUSED"
    assert "no such kernel" in found.reason


def test_tables_that_differ_say_where():
    one, other = Verdict("a", "text", "SUPPORTED", ""), Verdict("a", "text", "REFUSED", "x")
    assert differences([one], [one]) == []
    assert differences([one], [other]) == ["a (text) is SUPPORTED, not REFUSED"]
    assert differences([one], []) == ["a (text) is SUPPORTED, not there"]


def test_reasons_are_harmless_in_markdown():
    page = as_markdown([Verdict("a", "text", "REFUSED", "x | <b> *y* _z_")])
    assert "| `a` | REFUSED | x \\| \\<b\\> \\*y\\* \\_z\\_ |" in page


def test_a_model_that_fails_by_rounding_is_judged_with_others(monkeypatch):
    from lensbench.coverage import table

    seen = []

    def judged(build, model_type, task):
        seed = build.args[2]
        seen.append(seed)
        kind = "WRONG" if seed == 0 else "SUPPORTED"
        return Verdict(model_type, task, kind, f"seed {seed}", close=seed == 0)

    monkeypatch.setattr(table, "judge", judged)
    assert table.judge_type("llama", "text") == Verdict("llama", "text", "SUPPORTED", "seed 1")
    assert seen == [0, 1, 2]


def test_what_is_far_off_or_off_again_is_not_rounding(monkeypatch):
    from lensbench.coverage import table

    def judged(build, model_type, task):
        seed = build.args[2]
        kind = "SUPPORTED" if seed == 1 else "WRONG"
        return Verdict(model_type, task, kind, "", close=closeness)

    monkeypatch.setattr(table, "judge", judged)
    closeness = True
    assert table.judge_type("llama", "text").verdict == "WRONG"
    closeness = False
    assert table.judge_type("llama", "text").verdict == "WRONG"


@pytest.mark.parametrize(("factor", "close"), [(1.0 + 3e-5, True), (1.5, False)])
def test_how_far_off_a_lens_is_is_noticed(monkeypatch, factor, close):
    def scaled(loaded):
        ending = replace(loaded.anatomy.ending, logit_scale=factor)
        return replace(loaded, anatomy=replace(loaded.anatomy, ending=ending))

    found = judged(monkeypatch, scaled)
    assert found.verdict == "WRONG"
    assert found.close is close
