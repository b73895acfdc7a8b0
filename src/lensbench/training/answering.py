"""Second lesson: the language model learns to answer, the taught vision tower held still.

A picture's questions share its image tokens and are otherwise blind to each other, each at the
positions it would have alone: one pass over the picture serves them all, and every question is
learned as the first and only one, as it will be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lensbench.training.lessons import IGNORE, Pool
from lensbench.training.optimizer import Optimizer


@dataclass(frozen=True)
class Prefix:
    """What precedes every question: its embeddings' places for the picture, and its positions.

    Attributes:
        ids: [P] token ids, image placeholders included.
        image: [P] which of them are image tokens.
        positions: [P] or [3, P] position ids.
        next_position: the position of the first token of a question.
    """

    ids: Tensor
    image: Tensor
    positions: Tensor
    next_position: int


def packed_mask(prefix: int, questions: int, length: int) -> Tensor:
    """Return who may see whom, [1, 1, T, T], True where the column is visible from the row."""
    total = prefix + questions * length
    block = torch.cat(
        [
            torch.zeros(prefix, dtype=torch.long),
            torch.arange(questions).repeat_interleave(length) + 1,
        ]
    )
    causal = torch.ones(total, total, dtype=torch.bool).tril()
    return (causal & ((block[None] == 0) | (block[None] == block[:, None])))[None, None]


def packed_positions(prefix: Prefix, questions: int, length: int) -> Tensor:
    """Return position ids, [1, T] or [3, 1, T]: each question starts right after the prefix."""
    asked = (prefix.next_position + torch.arange(length)).repeat(questions)
    if prefix.positions.dim() == 2:
        return torch.cat([prefix.positions, asked.expand(3, -1)], dim=1)[:, None]
    return torch.cat([prefix.positions, asked])[None]


def answer_loss(
    model: Any, prefix: Prefix, states: Tensor, ids: Tensor, labels: Tensor, end_id: int
) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch and which answers were right.

    Args:
        model: of a family.
        prefix: what precedes every question.
        states: image features, [B, image tokens, hidden].
        ids: [B, Q, T] question and answer tokens.
        labels: [B, Q, T], see `lessons.Pool`.
        end_id: the token that ends an answer.

    Returns:
        The mean loss, and a bool for each answer, in the order of `labels`.
    """
    language_model = model.model.language_model
    batch, questions, length = ids.shape
    embed = language_model.embed_tokens
    # Written so that the picture's embeddings take no gradient: the tower is held still.
    before = embed(prefix.ids).expand(batch, -1, -1).clone()
    before[:, prefix.image] = states.to(before.dtype)
    inputs = torch.cat([before, embed(ids.flatten(1))], dim=1)
    hidden = language_model(
        inputs_embeds=inputs,
        attention_mask=packed_mask(len(prefix.ids), questions, length),
        position_ids=packed_positions(prefix, questions, length),
        use_cache=False,
    ).last_hidden_state[:, len(prefix.ids) :]
    wanted = labels.flatten(1)
    asked = wanted != IGNORE
    logits = (hidden[asked] @ embed.weight.T).float()
    targets = wanted[asked]
    losses = F.cross_entropy(logits, targets, reduction="none")
    is_end = targets == end_id
    loss = losses[~is_end].mean() + 0.1 * losses[is_end].mean()
    return loss, (logits.argmax(-1) == targets)[~is_end]


def teach_answers(
    model: Any,
    prefix: Prefix,
    states: Tensor,
    pool: Pool,
    end_id: int,
    named: Tensor,
    *,
    steps: int,
    batch: int,
    questions: int,
    rate: float,
    generator: torch.Generator,
    checkpoint: Callable[[int], Any] = lambda step: None,
) -> float:
    """Train the language model to answer the pool's questions about its pictures.

    Args:
        model: of a family, its vision tower taught.
        prefix: what precedes every question.
        states: image features of the whole pool, [N, image tokens, hidden].
        pool: lessons.
        end_id: the token that ends an answer.
        named: ids of the tokens that name patches; their embeddings stay as they are.
        steps: optimizer steps.
        batch: pictures a step.
        questions: questions a picture and step.
        rate: peak learning rate.
        generator: which pictures and questions come when.
        checkpoint: called with the step every 500 steps.

    Returns:
        Share of right answers in the last 100 steps.
    """
    language_model = model.model.language_model
    optimizer = Optimizer(language_model.parameters(), language_model.layers, rate, steps)
    held = language_model.embed_tokens.weight.register_hook(
        lambda gradient: gradient.index_fill(0, named, 0.0)
    )
    hits: list[float] = []
    progress = tqdm(range(steps), desc="learning to answer", unit="step", mininterval=5)
    for step in progress:
        rows = torch.randint(len(pool), (batch,), generator=generator)
        asked = torch.rand(batch, pool.ids.shape[1], generator=generator).argsort(1)[:, :questions]
        ids, labels = (x[rows[:, None], asked] for x in (pool.ids, pool.labels))
        loss, right = answer_loss(model, prefix, states[rows], ids, labels, end_id)
        optimizer.step(loss)
        hits.append(right.float().mean().item())
        recent = hits[-100:]
        progress.set_postfix(loss=f"{loss.item():.3f}", right=f"{sum(recent) / len(recent):.3f}")
        if step % 500 == 499:
            checkpoint(step + 1)
    held.remove()
    return sum(hits[-100:]) / len(hits[-100:])
