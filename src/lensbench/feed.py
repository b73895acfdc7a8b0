"""From a manifest's rows to batches: pictures are decoded beside the model's work, lengths alike.

Each sample is encoded alone, by worker processes where that pays, while the device computes. A few
batches' worth of samples are then sorted by length and cut into batches that stay within a number
of samples and of positions, padding counted, so that little of a batch is padding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_all_start_methods
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lensbench.errors import DataError, LensbenchError, panics_told, reason_of, sentence_of
from lensbench.models.batches import join
from lensbench.models.prompt import Encoded, Prompter, open_picture
from lensbench.variants import NATIVE, shown

#: Batches' worth of samples that are sorted by length at a time.
_WINDOW = 8


@dataclass(frozen=True)
class Prepared:
    """One sample, encoded alone on the CPU, or the reason why it can't be read."""

    row: dict[str, Any]
    encoded: Encoded | None
    reason: str = ""


@dataclass(frozen=True)
class Batch:
    """Samples that go through the model together.

    Args:
        samples: each with its encoding.
        pad_id: the token that fills up shorter prompts.
    """

    samples: tuple[Prepared, ...]
    pad_id: int

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the manifest."""
        return [sample.row for sample in self.samples]

    @property
    def encoded(self) -> Encoded:
        """The padded batch, on the CPU."""
        return join([s.encoded for s in self.samples if s.encoded is not None], self.pad_id)

    def halves(self) -> tuple[Batch, Batch]:
        """Return the two halves of a batch of two samples or more."""
        middle = len(self.samples) // 2
        return Batch(self.samples[:middle], self.pad_id), Batch(self.samples[middle:], self.pad_id)


def prepare_sample(
    prompter: Prompter,
    folder: Path,
    row: dict[str, Any],
    new_tokens: int,
    variant: str = NATIVE,
) -> Prepared:
    """Decode a sample's picture and encode it, or say why that can't be done.

    Args:
        prompter: of the model.
        folder: that the picture's path starts from.
        row: of the manifest.
        new_tokens: that are to be generated.
        variant: what of the picture is shown, as `variants.shown` takes it.
    """
    if row["rejected"]:
        reason = f"{row['source']} can't be read: {row['rejected']}."
        return Prepared(row, None, reason)
    try:
        pictures = []
        if row["image"] is not None:
            pictures = [shown(open_picture(folder / row["image"]), variant)]
        with panics_told(f"{prompter.name}'s tokenizer"):
            encoded = prompter.encode([row], pictures)
        prompter.check_length(encoded, new_tokens)
    except DataError as error:
        return Prepared(row, None, str(error))
    # Processors raise anything for pictures they can't take (a strip of 1 × 1000 pixels …).
    except Exception as error:
        if row["image"] is None:
            raise
        return Prepared(row, None, reason_of(error))
    return Prepared(row, encoded)


class _Samples(Dataset[Prepared]):
    """The rows of a manifest as a data set of PyTorch's, prepared when they are asked for."""

    def __init__(
        self,
        prompter: Prompter,
        folder: Path,
        rows: Sequence[dict[str, Any]],
        new_tokens: int,
        variant: str,
    ) -> None:
        self._rows = rows
        self._prepare = partial(
            prepare_sample, prompter, folder, new_tokens=new_tokens, variant=variant
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Prepared:
        return self._prepare(row=self._rows[index])


def _by_value(sample: Any) -> Prepared:
    """Return a sample with arrays for tensors, which go through a queue as their bytes.

    Tensors would go as open files, through a socket in the folder of temporary files. Where that
    has a long path, there can be no socket: the queue prints that, and who reads from it waits on.
    """
    return _each(sample, _array)


def _with_tensors(sample: Prepared) -> Prepared:
    return _each(sample, torch.from_numpy)


def _each(sample: Prepared, change: Callable[[Any], Any]) -> Prepared:
    encoded = sample.encoded
    return sample if encoded is None else replace(sample, encoded=encoded.each(change))


def _array(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor's values, those of a type that arrays lack in a wider one."""
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def default_workers(device: str) -> int:
    """Return how many worker processes pay: none where the CPU itself computes."""
    if not device.startswith("cuda") or "fork" not in get_all_start_methods():
        return 0
    return max(1, min(8, (os.cpu_count() or 2) - 1))


def prepared(
    prompter: Prompter,
    folder: str | Path,
    rows: Sequence[dict[str, Any]],
    new_tokens: int,
    workers: int = 0,
    variant: str = NATIVE,
) -> Iterator[Prepared]:
    """Yield every sample of a manifest in order, prepared by worker processes.

    Args:
        prompter: of the model.
        folder: that the pictures' paths start from.
        rows: of the manifest.
        new_tokens: that are to be generated.
        workers: number of processes; 0 prepares them here, when they are asked for.
        variant: what of the pictures is shown, as `variants.shown` takes it.

    Raises:
        LensbenchError: if one of the processes is gone.
    """
    data = _Samples(prompter, Path(folder), rows, new_tokens, variant)
    if not workers:
        yield from (data[index] for index in range(len(data)))
        return
    # Forked: the processors' classes made at run time can't be sent to a fresh process.
    samples = DataLoader(
        data,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=8,
        collate_fn=_by_value,
        multiprocessing_context="fork",
    )
    try:
        yield from map(_with_tensors, samples)
    except RuntimeError as error:
        # What a worker raises is told as it is; that one is gone, in one sentence.
        sentence = sentence_of(error)
        if sentence is None:
            raise
        raise LensbenchError(sentence) from error


def batches(
    samples: Iterator[Prepared],
    size: int,
    positions: int | None,
    pad_id: int,
    pads: bool = True,
    joins: bool = True,
) -> Iterator[Batch | Prepared]:
    """Yield batches of samples of about one length, and rejected samples as they are.

    Args:
        samples: prepared samples.
        size: samples a batch at most.
        positions: positions a batch at most, padding counted; a longer prompt goes alone.
        pad_id: the token that fills up shorter prompts.
        pads: whether prompts of different lengths may be in one batch.
        joins: whether prompts encoded alone may be joined at all.
    """
    window: list[Prepared] = []
    for sample in samples:
        if sample.encoded is None:
            yield sample
            continue
        window.append(sample)
        if len(window) == _WINDOW * size:
            yield from _cut(window, size, positions, pad_id, pads, joins)
            window = []
    yield from _cut(window, size, positions, pad_id, pads, joins)


def _cut(
    window: list[Prepared],
    size: int,
    positions: int | None,
    pad_id: int,
    pads: bool,
    joins: bool,
) -> Iterator[Batch]:
    batch: list[Prepared] = []
    # Longest first: if memory runs out, it does so at once.
    for sample in sorted(window, key=lambda s: (_kind(s), _length(s)), reverse=True):
        if batch:
            longest = _length(batch[0])
            full = len(batch) == (size if joins else 1)
            crowded = positions is not None and (len(batch) + 1) * longest > positions
            unlike = _kind(sample) != _kind(batch[0])
            if full or crowded or unlike or (not pads and _length(sample) != longest):
                yield Batch(tuple(batch), pad_id)
                batch = []
        batch.append(sample)
    if batch:
        yield Batch(tuple(batch), pad_id)


def _length(sample: Prepared) -> int:
    assert sample.encoded is not None
    return sample.encoded.n_tokens[0]


def _kind(sample: Prepared) -> tuple[str, ...]:
    """Return which inputs a sample has, of which type and how many dimensions each."""
    assert sample.encoded is not None
    return tuple(
        f"{name}{value.dtype}{value.dim()}" for name, value in sample.encoded.inputs.items()
    )


def memory_ran_out(error: BaseException) -> bool:
    """Say whether an error means that a device or this machine has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
