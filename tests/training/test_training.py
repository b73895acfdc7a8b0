"""The training's shortcuts give what the model itself gives, asked one question at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lensbench.datasets.drawing import SIZE
from lensbench.training.__main__ import inherit_vision, save
from lensbench.training.answering import answer_loss, packed_mask
from lensbench.training.families import FAMILIES, GRID, build
from lensbench.training.lessons import chat, draw_pool
from lensbench.training.naming import closest_class, name_targets
from lensbench.training.pictures import all_features, find_prefix
from lensbench.training.questions import KINDS, lesson, patch_names
from lensbench.training.words import NUMBERS_EN, build_tokenizer, corpus


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_packed_questions_are_answered_as_if_each_stood_alone(family: str) -> None:
    model, processor = build(family, seed=3)
    model.eval()
    prefix, before = find_prefix(model, processor)
    pool = draw_pool(processor, 2, 5, seed=1, stage=9, prefix_text=before)
    states = all_features(model, pool.pictures)
    end = processor.tokenizer.eos_token_id
    packed, _ = answer_loss(model, prefix, states, pool.ids, pool.labels, end)

    # The reference: the picture through the processor and the question through the model's own
    # forward pass, one at a time.
    answers, ends = [], []
    for index in range(2):
        drawn = lesson(np.random.default_rng([7, 1, 9, index]), 5)
        for question, answer in drawn.questions:
            text = chat(processor, question) + answer
            batch = processor(text=[text], images=[drawn.picture], return_tensors="pt")
            with torch.no_grad():
                logits = model(**batch).logits[0].log_softmax(-1)
            answers.append(-logits[-2, batch["input_ids"][0, -1]].item())
            ends.append(-logits[-1, end].item())
    expected = sum(answers) / len(answers) + 0.1 * sum(ends) / len(ends)
    assert packed.item() == pytest.approx(expected, abs=2e-4)


def test_the_mask_hides_questions_from_each_other() -> None:
    # Prefix of 2, two questions of 2 tokens; rows see columns, worked out by hand.
    wanted = [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]
    assert packed_mask(2, 2, 2)[0, 0].int().tolist() == wanted


def test_every_taught_word_is_one_token_and_any_text_survives() -> None:
    tokenizer = build_tokenizer(("<image>",))
    for word in corpus():
        if word != "\n":
            assert len(tokenizer.encode(word)) == 1, word
    for text in ("How many red stars are there?", "naïve 🙂 Ωμέγα", "三红星"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(NUMBERS_EN[3]) != tokenizer.encode(f" {NUMBERS_EN[3]}")


def test_the_tokenizer_is_the_same_every_time() -> None:
    first, second = (build_tokenizer(("<image>",)) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def test_onevision_sees_with_llava_s_eyes(tmp_path: Path) -> None:
    teacher, its_processor = build("llava", seed=5)
    save(teacher, its_processor, "llava", tmp_path / "teacher")
    pupil, processor = build("onevision", seed=6)
    assert inherit_vision(pupil, tmp_path / "teacher")
    assert not inherit_vision(build("qwen2vl", seed=6)[0], tmp_path / "teacher")
    picture = lesson(np.random.default_rng(4), 1, plain=0.0).picture
    # Weights are saved in bfloat16, so the teacher is asked as it was saved.
    teacher.to(torch.bfloat16).to(torch.float32)
    whole = all_features(
        teacher, dict(its_processor.image_processor([picture], return_tensors="pt"))
    )
    both = all_features(pupil, dict(processor.image_processor([picture], return_tensors="pt")))[0]
    tile = both[GRID * GRID :].view(GRID, GRID + 1, -1)
    # The whole picture, then the one tile, which is the same picture, a newline ending each row.
    torch.testing.assert_close(both[: GRID * GRID], whole[0])
    torch.testing.assert_close(tile[:, :-1].reshape(GRID * GRID, -1), whole[0])
    assert (tile[:, -1] == tile[0, -1]).all()


def test_nearest_names_tell_a_color_from_a_thing_of_that_color() -> None:
    tokenizer = build_tokenizer(("<image>",))
    targets = name_targets(tokenizer)
    # A readout that is exactly a class's names is that class, for every class.
    assert closest_class((targets + 1e-9).log(), targets).tolist() == list(range(len(targets)))


def test_lessons_tell_the_truth_about_their_patches_and_counts() -> None:
    for index in range(40):
        drawn = lesson(np.random.default_rng([1, index]), 12, plain=0.0)
        pixels = np.asarray(drawn.picture)
        named = [patch_names(int(cls)) for cls in drawn.patches if cls]
        cell = SIZE // GRID
        for place, cls in enumerate(drawn.patches):
            if cls:
                row, column = divmod(place, GRID)
                patch = pixels[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
                assert len(np.unique(patch.reshape(-1, 3), axis=0)) > 1
        for question, answer in drawn.questions:
            if question.startswith("How many") and question.endswith("in digits."):
                asked = question.removeprefix("How many ").split(" are ")[0].split()
                things = sum(all(f" {word}" in names for word in asked) for names in named)
                assert things == int(answer), (question, answer)


def test_kinds_have_names_of_their_own() -> None:
    names = [frozenset(patch_names(cls)) for cls in range(1 + 9 * (1 + len(KINDS)))]
    assert len(set(names)) == len(names)
