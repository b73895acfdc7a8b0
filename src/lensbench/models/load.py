"""A model with its processor, its parts known and its gate passed."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date as calendar
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from lensbench.errors import LensbenchError, ModelError, panics_told, reason_of, sentence_of
from lensbench.limits import limited
from lensbench.models.anatomy import Anatomy, find_anatomy, input_embeddings, text_config
from lensbench.models.batches import join, same
from lensbench.models.pictures import stream_changes
from lensbench.models.placing import ON_ONE_DEVICE, Placing, refuse_offloaded
from lensbench.models.processors import load_processor
from lensbench.models.prompt import DATE, Prompter, encode_probes
from lensbench.models.sizes import check_gguf, check_sizes
from lensbench.models.source import Source, local_folder, parse_source, weight_files, weights_sha256
from lensbench.models.vocabulary import check_numbers

#: Bytes that torch's own allocations on a CPU begin at a multiple of.
_ALIGNED = 64
#: What processors of LLaVA's kind count a picture's positions by; old files lack some of it.
_OF_PICTURES = ("patch_size", "vision_feature_select_strategy", "num_image_tokens")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be looked into.

    Args:
        name: the name it has in tables and figures.
        model: the transformers model, in eval mode.
        processor: its processor; the tokenizer of a text model.
        tokenizer: its tokenizer, padding on the left.
        anatomy: its parts.
        prompter: what turns samples into its inputs.
        task: "image-text" or "text".
        source: where it comes from, as given.
        revision: pinned commit of a hub model, else "".
        weights_sha256: digest of its weights.
        dtype: "float32", "bfloat16" or "float16".
        device: "cpu", "cuda", …
        missing: parameters that no weights file had (and that were made up at random).
        device_map: "auto" if accelerate laid it over the devices, else "".
        quantization: "8bit", "4bit" or "".
        pads: whether a padded batch gives what single samples give; else prompts of one length
            make a batch.
        joins: whether prompts encoded alone can be joined into a batch like the processor's own.
    """

    name: str
    model: Any
    processor: Any
    tokenizer: Any
    anatomy: Anatomy
    prompter: Prompter
    task: str
    source: str
    revision: str
    weights_sha256: str
    dtype: str
    device: str
    missing: tuple[str, ...] = ()
    device_map: str = ""
    quantization: str = ""
    pads: bool = True
    joins: bool = True

    @property
    def n_parameters(self) -> int:
        """Number of parameters, shared ones counted once."""
        return sum(_numel(parameter) for parameter in self.model.parameters())

    @property
    def precision(self) -> str:
        """What its rounding is judged as: a quantized model's is never finer than bfloat16's."""
        return "bfloat16" if self.quantization else self.dtype

    @property
    def end_ids(self) -> frozenset[int]:
        """Token ids that end an answer."""
        found = self.model.generation_config.eos_token_id
        return frozenset([found] if isinstance(found, int) else found or [])


