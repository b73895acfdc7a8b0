"""The published study's data and models in small: the same layouts, names and classes."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from tests.planted import text_model
from tests.published import record, tallyqa_zip, tgz, write_mirror, zipped

from lensbench.datasets.drawing import COLORS
from lensbench.datasets.flowers import draw_flower
from lensbench.datasets.scenes import count_scene
from lensbench.models.source import PACKAGED

#: Which embedded model stands for a published one of the same class.
STAND_INS = {
    "Qwen/Qwen2-VL-2B-Instruct": "lensbench-qwen2vl",
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": "lensbench-onevision",
    "llava-hf/llava-1.5-7b-hf": "lensbench-llava",
}
KINDS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")


def write_data(folder: Path, n_questions: int = 60, n_flowers: int = 12) -> Path:
    """Write every archive under its host's name, and return a table of sources that fits them.

    Args:
        folder: what a server serves.
        n_questions: records of TallyQA's test file, two of them about each picture.
        n_flowers: photographs of each flower dataset.
    """
    asked, pictures = [], {}
    for index in range(n_questions):
        photograph = 1000 + index // 2
        image = f"VG_100K{'' if photograph % 2 else '_2'}/{photograph}.jpg"
        # Answers beyond 5 occur, and every third question is no simple one.
        asked.append(
            record(index, image, index * 5 % 8, "How many stars are shown?", index % 3 > 0)
        )
        pictures[image] = _scene(photograph)
    halves = np.arange(1, n_flowers + 1, dtype=np.uint16)[None]
    return write_mirror(
        folder,
        {
            ("tallyqa", "tallyqa.zip"): tallyqa_zip(asked),
            ("visual_genome", "images.zip"): _in_folder("VG_100K/", pictures),
            ("visual_genome", "images2.zip"): _in_folder("VG_100K_2/", pictures),
            ("oxford_flowers", "102flowers.tgz"): tgz(
                {f"jpg/image_{at + 1:05d}.jpg": _flower(at) for at in range(n_flowers)}
            ),
            ("oxford_flowers", "imagelabels.mat"): _mat(labels=(halves - 1) % 102 + 1),
            ("oxford_flowers", "setid.mat"): _mat(
                trnid=halves[:, : n_flowers // 2],
                valid=halves[:, n_flowers // 2 : -1],
                tstid=halves[:, -1:],
            ),
            ("tf_flowers", "flower_photos.tgz"): tgz(
                {"flower_photos/LICENSE.txt": b"CC-BY"}
                | {
                    f"flower_photos/{KINDS[at % 5]}/{at}.jpg": _flower(100 + at)
                    for at in range(n_flowers)
                }
            ),
        },
    )


def write_models(folder: Path) -> dict[str, Path]:
    """Return the folder of each published repository's stand-in, by the repository's name."""
    gpt2 = text_model("gpt2")
    gpt2.model.save_pretrained(folder / "gpt2")
    gpt2.tokenizer.save_pretrained(folder / "gpt2")
    found = {"openai-community/gpt2": folder / "gpt2"}
    for repository, packaged in STAND_INS.items():
        found[repository] = folder / packaged
        shutil.copytree(PACKAGED / packaged, found[repository])
    return found


def _in_folder(start: str, pictures: dict[str, bytes]) -> bytes:
    return zipped({name: data for name, data in pictures.items() if name.startswith(start)})


def _scene(index: int) -> bytes:
    rng = np.random.default_rng([7, index])
    return _jpeg(count_scene(rng, index % 6, None, list(COLORS)[index % len(COLORS)]).picture())


def _flower(index: int) -> bytes:
    return _jpeg(draw_flower(np.random.default_rng([8, index]), list(COLORS)[index % 8])[0])


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=92)
    return stream.getvalue()


def _mat(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    savemat(stream, arrays)
    return stream.getvalue()
