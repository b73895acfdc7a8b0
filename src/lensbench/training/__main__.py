"""Retrain one embedded model from its seed: `python -m lensbench.training llava --out FOLDER`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from lensbench.files import atomic_path
from lensbench.models.processors import load_processor
from lensbench.training.answering import teach_answers
from lensbench.training.evaluation import evaluate
from lensbench.training.families import FAMILIES, SIDE, build
from lensbench.training.lessons import draw_pool
from lensbench.training.naming import name_targets, teach_names, word_directions
from lensbench.training.pictures import (
    all_features,
    find_prefix,
    image_features,
    tower,
)

QUESTIONS = 16  # questions drawn for each picture, of which a step takes half
# So that a folder also loads with AutoProcessor where torchvision, which videos need, is installed.
VIDEO_PROCESSORS: dict[str, dict[str, Any]] = {
    "onevision": {
        "video_processor_type": "LlavaOnevisionVideoProcessor",
        "size": {"height": SIDE, "width": SIDE},
    },
    "qwen2vl": {
        "video_processor_type": "Qwen2VLVideoProcessor",
        "patch_size": 4,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE},
    },
}


def _load(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def inherit_vision(model: Any, teacher: Path | None) -> bool:
    """Take over a trained family's vision tower and projector if they are of the same make.

    Returns:
        Whether they were.
    """
    trained = None if teacher is None else _load(teacher)
    if trained is None or type(tower(trained)) is not type(tower(model)):
        return False
    for own, others in zip(vision_parts(model), vision_parts(trained), strict=True):
        own.load_state_dict(others.state_dict())
    return True


def inherit(model: Any, tokenizer: Any, teacher: Path) -> None:
    """Take over the language model of a trained family, word by word and block by block.

    Args:
        model: the family to be trained.
        tokenizer: its tokenizer, whose special tokens may differ from the teacher's.
        teacher: folder of the trained family.
    """
    trained = _load(teacher).model.language_model
    words = load_processor(str(teacher)).tokenizer.get_vocab()
    own = model.model.language_model
    with torch.no_grad():
        for word, index in tokenizer.get_vocab().items():
            if word in words:
                own.embed_tokens.weight[index] = trained.embed_tokens.weight[words[word]]
    own.layers.load_state_dict(trained.layers.state_dict())
    own.norm.load_state_dict(trained.norm.state_dict())


def train(family: str, out: Path, settings: argparse.Namespace) -> None:
    """Train a family and save it to a folder, whole or not at all.

    Args:
        family: a key of `FAMILIES`.
        out: the folder to make.
        settings: the command line's.
    """
    began = time.monotonic()
    model, processor = build(family, settings.seed)
    tokenizer = processor.tokenizer
    embeddings = model.model.language_model.embed_tokens.weight
    with torch.no_grad():
        embeddings.copy_(word_directions(tokenizer, embeddings.shape[1]))
    targets = name_targets(tokenizer)
    generator = torch.Generator().manual_seed(settings.seed)
    prefix, before = find_prefix(model, processor)
    pool = draw_pool(processor, settings.pictures, QUESTIONS, settings.seed, 1, before)

    if not inherit_vision(model, settings.teacher):
        named = teach_names(
            model,
            tower(model),
            lambda pictures: image_features(model, pictures),
            pool.patches,
            pool.pictures,
            targets,
            steps=settings.naming_steps,
            batch=64,
            rate=3e-3,
            generator=generator,
        )
        print(f"{family}: {named:.1%} of the patches with something in them are named right")
    # The shipped weights are bfloat16: what the tower will really say is what must be learned from.
    for part in vision_parts(model):
        part.to(torch.bfloat16).to(torch.float32)
    states = all_features(model, pool.pictures)
    if settings.teacher is not None:
        inherit(model, tokenizer, settings.teacher)

    def keep(step: int) -> None:
        save(model, processor, family, Path(f"{out}.step"))

    learned = teach_answers(
        model,
        prefix,
        states,
        pool,
        tokenizer.eos_token_id,
        targets.sum(0).nonzero()[:, 0],
        steps=settings.steps,
        batch=settings.batch,
        questions=QUESTIONS // 2,
        rate=settings.rate,
        generator=generator,
        checkpoint=keep,
    )
    minutes = (time.monotonic() - began) / 60
    print(
        f"{family}: {learned:.1%} of the last lessons' questions answered right, {minutes:.0f} min"
    )
    save(model, processor, family, out)


def vision_parts(model: Any) -> list[nn.Module]:
    """Return the vision tower, and the projector where it is not part of the tower."""
    projector = getattr(model.model, "multi_modal_projector", None)
    return [tower(model)] if projector is None else [tower(model), projector]


def save(model: Any, processor: Any, family: str, out: Path) -> None:
    """Write the model in bfloat16 and its processor to a folder, whole or not there."""
    with atomic_path(out) as folder:
        folder.mkdir()
        state = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
        # Tied to the input embeddings: one copy is enough.
        state.pop("lm_head.weight")
        model.save_pretrained(folder, state_dict=state)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        for part in (config, config.get("text_config", {}), config.get("vision_config", {})):
            part["dtype"] = "bfloat16"
        _write_json(folder / "config.json", config)
        processor.save_pretrained(folder)
        described = folder / "processor_config.json"
        if family in VIDEO_PROCESSORS:
            content = json.loads(described.read_text(encoding="utf-8"))
            content["video_processor"] = VIDEO_PROCESSORS[family]
            _write_json(described, content)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line, train, measure, and leave the measure beside the weights."""
    parser = argparse.ArgumentParser(prog="python -m lensbench.training", description=__doc__)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--teacher", type=Path, help="trained folder whose language model to start from"
    )
    parser.add_argument("--pictures", type=int, default=20_000, help="pictures drawn to learn from")
    parser.add_argument("--naming-steps", type=int, default=2_500)
    parser.add_argument("--steps", type=int, default=1_400, help="steps of learning to answer")
    parser.add_argument("--batch", type=int, default=32, help="pictures a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    settings = parser.parse_args()
    train(settings.family, settings.out, settings)
    print(json.dumps(evaluate(settings.out, 800), indent=2))


if __name__ == "__main__":
    main()