def load_model(
    name: str,
    source: str,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    verify: bool = True,
    device_map: str = "",
    quantization: str = "",
    chat_template: str = "",
    date: str = DATE,
) -> LoadedModel:
    """Load a model, find its parts and have it pass the gate.

    Nothing is fetched: a hub's model must be in the cache.

    Args:
        name: the name it gets.
        source: as in `parse_source`.
        revision: pinned commit of a hub model.
        dtype: "auto" (bfloat16 on CUDA, else float32), "float32", "bfloat16" or "float16".
        device: "auto" (CUDA if there is one), "cpu", "cuda", …
        verify: whether the gate must pass.
        device_map: "auto" to lay it over all GPUs, "" to put it on one device; a device that is
            named takes the whole model.
        quantization: "8bit" or "4bit" (bitsandbytes, on a GPU), "" for none.
        chat_template: how it is asked (Jinja), if its own files don't say.
        date: the day that its chat template takes for today, YEAR-MONTH-DAY.

    Raises:
        ModelError: if it can't be found, loaded or read layer by layer.
        GateError: if a check of the gate fails.
    """
    try:
        calendar.fromisoformat(date)
    except ValueError as error:
        raise ModelError(f'date "{date}" is no day: write YEAR-MONTH-DAY, as {DATE}.') from error
    origin = parse_source(source, revision)
    placing = Placing.checked(device_map, quantization, device)
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    precision = (
        ("bfloat16" if where.startswith("cuda") else "float32") if dtype == "auto" else dtype
    )
    if precision not in DTYPES:
        raise ModelError(f'dtype "{dtype}" is unknown: use auto, {", ".join(DTYPES)}.')
    if precision == "float32":
        # Else cuDNN's convolutions round their factors to 11 bits, as products never do here.
        torch.backends.cudnn.allow_tf32 = False
    # Before anything is built: there must be some that can be read safely, and of this model.
    files = weight_files(origin)
    if origin.kind == "gguf":
        check_gguf(files[0])
    else:
        check_sizes(local_folder(origin), files)
    try:
        with panics_told(str(origin)), _bounded(str(origin), files, where):
            task, model, processor, missing = _load(
                origin,
                DTYPES[precision],
                placing.options(DTYPES[precision], where),
                chat_template,
            )
        if placing.moves:
            model = model.to(where)
        else:
            refuse_offloaded(str(origin), model)
        _align(model)
    except LensbenchError:
        raise
    # transformers raises anything from KeyError to its own classes for a folder that isn't right.
    except Exception as error:
        reason = reason_of(error)
        if "ignore_mismatched_sizes" in str(error):
            # Not transformers' own advice, which is to have such weights made up at random.
            reason = "its weights have other shapes than its configuration says, so copy it anew"
        raise ModelError(f"{origin} can't be loaded: {reason}") from error
    try:
        with panics_told(str(origin)):
            loaded = prepare(
                name, model, processor, task, origin, precision, missing, placing, date
            )
            if verify:
                from lensbench.models.gate import run_gate

                run_gate(loaded).require()
    except LensbenchError:
        raise
    # Settings that no loader looks at first show when a prompt is encoded or a pass is made.
    except Exception as error:
        if sentence_of(error) is not None or isinstance(error, torch.OutOfMemoryError):
            raise
        raise ModelError(f"{origin} can't be used: {reason_of(error)}") from error
    return loaded


@contextmanager
def _bounded(name: str, files: Sequence[Path], where: str) -> Iterator[None]:
    """Limit the time that loading takes and, in this machine's memory, its size, by the weights'.

    A GPU's driver takes address space as it likes.
    """
    size = sum(file.stat().st_size for file in files)
    # Half of it is read as it is and held as float32; each thread has a stack and a heap.
    memory = 6 * size + 2**33 + (os.cpu_count() or 1) * 2**28 if where == "cpu" else None
    with limited(f"Loading {name}", 300 + size / 1e7, memory):
        yield


def prepare(
    name: str,
    model: Any,
    processor: Any,
    task: str,
    source: Source | None = None,
    dtype: str = "float32",
    missing: tuple[str, ...] = (),
    placing: Placing = ON_ONE_DEVICE,
    date: str = DATE,
) -> LoadedModel:
    """Make a model that is in memory ready to be looked into.

    Args:
        name: the name it gets.
        model: a transformers model, on its device.
        processor: its processor, or tokenizer if it is a text model.
        task: "image-text" or "text".
        source: where it comes from, if from files.
        dtype: the name of its floating type.
        missing: parameters that no file had.
        placing: how it lies on its devices, and how its weights are held.
        date: the day that its chat template takes for today, YEAR-MONTH-DAY.

    Raises:
        ModelError: if it can't be read layer by layer.
    """
    for key in _OF_PICTURES if task == "image-text" else ():
        if getattr(processor, key, "") is None:
            raise ModelError(
                f"The processor of {name} has no {key}, so that it can't count a picture's "
                "positions: add it to processor_config.json, as the model's config.json has it."
            )
    tokenizer = processor.tokenizer if task == "image-text" else processor
    check_numbers(tokenizer, name)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.eval().requires_grad_(False)
    own = model.generation_config
    # Nothing but the tokens that end an answer: a model's own penalties and sampling would make
    # what it writes differ from what its last layer says.
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id,
        eos_token_id=_end_ids(own, model.config, text_config(model), tokenizer),
        pad_token_id=tokenizer.pad_token_id if own.pad_token_id is None else own.pad_token_id,
    )
    prompter = Prompter(
        name,
        processor,
        tokenizer,
        task,
        image_token(model, processor),
        longest_prompt(model),
        "token_type_ids" in inspect.signature(model.forward).parameters,
        date,
        embedding_rows(model),
    )
    probes = encode_probes(prompter).to(model.device, model.dtype)
    single = probes.singles[0].inputs
    # With a picture: blocks that only look at pictures are left out of a prompt without one.
    pictured = task == "image-text"
    anatomy = find_anatomy(model, single if pictured else None, prompter.image_token_id)
    if pictured:
        changed = stream_changes(model, anatomy.blocks[0], single, probes.others[0].inputs)
        if not bool(changed.any()):
            # Pictures come in by cross-attention: no position of the stream holds one.
            anatomy = replace(anatomy, image_token_id=None)
            prompter = replace(prompter, image_token_id=None)
            probes = encode_probes(prompter).to(model.device, model.dtype)
    loaded = LoadedModel(
        name=name,
        model=model,
        processor=processor,
        tokenizer=tokenizer,
        anatomy=anatomy,
        prompter=prompter,
        task=task,
        source="memory" if source is None else str(source),
        revision=(source.revision if source is not None else None) or "",
        weights_sha256="" if source is None else weights_sha256(source),
        dtype=dtype,
        device=str(model.device),
        missing=missing,
        device_map=placing.device_map,
        quantization=placing.quantization,
        joins=same(join(probes.singles, tokenizer.pad_token_id), probes.batch),
    )
    from lensbench.models.gate_runs import pads

    return pads(loaded, probes.batch, probes.singles)


