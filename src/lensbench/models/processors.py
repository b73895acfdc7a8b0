"""Processors for pictures and text, also on machines without torchvision.

The processors of some families (LLaVA-OneVision, Qwen2-VL …) insist on a video half, which
transformers can only build with torchvision. lensbench shows models pictures, never videos, and
transformers has a Pillow image processor for every family: where the video half can't be built,
the processor's own class is used without it. Nothing that touches a picture or a prompt changes.
"""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, processing_utils
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.utils import is_torchvision_available

_VIDEO = "video_processor"


def without_video(processor_class: type) -> type:
    """Return a processor class that is `processor_class` without its video half.

    transformers reads off the signature of `__init__` which parts a processor has, so a subclass
    whose signature lacks the video processor has none; the subclass keeps the name, so that
    `save_pretrained` writes the real class.

    Args:
        processor_class: a `transformers.ProcessorMixin` class.

    Returns:
        The class itself if it has no video half, else the subclass.
    """
    signature = inspect.signature(processor_class)
    if _VIDEO not in signature.parameters:
        return processor_class
    kept = [p for name, p in signature.parameters.items() if name != _VIDEO]
    names = [p.name for p in kept if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    required = signature.parameters[_VIDEO].default is inspect.Parameter.empty
    video = {_VIDEO: None} if required else {}

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        super(made, self).__init__(**dict(zip(names, args, strict=False)), **video, **kwargs)

    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    shown = signature.replace(parameters=[itself, *kept], return_annotation=None)
    initialize.__signature__ = shown  # type: ignore[attr-defined]
    body: dict[str, Any] = {"__init__": initialize, "__module__": processor_class.__module__}
    if required:
        # SmolVLM's asks for it and reads two numbers off it for any chat, with a video or without.
        body[_VIDEO] = SimpleNamespace(num_frames=None, fps=None)
    made: Any = type(processor_class.__name__, (processor_class,), body)
    return made


def load_processor(folder: str, **options: Any) -> Any:
    """Load the processor of an image-text model with `AutoProcessor`, or without its video half.

    Args:
        folder: a folder written by `save_pretrained`, or the name of a model on the hub.
        options: passed on to `from_pretrained` (`revision`, `local_files_only` …).

    Returns:
        The model's own processor.
    """
    if is_torchvision_available():
        return AutoProcessor.from_pretrained(folder, trust_remote_code=False, **options)
    config, _ = processing_utils.ProcessorMixin.get_processor_dict(folder, **options)
    named = processor_class_from_name(config.get("processor_class", ""))
    if named is None or without_video(named) is named:
        return AutoProcessor.from_pretrained(folder, trust_remote_code=False, **options)
    pictures_only = without_video(named)
    accepted = set(inspect.signature(pictures_only).parameters)
    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(folder, **options),
        "tokenizer": AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options),
    }
    settings = {key: value for key, value in config.items() if key in accepted and key not in parts}
    return pictures_only(**parts, **settings)
