"""The TensorFlow flowers: photographs of five kinds of flowers, with a question for their color."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lensbench.datasets.choice import take_turns
from lensbench.datasets.flowers import ASKED
from lensbench.datasets.folder import convert_all, find_pictures, image_of
from lensbench.datasets.manifest import building, check_rejected, write_manifest
from lensbench.datasets.members import CACHE, unpacked
from lensbench.errors import DataError

#: Folder of the archive that holds one folder a kind of flower, and LICENSE.txt.
TOP = "flower_photos"


def make(
    out: str | Path,
    *,
    n: int,
    seed: int,
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
        mirror: stands in for the host.
        cache: where downloads are kept.
        max_rejected: share of the photographs that need not be readable.

    Raises:
        LensbenchError: if the archive can't be fetched or has no photographs, or too few of them
            can be read.
    """
    with building(out, "tf_flowers", n) as folder:
        root = unpacked("tf_flowers", "flower_photos.tgz", cache, mirror=mirror) / TOP
        # <kind>/<name>: what lies elsewhere is none of the dataset's.
        pictures = [p for p in find_pictures(root) if p.name.count("/") == 1]
        if not pictures:
            raise DataError(f"{root} has no folder with photographs: delete it and run again.")
        kinds = [picture.name.partition("/")[0] for picture in pictures]
        places = take_turns(kinds, n, seed)
        chosen = [pictures[place] for place in places]
        rows = [
            {
                **ASKED,
                "sample_id": f"tf_flowers-{picture.slug}",
                "image": image_of(picture),
                "gold": "",
                "objects": "[]",
                "source": f"{picture.name}, class {kinds[place]}",
                "rejected": made.reason,
            }
            for place, picture, made in zip(
                places, chosen, convert_all(chosen, root, folder), strict=True
            )
        ]
        frame = pd.DataFrame(rows)
        check_rejected(frame, max_rejected, "tf_flowers")
        write_manifest(folder, frame, {"dataset": "tf_flowers", "n": n, "seed": seed})
