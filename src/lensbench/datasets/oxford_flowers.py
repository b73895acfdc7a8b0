"""Oxford Flowers 102: photographs of 102 kinds of flowers, with a question for their color.

Nilsback and Zisserman, "Automated Flower Classification over a Large Number of Classes",
ICVGIP 2008.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lensbench.datasets.choice import take_turns
from lensbench.datasets.flowers import ASKED
from lensbench.datasets.folder import Picture, convert_all, image_of
from lensbench.datasets.manifest import building, check_rejected, write_manifest
from lensbench.datasets.members import CACHE, unpacked
from lensbench.errors import DataError

N_CLASSES = 102
#: Split → its variable in setid.mat.
SPLITS = {"train": "trnid", "valid": "valid", "test": "tstid"}


def make(
    out: str | Path,
    *,
    n: int,
    seed: int,
    split: str = "all",
    mirror: str | None = None,
    cache: str | Path = CACHE,
    max_rejected: float = 0.1,
) -> None:
    """Write the manifest of at most n photographs, the kinds of flowers taking turns.

    The kind is named in `source`; nobody has labeled the colors, so `gold` is "".

    Args:
        out: the folder to make; whole or not there.
        n: how many photographs at most; a larger n only adds.
        seed: chooses among them.
        split: "train", "valid", "test" or "all".
        mirror: stands in for the host.
        cache: where downloads are kept.
        max_rejected: share of the photographs that need not be readable.

    Raises:
        LensbenchError: if the split is unknown, something can't be fetched or read, or too few
            pictures can.
    """
    if split not in ("all", *SPLITS):
        raise DataError(
            f"The dataset oxford_flowers has no split {split!r}: use one of all, "
            f"{', '.join(SPLITS)}."
        )
    from lensbench.downloads.fetch import fetch_source

    with building(out, "oxford_flowers", n) as folder:
        labels_file, splits_file = (
            fetch_source("oxford_flowers", name, Path(cache), mirror)
            for name in ("imagelabels.mat", "setid.mat")
        )
        numbered = read_numbers(labels_file, splits_file, split)
        root = unpacked("oxford_flowers", "102flowers.tgz", cache, mirror=mirror)
        numbers = sorted(numbered)
        places = take_turns([numbered[number] for number in numbers], n, seed)
        chosen = [numbers[place] for place in places]
        pictures = [_picture(root, number) for number in chosen]
        rows = [
            {
                **ASKED,
                "sample_id": f"oxford_flowers-{picture.slug}",
                "image": image_of(picture),
                "gold": "",
                "objects": "[]",
                "source": f"{picture.name}, class {numbered[number]}",
                "rejected": made.reason,
            }
            for number, picture, made in zip(
                chosen, pictures, convert_all(pictures, root, folder), strict=True
            )
        ]
        frame = pd.DataFrame(rows)
        check_rejected(frame, max_rejected, "oxford_flowers")
        selection = {"dataset": "oxford_flowers", "n": n, "seed": seed, "split": split}
        write_manifest(folder, frame, selection)


def _picture(root: Path, number: int) -> Picture:
    """Return the photograph of a number, counted from 1."""
    name = f"jpg/image_{number:05d}.jpg"
    return Picture(root / name, name, f"image_{number:05d}")


def read_numbers(labels_file: str | Path, splits_file: str | Path, split: str) -> dict[int, int]:
    """Return number of a photograph → its kind of flower, of one split, both counted from 1.

    Args:
        labels_file: imagelabels.mat, whose `labels` has one number from 1 to 102 a photograph.
        splits_file: setid.mat, whose `trnid`, `valid` and `tstid` list the splits' photographs.
        split: a key of `SPLITS`, or "all" for every photograph.

    Raises:
        DataError: if a file can't be read or has numbers that don't fit.
    """
    labels = _variable(labels_file, "labels")
    if labels.min() < 1 or labels.max() > N_CLASSES:
        raise DataError(
            f"{labels_file} has kinds of flowers beside 1 to {N_CLASSES}: delete it and run again."
        )
    if split == "all":
        numbers = np.arange(1, len(labels) + 1)
    else:
        numbers = _variable(splits_file, SPLITS[split])
        if numbers.min() < 1 or numbers.max() > len(labels):
            raise DataError(
                f"{splits_file} has photographs beside 1 to {len(labels)}: delete it and run again."
            )
    return {int(number): int(labels[number - 1]) for number in numbers}


def _variable(path: str | Path, name: str) -> np.ndarray:
    """Return a list of whole numbers that a MATLAB file holds."""
    from scipy.io import loadmat

    try:
        values = np.asarray(loadmat(path, variable_names=[name])[name])
        with np.errstate(invalid="ignore"):  # What is no whole number is told below.
            whole = values.astype(np.int64)
    # Damaged files make SciPy's reader raise anything.
    except Exception as error:
        raise DataError(
            f"{path} is no MATLAB file with the variable {name}: delete it and run again."
        ) from error
    if values.size == 0 or not (whole == values).all():
        raise DataError(f"{path} has no whole numbers in {name}: delete it and run again.")
    return whole.ravel()
