"""A lens on one model: ask it something, and see layer by layer what it was about to say."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from lensbench.errors import DataError, LensbenchError, ModelError, reason_of
from lensbench.lens.generate import Traced, trace_batch
from lensbench.lens.parts import PARTS, read_parts
from lensbench.lens.patches import Patches, trace_positions
from lensbench.lens.positions import read_prompt, read_states
from lensbench.lens.rows import HEAD_COLUMNS
from lensbench.look_frames import TokenTexts, head_frame, part_frame, top_frame
from lensbench.looked import Look
from lensbench.models.gate import GateReport, run_gate
from lensbench.models.hub import fetch
from lensbench.models.known import find_model
from lensbench.models.load import DTYPES, LoadedModel, load_model, prepare
from lensbench.models.prompt import Encoded, encode
from lensbench.models.views import Layout
from lensbench.models.vocabulary import token_texts
from lensbench.request import Picture, check_request, read_picture


class Lens:
    """A model that can be asked, and whose layers can be read.

    A model that is in memory is put into eval mode without gradients and its generation settings
    are replaced by greedy ones; its tokenizer pads on the left from then on.

    Args:
        model: a transformers model for causal language modelling or image-text-to-text, or what
            `load_model` gives.
        processor: its processor; its tokenizer if it takes text only.
        name: what it is called; its class by default.
        verify: whether the gate must pass before anything is read.

    Raises:
        ModelError: if it is no such model or can't be read layer by layer.
        GateError: if a check of the gate fails.
    """

    def __init__(
        self, model: Any, processor: Any = None, name: str | None = None, verify: bool = True
    ) -> None:
        self._loaded = (
            model if isinstance(model, LoadedModel) else _prepared(model, processor, name)
        )
        if verify:
            self.check().require()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        revision: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        verify: bool = True,
    ) -> Lens:
        """Load a model by its name.

        Args:
            source: a known model's name (`lensbench models` lists them), a folder, a .gguf file, a
                hub repository ORG/NAME, or "kind:value" as `parse_source` takes it.
            revision: branch, tag or commit of a hub repository; `Lens.revision` says which commit
                it was.
            dtype: "auto" (bfloat16 on CUDA, else float32), "float32", "bfloat16" or "float16".
            device: "auto" (CUDA if there is one), "cpu", "cuda", …
            verify: whether the gate must pass before anything is read.

        Raises:
            ModelError: if it can't be found, loaded or read layer by layer.
            GateError: if a check of the gate fails.
        """
        name, origin = find_model(str(source), revision)
        if origin.kind == "hub":
            fetch(origin.value, str(origin.revision))
        loaded = load_model(name, str(origin), origin.revision, dtype, device, verify)
        return cls(loaded, verify=False)

    @property
    def loaded(self) -> LoadedModel:
        """The model with its anatomy, for what a lens has no method for."""
        return self._loaded

    @property
    def name(self) -> str:
        """The model's name."""
        return self._loaded.name

    @property
    def source(self) -> str:
        """Where the model comes from; "memory" if it was given."""
        return self._loaded.source

    @property
    def revision(self) -> str:
        """The commit that a hub's model was taken from, else ""."""
        return self._loaded.revision

    @property
    def task(self) -> str:
        """What the model takes: "image-text" or "text"."""
        return self._loaded.task

    @property
    def n_layers(self) -> int:
        """Number of blocks L; what is read are layers 0 to L."""
        return self._loaded.anatomy.n_layers

    def check(self) -> GateReport:
        """Run every check of the gate and return the report."""
        return run_gate(self._loaded)

    def __repr__(self) -> str:
        loaded = self._loaded
        commit = f" @ {loaded.revision}" if loaded.revision else ""
        return (
            f"<Lens {loaded.name} ({loaded.source}{commit}): {self.n_layers} layers, "
            f"{loaded.task}, {loaded.dtype} on {loaded.device}>"
        )

    def __call__(
        self,
        text: str,
        image: Picture | None = None,
        max_new_tokens: int = 1,
        k: int = 10,
        lens: str = "normed",
        style: str = "chat",
        positions: str = "answer",
        parts: bool = False,
    ) -> Look:
        """Ask the model something and read every layer while it answers, greedily.

        Args:
            text: the words.
            image: the picture they are about: a path, bytes of a file or a PIL image.
            max_new_tokens: tokens of the answer at most.
            k: how many top tokens are kept of each layer.
            lens: "normed" (the final norm at every layer) or "raw" (at none but the last).
            style: "chat" (in the model's chat template, if it has one) or "plain".
            positions: what `to_frame`, `plot` and the table show: each step of the "answer", each
                position of the "prompt", or each "image" position.
            parts: whether attention and MLP of each block are read out by themselves too.

        Raises:
            DataError: if text or picture can't be read by this model.
            LensbenchError: if an argument is out of range.
        """
        check_request(text, max_new_tokens, k, lens, style, positions)
        loaded = self._loaded
        picture = self._picture(image, positions)
        encoded = self._encoded(text, picture, style)
        loaded.prompter.check_length(encoded, max_new_tokens)
        k = min(k, loaded.anatomy.vocab_size)
        patches: list[Patches] = []
        if positions == "image":
            self._require_positions(encoded)
            traced, patches = trace_positions(
                loaded, encoded, encoded.image, max_new_tokens, k, lens
            )
        else:
            traced = trace_batch(loaded, encoded, max_new_tokens)
        ids = traced.ids[0]
        prompt_ids = encoded.inputs["input_ids"][0, int(encoded.first[0]) :].tolist()
        return Look(
            model=self.name,
            source=self.source,
            revision=self.revision,
            lens=lens,
            positions=positions,
            prompt=encoded.prompts[0],
            prompt_tokens=tuple(self._texts.of(prompt_ids)),
            generated=loaded.tokenizer.decode(ids, skip_special_tokens=True),
            tokens=tuple(self._texts.of(ids)),
            layers=tuple(range(self.n_layers + 1)),
            picture=picture,
            answer=self._answer(traced, len(prompt_ids), k, lens),
            heads=self._heads(traced),
            prompt_readout=self._prompt(encoded, k, lens) if positions == "prompt" else None,
            patches=self._patches(patches[0], encoded.layouts[0]) if patches else None,
            parts=self._parts(encoded, k, lens) if parts else None,
        )

    @cached_property
    def _texts(self) -> TokenTexts:
        return TokenTexts(token_texts(self._loaded.tokenizer, self._loaded.anatomy.vocab_size)[0])

    def _picture(self, image: Picture | None, positions: str) -> Image.Image | None:
        if image is None:
            if positions == "image":
                raise DataError(
                    "There are no image positions without a picture: give one, or "
                    'positions="prompt".'
                )
            return None
        if self.task != "image-text":
            raise DataError(f"{self.name} takes text only: leave the picture out.")
        return read_picture(image)

    def _require_positions(self, encoded: Encoded) -> None:
        if not any(encoded.n_image_tokens):
            raise DataError(
                f"{self.name} has no image positions, for pictures enter it by cross-attention: "
                'use positions="answer" or "prompt".'
            )

    def _encoded(self, text: str, picture: Image.Image | None, style: str) -> Encoded:
        row = {"prompt": text, "style": style, "image": None if picture is None else "picture"}
        try:
            return encode(self._loaded, [row], [] if picture is None else [picture])
        except LensbenchError:
            raise
        # Processors raise anything for pictures they can't take (a strip of 1 × 1000 pixels …).
        except Exception as error:
            reason = reason_of(error)
            raise DataError(f"The processor of {self.name} can't take this: {reason}") from error

    def _answer(self, traced: Traced, n_tokens: int, k: int, lens: str) -> pd.DataFrame:
        n = len(traced.ids[0])
        found = read_states(self._loaded, traced.residuals[0, :n], k, lens)
        final = _numpy(found.final_id)
        return top_frame(
            _numpy(found.top_id),
            _numpy(found.top_logprob),
            self._texts,
            {"step": range(n), "position": range(n_tokens - 1, n_tokens - 1 + n)},
            {
                "entropy_nats": _numpy(found.entropy_nats),
                "kl_to_final_nats": _numpy(found.kl_to_final_nats),
                "js_to_final_nats": _numpy(found.js_to_final_nats),
                "final_id": final,
                "final_token": self._texts.of(final),
                "final_rank": _numpy(found.final_rank),
                "final_logprob": _numpy(found.final_logprob),
            },
        )

    def _heads(self, traced: Traced) -> pd.DataFrame:
        n = len(traced.ids[0])
        return head_frame(
            _numpy(traced.heads[0, :n]), range(n), list(traced.head_layers), HEAD_COLUMNS
        )

    def _prompt(self, encoded: Encoded, k: int, lens: str) -> pd.DataFrame:
        found = read_prompt(self._loaded, encoded, k, lens)[0]
        ids, top = _numpy(found.ids), _numpy(found.top_id).swapaxes(0, 1)
        final = top[:, -1:, 0].repeat(top.shape[1], axis=1)
        return top_frame(
            top,
            _numpy(found.top_logprob).swapaxes(0, 1),
            self._texts,
            {
                "position": range(len(ids)),
                "prompt_token": self._texts.of(ids),
                "is_image": _numpy(found.image),
            },
            {
                "entropy_nats": _numpy(found.entropy_nats).T,
                "kl_to_final_nats": _numpy(found.kl_to_final_nats).T,
                "final_id": final,
                "final_token": self._texts.of(final),
                "final_rank": _numpy(found.final_rank).T,
            },
        )

    def _patches(self, found: Patches, layout: Layout) -> pd.DataFrame:
        places = _numpy(found.positions)
        names = [None if at < 0 else layout.views[at].name for at in layout.view]
        rows, columns = (
            pd.array([None if at < 0 else at for at in values.tolist()], dtype="Int64")
            for values in (layout.row, layout.col)
        )
        return top_frame(
            _numpy(found.top_id).swapaxes(0, 1),
            _numpy(found.top_logprob).swapaxes(0, 1),
            self._texts,
            {
                "position": places,
                "view": names,
                "row": rows,
                "col": columns,
            },
            {"entropy_nats": _numpy(found.entropy_nats).T},
        )

    def _parts(self, encoded: Encoded, k: int, lens: str) -> pd.DataFrame:
        found = read_parts(self._loaded, encoded, k, lens)[0]
        return part_frame(
            (_numpy(found.top_id), _numpy(found.top_logprob)),
            (_numpy(found.cumulated_top_id), _numpy(found.cumulated_top_logprob)),
            _numpy(found.norm),
            PARTS,
            self._texts,
        )


