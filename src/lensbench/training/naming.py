"""First lesson: the vision tower learns to name what lies in each patch, in the model's own words.

The names are read out with the language model's tied embeddings, so the projected patches come to
speak its language: a patch with a red star lies near the embeddings of "red", "红", "star", "星".
Every word's embedding is a random direction of its own, the same in every family, and those of the
names are never changed: what one family's language model has learned of them holds in the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from lensbench.training.optimizer import Optimizer
from lensbench.training.questions import GROUND, N_CLASSES, patch_names

# Standard deviation of an embedding's entries.
WORD_SCALE = 0.1


def word_directions(tokenizer: Any, width: int) -> Tensor:
    """Return a random direction for each token, drawn from its text, [vocabulary, width]."""
    rows = torch.empty(len(tokenizer), width)
    for word, index in tokenizer.get_vocab().items():
        digest = hashlib.sha256(word.encode("utf-8")).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))
        rows[index] = torch.randn(width, generator=generator) * WORD_SCALE
    return rows


def name_targets(tokenizer: Any) -> Tensor:
    """Return for each class the distribution over tokens that names it, [classes, vocabulary]."""
    targets = torch.zeros(N_CLASSES, len(tokenizer))
    for cls in range(N_CLASSES):
        for word in patch_names(cls):
            ids = tokenizer.encode(word)
            if len(ids) != 1:
                raise ValueError(f"The name {word!r} is not one token of the tokenizer.")
            targets[cls, ids[0]] = 1.0
    return targets / targets.sum(dim=1, keepdim=True)


def closest_class(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the class whose names' distribution is nearest, by KL(names ‖ readout)."""
    entropy = torch.special.entr(targets).sum(dim=1)
    return (logits.log_softmax(-1) @ targets.T + entropy).argmax(-1)


def teach_names(
    model: Any,
    tower: nn.Module,
    features: Callable[[dict[str, Tensor]], Tensor],
    classes_of: Tensor,
    pictures: dict[str, Tensor],
    targets: Tensor,
    *,
    steps: int,
    batch: int,
    rate: float,
    generator: torch.Generator,
) -> float:
    """Train the vision tower and projector to name patches.

    Args:
        model: of a family; its language model is left as it is.
        tower: its vision tower.
        features: projected image features of a batch of pictures, [B, patches, hidden].
        classes_of: [N, patches] what lies in each patch, see `questions.patch_class`.
        pictures: what the image processor gives, by name, pictures along the first axis.
        targets: from `name_targets`, [classes, vocabulary].
        steps: optimizer steps.
        batch: pictures a step.
        rate: peak learning rate.
        generator: which pictures come when.

    Returns:
        Share of non-ground patches of the last 50 steps whose best token is one of their names.
    """
    language_model = model.model.language_model
    words = {id(p) for p in language_model.parameters()}
    trained = [p for p in model.parameters() if id(p) not in words]
    optimizer = Optimizer(trained, tower, rate, steps)
    hits: list[float] = []
    progress = tqdm(range(steps), desc="naming patches", unit="step")
    for _ in progress:
        rows = torch.randint(len(classes_of), (batch,), generator=generator)
        states = features({name: value[rows] for name, value in pictures.items()})
        classes = classes_of[rows]
        logits = language_model.norm(states) @ language_model.embed_tokens.weight.T
        wanted = targets[classes]
        losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(0, 1), reduction="none")
        # Ground is most of a picture: without the weight it is all that is learned at first.
        weight = torch.where(classes.flatten() == GROUND, 0.05, 1.0)
        loss = (losses * weight).sum() / weight.sum()
        optimizer.step(loss)
        with torch.no_grad():
            named = classes != GROUND
            hits.append(
                (closest_class(logits[named], targets) == classes[named]).float().mean().item()
            )
        progress.set_postfix(loss=f"{loss.item():.3f}", right=f"{hits[-1]:.3f}")
    return sum(hits[-50:]) / len(hits[-50:])
