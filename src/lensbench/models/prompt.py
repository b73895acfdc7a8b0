"""From samples to a model's inputs: chat template, left padding, and where the picture is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers.utils import chat_template_utils

from lensbench.errors import DataError, LensbenchError, ModelError, reason_of
from lensbench.limits import limited
from lensbench.models.checks import STEPS
from lensbench.models.layouts import layouts_of
from lensbench.models.pictures import PROBE_PROMPTS, SHORT_PROMPTS, probe_pictures, probe_rows
from lensbench.models.views import Layout
from lensbench.pixels import FORMATS, HEIC, UnreadableError, as_rgb, needs_heif

#: Characters that a chat template may make of one question.
LONGEST_PROMPT = 10_000_000
#: The day that chat templates take for today: what Llama 3's own fall back on.
DATE = "2024-07-26"


@dataclass(frozen=True)
class Encoded:
    """A batch of B prompts of at most T positions, as a model takes it.

    Args:
        inputs: keyword arguments of the model, on its device.
        prompts: the whole text of each prompt as the model is fed it, its BOS token included; image
            positions that follow each other are one placeholder.
        image: [B, T] true at image positions.
        first: [B] index of each prompt's first position that isn't padding.
        n_tokens: positions of each prompt, image positions included.
        n_image_tokens: image positions of each prompt.
        layouts: where the image positions of each prompt lie in its picture.
    """

    inputs: dict[str, Tensor]
    prompts: list[str]
    image: Tensor
    first: Tensor
    n_tokens: list[int]
    n_image_tokens: list[int]
    layouts: list[Layout]

    @property
    def grids(self) -> list[tuple[int, int]]:
        """(rows, columns) of the first view of each picture, (0, 0) where there is none."""
        return [layout.grid for layout in self.layouts]

    @property
    def overview(self) -> Tensor:
        """[B, T] true at the image positions of the first view; where no place is known, at all."""
        found = self.image.clone()
        for row, layout in zip(found, self.layouts, strict=True):
            if layout.views:
                row[row.nonzero()[:, 0]] = torch.from_numpy(layout.view == 0).to(row.device)
        return found

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Encoded:
        """Return the batch on a device, its floating-point inputs in the model's dtype."""
        return self.each(
            lambda value: value.to(device, dtype if value.is_floating_point() else None)
        )

    def followed_by(self, ids: Sequence[int]) -> Encoded:
        """Return the batch, of one prompt, with tokens after it that the model has generated."""
        prompt, more = self.inputs["input_ids"], len(ids)
        last = {"input_ids": prompt.new_tensor([list(ids)])}
        inputs = {
            # Masks go on with ones, kinds of token with zeros, which are text.
            key: torch.cat(
                [value, last.get(key, value.new_full((1, more), int(key == "attention_mask")))], 1
            )
            if value.shape == prompt.shape
            else value
            for key, value in self.inputs.items()
        }
        image = torch.cat([self.image, self.image.new_zeros((1, more))], 1)
        return replace(self, inputs=inputs, image=image, n_tokens=[self.n_tokens[0] + more])

    def each(self, change: Callable[[Any], Any]) -> Encoded:
        """Return the batch with each of its tensors changed."""
        inputs = {key: change(value) for key, value in self.inputs.items()}
        return replace(self, inputs=inputs, image=change(self.image), first=change(self.first))


def open_picture(path: str | Path) -> Image.Image:
    """Open a picture as sRGB, turned as its camera says.

    Raises:
        DataError: if it is missing, no picture, cut short or so large that it may be an attack.
    """
    name = Path(path).name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # By content, whatever the file is called; a stream, since Pillow scrambles raw pixels
            # that it maps from a path and then turns.
            with open(path, "rb") as stream, Image.open(stream, formats=FORMATS) as picture:
                return as_rgb(ImageOps.exif_transpose(picture), picture)
    except FileNotFoundError as error:
        raise DataError(f"The picture {name} is missing.") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = Image.MAX_IMAGE_PIXELS
        raise DataError(f"The picture {name} has more than {limit} pixels.") from error
    except UnreadableError as error:
        raise DataError(f"The picture {name} can't be read: it has {error}.") from error
    # Pillow's readers raise SyntaxError, ValueError and struct.error for damaged files.
    except Exception as error:
        if needs_heif(Path(path)):
            raise DataError(f"The picture {name} can't be read: it is {HEIC}.") from error
        raise DataError(
            f"The picture {name} can't be read: it is damaged or no picture."
        ) from error