def _prepared(model: Any, processor: Any, name: str | None) -> LoadedModel:
    """Return a model in memory, ready to be looked into."""
    if isinstance(model, str | Path):
        raise ModelError(f'A model is loaded by its name with Lens.from_pretrained("{model}").')
    kind = type(model).__name__
    if not all(hasattr(model, part) for part in ("config", "generate", "get_output_embeddings")):
        raise ModelError(f"Lens takes a transformers model that generates text, not {kind}.")
    pictures = getattr(model.config, "model_type", "") in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    wanted = "processor (AutoProcessor)" if pictures else "tokenizer (AutoTokenizer)"
    if processor is None:
        raise ModelError(f"Lens needs {kind} with its {wanted}: Lens(model, processor).")
    if pictures:
        fits = all(hasattr(processor, part) for part in ("tokenizer", "image_processor"))
    else:
        processor = getattr(processor, "tokenizer", processor)
        fits = all(hasattr(processor, part) for part in ("decode", "get_vocab"))
    if not fits:
        raise ModelError(f"{kind} needs its {wanted}, not {type(processor).__name__}.")
    dtype = str(model.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise ModelError(f"{kind} is in {dtype}: lensbench reads {', '.join(DTYPES)}.")
    task = "image-text" if pictures else "text"
    return prepare(name or kind, model, processor, task, dtype=dtype)


def _numpy(values: Any) -> Any:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values
