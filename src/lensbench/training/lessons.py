"""Lessons as tensors: pictures through the family's own processor, questions as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lensbench.training.questions import Lesson, lesson

IGNORE = -100
# The first seed word of everything drawn for training: datasets use [seed, index], never three.
TRAINING = 7


@dataclass(frozen=True)
class Pool:
    """Lessons drawn once: processed pictures, patch classes and tokenized questions.

    Attributes:
        pictures: what the image processor gives, by name, pictures along the first axis.
        patches: [N, patches] class of each patch, see `questions.patch_class`.
        ids: [N, Q, T] tokens of each question and answer, padded on the right.
        labels: [N, Q, T] the next token where it is the answer or its end, else −100.
    """

    pictures: dict[str, torch.Tensor]
    patches: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        """Return the number of lessons."""
        return len(self.patches)


def chat(processor: Any, question: str) -> str:
    """Return the templated prompt of a picture and a question, up to where the answer begins."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    return text


def _encode_questions(
    processor: Any, lessons: list[Lesson], cut: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and labels [N, Q, T]; `cut` characters before the question are left out."""
    tokenizer = processor.tokenizer
    prompts: dict[str, list[int]] = {}
    encoded = []
    for item in lessons:
        for question, answer in item.questions:
            if question not in prompts:
                prompts[question] = tokenizer.encode(chat(processor, question)[cut:])
            answer_ids = tokenizer.encode(answer)
            if len(answer_ids) != 1:
                raise ValueError(f"The answer {answer!r} is not one token of the tokenizer.")
            encoded.append((prompts[question], answer_ids[0]))
    longest = max(len(prompt) for prompt, _ in encoded) + 1
    ids = torch.full((len(encoded), longest), tokenizer.pad_token_id)
    labels = torch.full_like(ids, IGNORE)
    for row, (prompt, answer_id) in enumerate(encoded):
        n = len(prompt)
        ids[row, :n] = torch.tensor(prompt)
        ids[row, n] = answer_id
        labels[row, n - 1] = answer_id
        labels[row, n] = tokenizer.eos_token_id
    shape = (len(lessons), -1, longest)
    return ids.view(shape), labels.view(shape)


def draw_pool(
    processor: Any, n: int, n_questions: int, seed: int, stage: int, prefix_text: str
) -> Pool:
    """Draw lessons and bring them into the model's terms.

    Args:
        processor: of the family.
        n: how many pictures.
        n_questions: questions per picture.
        seed: of the whole training.
        stage: which pool of the training this is; each has its own chance.
        prefix_text: the templated text before the question, the same for all.
    """
    lessons, batches = [], []
    for start in tqdm(range(0, n, 256), desc=f"drawing pool {stage}", unit="batch"):
        part = [
            lesson(np.random.default_rng([TRAINING, seed, stage, index]), n_questions)
            for index in range(start, min(start + 256, n))
        ]
        batches.append(processor.image_processor([x.picture for x in part], return_tensors="pt"))
        lessons += [Lesson(None, x.patches, x.questions) for x in part]  # type: ignore[arg-type]
    pictures = {
        name: torch.cat([torch.as_tensor(batch[name]) for batch in batches]) for name in batches[0]
    }
    if "image_grid_thw" in pictures:
        # Qwen2-VL strings all patches together; every picture here has as many.
        pictures["pixel_values"] = pictures["pixel_values"].unflatten(0, (n, -1))
    ids, labels = _encode_questions(processor, lessons, len(prefix_text))
    patches = torch.from_numpy(np.stack([x.patches for x in lessons]))
    return Pool(pictures, patches, ids, labels)