@contextmanager
def dated(day: str) -> Iterator[None]:
    """Have the `strftime_now` of chat templates tell a fixed day, at midnight, inside the block.

    transformers lets no caller hand a template another function, so its clock is replaced.

    Args:
        day: YEAR-MONTH-DAY.
    """
    fixed = datetime.fromisoformat(day)
    module: Any = chat_template_utils
    clock, module.datetime = module.datetime, SimpleNamespace(now=lambda: fixed)
    try:
        yield
    finally:
        module.datetime = clock


@dataclass(frozen=True)
class Prompter:
    """What turns samples into inputs; it holds no weights, so worker processes can have their own.

    Args:
        name: the model's name, for errors.
        processor: the model's processor, or tokenizer if it is a text model.
        tokenizer: its tokenizer, padding on the left.
        task: "image-text" or "text".
        image_token_id: the token at image positions, None if pictures have none.
        longest: positions the model takes at most, None if there is no limit.
        token_types: whether the model takes token types (which tokens are a picture's).
        date: the day that a chat template takes for today, YEAR-MONTH-DAY.
        embeddings: rows of the model's input embeddings, None if it doesn't say.
    """

    name: str
    processor: Any
    tokenizer: Any
    task: str
    image_token_id: int | None
    longest: int | None = None
    token_types: bool = False
    date: str = DATE
    embeddings: int | None = None

    def text(self, row: Mapping[str, Any]) -> str:
        """Return a prompt as its template writes it, the picture (if any) before the words.

        A model without a chat template gets the words as they are, whatever the style.

        Args:
            row: of the manifest: `prompt`, `style`, `image`.

        Raises:
            DataError: if the sample has a picture and the model takes none.
        """
        words, pictured = str(row["prompt"]), isinstance(row.get("image"), str)
        if pictured and self.task != "image-text":
            raise DataError(f"{self.name} takes no picture: run it on a text dataset.")
        if self._is_chat(row):
            content: Any = words
            if self.task == "image-text":
                content = [{"type": "image"}] if pictured else []
                content = [*content, {"type": "text", "text": words}]
            chat = [{"role": "user", "content": content}]
            return self._rendered(chat)
        return f"{self.processor.image_token}\n{words}" if pictured else words

    def _rendered(self, chat: list[dict[str, Any]]) -> str:
        """Return a chat as the model's template writes it: somebody's program, in a sandbox."""
        what = f"The chat template of {self.name}"
        try:
            with limited(what), dated(self.date):
                written = self.processor.apply_chat_template(
                    chat, add_generation_prompt=True, tokenize=False
                )
        except LensbenchError:
            raise
        # Templates raise what they like: TemplateError, TypeError, ZeroDivisionError, …
        except Exception as error:
            raise ModelError(f"{what} can't be used ({reason_of(error)}): correct it.") from error
        if not isinstance(written, str) or len(written) > LONGEST_PROMPT:
            raise ModelError(f"{what} writes no text, or more than a prompt can be: correct it.")
        return written

    def _is_chat(self, row: Mapping[str, Any]) -> bool:
        return row["style"] == "chat" and bool(getattr(self.processor, "chat_template", None))

    def encode(
        self, rows: Sequence[Mapping[str, Any]], pictures: Sequence[Image.Image] = ()
    ) -> Encoded:
        """Turn samples into one left-padded batch, on the CPU.

        Args:
            rows: rows of the manifest, either all with a picture or all without.
            pictures: one picture a row, or none at all.

        Raises:
            DataError: if a sample's words hold a control token, the processor takes no chat
                without a picture, pictures and rows don't match, or a token has no row in the
                model's embeddings.
        """
        texts = [self.text(row) for row in rows]
        if len(pictures) not in (0, len(rows)):
            raise DataError(f"{len(rows)} samples and {len(pictures)} pictures can't be one batch.")
        for row in rows:
            self._check_words(str(row["prompt"]))
        # (Is it a chat?, does its template write the BOS token?)
        start = self.tokenizer.bos_token
        kinds = {
            (chat, chat and bool(start and text.startswith(start)))
            for chat, text in zip(map(self._is_chat, rows), texts, strict=True)
        }
        if len(kinds) > 1:
            raise DataError("Chats and completions can't be one batch: give each its own.")
        (chat, started), *_ = kinds
        options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        # As `apply_chat_template(tokenize=True)`: a tokenizer adds nothing to a chat, a processor
        # adds what its tokenizer does unless the template began with it.
        if started or (chat and self.task == "text"):
            options["add_special_tokens"] = False
        if pictures:
            # A list a prompt: Gemma 3 and SmolVLM take a flat one for the pictures of one prompt.
            shown = [[picture] for picture in pictures]
            batch = self.processor(images=shown, text=texts, **options)
        elif chat:
            try:
                batch = self.processor(text=texts, **options)
            except ValueError as error:
                raise DataError(
                    f"{self.name} takes no chat without a picture ({reason_of(error)}): give one."
                ) from error
        else:
            batch = self.tokenizer(texts, **options)
        inputs = {key: value for key, value in batch.items() if isinstance(value, Tensor)}
        inputs.pop("labels", None)  # PaliGemma's processor makes some for training.
        if not self.token_types:
            inputs.pop("token_type_ids", None)
        if not chat:
            inputs = self._open_ended(inputs)
        self._check_ids(inputs["input_ids"])
        mask = inputs["attention_mask"].bool()
        ids, image = inputs["input_ids"], torch.zeros_like(mask)
        if pictures and self.image_token_id is not None:
            image = (ids == self.image_token_id) & mask
        counts = image.sum(1).tolist()
        return Encoded(
            inputs=inputs,
            prompts=[self._fed(row[own]) for row, own in zip(ids, mask, strict=True)],
            image=image,
            first=mask.int().argmax(1),
            n_tokens=mask.sum(1).tolist(),
            n_image_tokens=counts,
            layouts=layouts_of(self.processor, inputs, counts, [p.size for p in pictures]),
        )

    @cached_property
    def _controls(self) -> dict[str, str]:
        """What no words may hold, and what it is: special tokens, others of the chat template."""
        template = str(getattr(self.processor, "chat_template", None))
        # As transformers' own `sanitize_control_tokens` counts them.
        tokens = [
            token.content
            for token in self.tokenizer.added_tokens_decoder.values()
            if token.special or (token.content in template and not token.content.isspace())
        ]
        found = dict.fromkeys(tokens, f"is a control token of {self.name}")
        for kind, what in (("audio", "sound"), ("video", "video"), ("image", "picture")):
            if placeholder := getattr(self.processor, f"{kind}_token", None):
                found[str(placeholder)] = f"stands for a {what}"
        return found

    def _check_words(self, words: str) -> None:
        # Some tokenizers look for their tokens in what their normalizer makes of the words.
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        normalizer = getattr(backend, "normalizer", None)
        read = words if normalizer is None else normalizer.normalize_str(words)
        for token, what in self._controls.items():
            if token in words or token in read:
                raise DataError(f"The prompt holds {token}, which {what}: use other words.")

    def _open_ended(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return completions without the EOS token that some tokenizers put after each."""
        ids, end = inputs["input_ids"], self.tokenizer.eos_token_id
        if end is None or ids.shape[1] < 2 or not bool((ids[:, -1] == end).all()):
            return inputs
        return {
            name: value[:, :-1] if value.shape == ids.shape else value
            for name, value in inputs.items()
        }

    def _fed(self, ids: Tensor) -> str:
        """Return the text of a prompt's ids, image positions that follow each other as one."""
        again = (ids[1:] == ids[:-1]) & (ids[1:] == self.image_token_id)
        kept = torch.cat([ids[:1], ids[1:][~again]])
        text: str = self.tokenizer.decode(
            kept.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _check_ids(self, ids: Tensor) -> None:
        """Refuse tokens that the model has no embedding for; a picture's are filled in later."""
        rows = self.embeddings
        for token in [] if rows is None else ids[ids >= rows].tolist():
            if token != self.image_token_id:
                text = self.tokenizer.convert_ids_to_tokens(token)
                raise DataError(
                    f"The prompt or its padding holds the token {text!r} (id {token}), but "
                    f"{self.name} has {rows} embeddings: leave that token out, or give the model "
                    "its own tokenizer."
                )

    def check_length(self, encoded: Encoded, new_tokens: int) -> None:
        """Refuse a prompt that leaves the model no room for its answer.

        Raises:
            DataError: if a prompt's positions and the new tokens are more than the model takes.
        """
        most = max(encoded.n_tokens)
        if self.longest is not None and most + new_tokens > self.longest:
            raise DataError(
                f"The prompt has {most} tokens and {new_tokens} are to follow, the model takes "
                f"{self.longest}."
            )


@dataclass(frozen=True)
class Probes:
    """Two prompts of different lengths that a model is probed with, in the ways they can be given.

    Args:
        batch: both, padded on the left.
        singles: each of them alone.
        others: each of them alone with another picture; empty for a text model.
    """

    batch: Encoded
    singles: tuple[Encoded, ...]
    others: tuple[Encoded, ...]

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Probes:
        """Return the probes on a device, their floating-point inputs in the model's dtype."""
        return Probes(
            self.batch.to(device, dtype),
            tuple(single.to(device, dtype) for single in self.singles),
            tuple(other.to(device, dtype) for other in self.others),
        )


def encode_probes(prompter: Prompter) -> Probes:
    """Return the probes as a model's prompter encodes them, on the CPU.

    Raises:
        ModelError: if the model's context has no room for the shortest probes and their answer.
    """
    pictured = prompter.task == "image-text"
    pictures = probe_pictures() if pictured else []
    needed = 0
    for prompts in (PROBE_PROMPTS, SHORT_PROMPTS):
        rows = probe_rows(pictured, prompts)
        batch = prompter.encode(rows, pictures)
        # The anatomy is found on five tokens.
        needed = max(max(batch.n_tokens) + STEPS, 5)
        if prompter.longest is None or needed <= prompter.longest:
            break
    else:
        raise ModelError(
            f"{prompter.name} takes {prompter.longest} positions, but the gate's shortest probe "
            f"and its answer have {needed}: use a model with a longer context."
        )

    def alone(shown: list[Image.Image]) -> tuple[Encoded, ...]:
        return tuple(prompter.encode([row], shown[i : i + 1]) for i, row in enumerate(rows))

    others = alone(pictures[::-1]) if pictured else ()
    return Probes(batch, alone(pictures), others)


def encode(
    loaded: Any, rows: Sequence[Mapping[str, Any]], pictures: Sequence[Image.Image] = ()
) -> Encoded:
    """Turn samples into one left-padded batch on a model's device, in its dtype.

    Args:
        loaded: the `LoadedModel`.
        rows: rows of the manifest, either all with a picture or all without.
        pictures: one picture a row, or none at all.

    Raises:
        DataError: as `Prompter.encode`.
    """
    made: Encoded = loaded.prompter.encode(rows, pictures)
    return made.to(loaded.model.device, loaded.model.dtype)
