"""Batches: of about one length, whole, in a budget, the same from worker processes."""

from __future__ import annotations

import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.planted import image_model, text_model

from lensbench.feed import Batch, Prepared, batches, memory_ran_out, prepared
from lensbench.models.batches import join, same
from lensbench.models.prompt import encode

WORDS = ("Why ?", "How many stars are there in the sky ?", "How many ?", "Why is the sky blue ?")


def sample_rows(n, image=None, style="completion"):
    return [
        {
            "sample_id": f"s-{index}",
            "prompt": WORDS[index % len(WORDS)],
            "style": style,
            "image": image and image.format(index),
            "source": "drawn",
            "rejected": "",
        }
        for index in range(n)
    ]


@pytest.fixture
def pictures(tmp_path):
    for index in range(6):
        size = (32, 32) if index % 2 else (64, 32)
        Image.effect_noise(size, 60 + index).convert("RGB").save(tmp_path / f"{index}.png")
    return tmp_path


@pytest.mark.parametrize("family", ["llava", "onevision", "qwen2vl"])
def test_joined_prompts_are_the_processors_own_batch(family, pictures):
    loaded = image_model(family)
    rows = sample_rows(3, "{}.png", "chat")
    shown = [Image.open(pictures / row["image"]) for row in rows]
    alone = [loaded.prompter.encode([row], [shown[i]]) for i, row in enumerate(rows)]
    together = loaded.prompter.encode(rows, shown)
    joined = join(alone, loaded.tokenizer.pad_token_id)
    assert loaded.joins
    assert joined.inputs.keys() == together.inputs.keys()
    for name, value in together.inputs.items():
        torch.testing.assert_close(joined.inputs[name], value, rtol=0, atol=0)
    assert joined.prompts == together.prompts
    assert same(joined, together)
    assert not same(join(alone[:2], loaded.tokenizer.pad_token_id), together)


def test_worker_processes_give_what_one_process_gives_in_order(pictures):
    loaded = image_model("qwen2vl")
    rows = sample_rows(6, "{}.png", "chat")
    (pictures / "4.png").write_bytes(b"no picture")
    here, there = (list(prepared(loaded.prompter, pictures, rows, 2, n)) for n in (0, 2))
    assert [sample.row["sample_id"] for sample in there] == [row["sample_id"] for row in rows]
    assert "4.png can't be read" in there[4].reason
    for ours, theirs in zip(here, there, strict=True):
        assert ours.reason == theirs.reason
        assert (ours.encoded is None) == (theirs.encoded is None)
        if ours.encoded is not None:
            assert same(ours.encoded, theirs.encoded)


def test_a_long_path_of_temporary_files_loses_no_sample(pictures, tmp_path, monkeypatch):
    """Schedulers make long ones; a socket in them has a name of at most 107 bytes."""
    long = tmp_path / ("t" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    loaded = image_model("qwen2vl")
    rows = sample_rows(4, "{}.png", "chat")
    # What is lost is waited for without end.
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("a sample never came"))
    signal.alarm(60)
    try:
        found = list(prepared(loaded.prompter, pictures, rows, 2, workers=2))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    wanted = prepared(loaded.prompter, pictures, rows, 2)
    assert all(same(a.encoded, b.encoded) for a, b in zip(found, wanted, strict=True))


def cut(loaded, rows, **options):
    samples = prepared(loaded.prompter, Path(), rows, 1)
    settings = {"size": 3, "positions": None, "pad_id": loaded.tokenizer.pad_token_id, **options}
    return list(batches(samples, **settings))


def lengths(batch):
    return [sample.encoded.n_tokens[0] for sample in batch.samples]


def test_batches_are_of_like_lengths_and_lose_nobody():
    loaded = text_model("llama")
    found = cut(loaded, sample_rows(17))
    ids = [row["sample_id"] for batch in found for row in batch.rows]
    assert sorted(ids) == sorted(f"s-{index}" for index in range(17))
    assert all(len(batch.samples) <= 3 for batch in found)
    waste = sum(max(lengths(batch)) * len(batch.samples) - sum(lengths(batch)) for batch in found)
    total = sum(sum(lengths(batch)) for batch in found)
    assert waste < 0.1 * total
    in_order = sum(
        max(part) * len(part) - sum(part)
        for part in [
            [len(loaded.tokenizer(WORDS[i % 4])["input_ids"]) for i in range(low, low + 3)]
            for low in range(0, 15, 3)
        ]
    )
    assert waste < in_order


def test_a_budget_of_positions_counts_padding_and_lets_a_long_prompt_go_alone():
    loaded = text_model("llama")
    found = cut(loaded, sample_rows(12), size=8, positions=12)
    for batch in found:
        assert max(lengths(batch)) * len(batch.samples) <= 12 or len(batch.samples) == 1
    assert max(len(batch.samples) for batch in found) > 1


def test_a_model_that_padding_would_change_gets_prompts_of_one_length():
    loaded = text_model("llama")
    found = cut(loaded, sample_rows(12), pads=False)
    assert all(len(set(lengths(batch))) == 1 for batch in found)
    assert max(len(batch.samples) for batch in found) == 3
    assert all(len(batch.samples) == 1 for batch in cut(loaded, sample_rows(5), joins=False))


def test_a_prompt_that_leaves_no_room_for_its_answer_is_rejected():
    prompter = replace(text_model("llama").prompter, longest=8)
    fits, long, _ = prepared(prompter, Path(), sample_rows(3), 4)
    assert fits.reason == ""
    assert long.encoded is None
    assert long.reason.endswith("4 are to follow, the model takes 8.")


def test_halves_are_the_batch():
    loaded = text_model("llama")
    samples = tuple(prepared(loaded.prompter, Path(), sample_rows(5), 1))
    batch = Batch(samples, loaded.tokenizer.pad_token_id)
    left, right = batch.halves()
    assert left.rows + right.rows == batch.rows
    assert len(left.samples) == 2
    whole = encode(loaded, batch.rows)
    torch.testing.assert_close(batch.encoded.inputs["input_ids"], whole.inputs["input_ids"])


def test_what_counts_as_memory_running_out():
    assert memory_ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    assert memory_ran_out(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not memory_ran_out(RuntimeError("shapes differ"))


def test_rejected_samples_pass_through_as_they_are():
    bad = Prepared({"sample_id": "x"}, None, "no picture")
    assert list(batches(iter([bad]), 2, None, 0)) == [bad]