def _end_ids(*places: Any) -> list[int] | None:
    """Return the tokens that end an answer by any of the places that say; None if none does."""
    found: set[int] = set()
    for place in places:
        ids = getattr(place, "eos_token_id", None)
        found.update([ids] if isinstance(ids, int) else ids or [])
    return sorted(found) or None


def image_token(model: Any, processor: Any) -> int | None:
    """Return the token that stands at image positions; None if neither model nor processor say."""
    for place in (model.config, processor):
        for key in ("image_token_id", "image_token_index"):
            found = getattr(place, key, None)
            if isinstance(found, int):
                return found
    return None


def longest_prompt(model: Any) -> int | None:
    """Return how many positions a model takes at most; None if its configuration has no limit."""
    found = getattr(text_config(model), "max_position_embeddings", None)
    return found if isinstance(found, int) else None


def embedding_rows(model: Any) -> int | None:
    """Return how many token ids a model has input embeddings for; None if it doesn't say."""
    embeddings = input_embeddings(model)
    if not isinstance(embeddings, nn.Embedding):
        return None
    # Idefics keeps the rows of its own tokens apart.
    return embeddings.num_embeddings + (getattr(embeddings, "num_additional_embeddings", 0) or 0)


def _load(
    source: Source, dtype: torch.dtype, placing: Mapping[str, Any], template: str
) -> tuple[str, Any, Any, tuple[str, ...]]:
    """Return (task, model, processor, names of missing parameters)."""
    folder = str(local_folder(source))
    # The attention that the model itself prefers: SDPA where it can.
    options: dict[str, Any] = {"dtype": dtype}
    options |= {"trust_remote_code": False, "output_loading_info": True, **placing}
    if source.kind == "gguf":
        extra: dict[str, Any] = {"gguf_file": Path(source.value).name}
        kind, options = "", options | extra
    else:
        extra = {"trust_remote_code": False}
        kind = AutoConfig.from_pretrained(folder, **extra).model_type
        options |= {"use_safetensors": True, "local_files_only": True}
    auto: Any
    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        task, auto, processor = "image-text", AutoModelForImageTextToText, load_processor(folder)
        if template and not getattr(processor, "chat_template", None):
            processor.chat_template = template
        # Asked in another form than it was trained on, a model gives numbers that mean nothing.
        if not getattr(processor, "chat_template", None):
            raise ModelError(
                f"{source} has no chat template: add its chat_template.jinja, "
                "or chat_template to the params of its rule."
            )
    elif source.kind == "gguf" or kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        task, auto = "text", AutoModelForCausalLM
        processor = AutoTokenizer.from_pretrained(folder, **extra)
    else:
        raise ModelError(
            f'{source} is of type "{kind}", which answers neither text nor pictures with text: use '
            "a causal language model or an image-text-to-text model."
        )
    model, info = auto.from_pretrained(folder, **options)
    return task, model, processor, tuple(sorted(info["missing_keys"]))


def _align(model: Any) -> None:
    """Put the CPU's weights where torch itself allocates, whatever the file they came from.

    Products on the CPU add up in an order that depends on where in memory a matrix begins. A file's
    header decides that for weights that are mapped, and for others chance does, so that one model
    would give other bits packed, unpacked or after another start.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % _ALIGNED:
            tensor.data = tensor.data.clone()


def _numel(parameter: Any) -> int:
    """Return the number of a parameter's elements; in 4 bits, two of them make one that is held."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else math.prod(state.shape))
