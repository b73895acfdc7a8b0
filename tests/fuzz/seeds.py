"""Valid files of every kind, small: what hostile ones are made from."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat
from tests.synthetic import make_run

from lensbench.datasets.manifest import write_manifest


@cache
def picture(kind: str, width: int = 9, height: int = 6, mode: str = "RGB") -> bytes:
    """Return a small picture as a file of a format, with an EXIF note where it has them."""
    values = np.random.default_rng(3).integers(0, 255, (height, width, 4), dtype=np.uint8)
    image = Image.fromarray(values, "RGBA").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by the camera.
    stream = io.BytesIO()
    more = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    if kind == "GIF" and mode == "P":
        other = image.rotate(180)
        image.save(stream, "GIF", save_all=True, append_images=[other, image], loop=0)
    else:
        image.save(stream, kind, **more)
    return stream.getvalue()


def pictures() -> list[bytes]:
    """Return pictures of every format and mode that is read."""
    kinds = [
        *(
            ("PNG", "RGB"),
            ("PNG", "RGBA"),
            ("PNG", "P"),
            ("PNG", "1"),
            ("PNG", "I;16"),
            ("PNG", "L"),
        ),
        *(("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("WEBP", "RGBA")),
        *(("GIF", "P"), ("GIF", "L"), ("BMP", "RGB"), ("BMP", "P"), ("TIFF", "RGB"), ("TIFF", "F")),
        *(("TIFF", "I;16"), ("PPM", "RGB"), ("PPM", "L")),
    ]
    return [picture(kind, mode=mode) for kind, mode in kinds]


@cache
def manifest_bytes() -> bytes:
    """Return a manifest of an image sample and a text sample."""
    rows = [
        {
            "sample_id": f"s-{n}", "kind": ("image", "text")[n], "image": ("a.png", None)[n],
            "prompt": "How many?", "style": "chat", "gold": "number:3", "language": "en",
            "family": "count", "objects": '[{"shape":"star","color":"red","box":[0,0,4,4]}]',
            "source": "drawn", "rejected": "",
        }
        for n in range(2)
    ]  # fmt: skip
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.png").write_bytes(picture("PNG"))
        write_manifest(folder, pd.DataFrame(rows), {"dataset": "own", "n": 2})
        return (Path(folder) / "manifest.parquet").read_bytes()


@cache
def run_files() -> Mapping[str, bytes]:
    """Return the files of a small run: path below results/ → its bytes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_run(root, n_samples=4, n_layers=6, n_heads=2, k=3)
        dataset = root / "datasets" / "scenes"
        rows = pd.read_parquet(dataset / "manifest.parquet")
        write_manifest(dataset, rows, {"dataset": "scenes", "n": len(rows)})
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def tallyqa_records() -> list[dict[str, object]]:
    """Return records as TallyQA's files have them."""
    return [
        {
            "image": "VG_100K/1.jpg", "question": "How many dogs?", "answer": 2,
            "question_id": 7, "issimple": True, "image_id": 1, "data_source": "imported",
        },
        {
            "image": "val2014/COCO_1.jpg", "question": "How many cats sit?", "answer": "3",
            "question_id": "a8", "issimple": False,
        },
    ]  # fmt: skip


def zip_bytes(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tar_bytes(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    """Return a tar archive, or a tar.gz with mode "w:gz"."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def mat_bytes(**arrays: np.ndarray) -> bytes:
    """Return a MATLAB file."""
    stream = io.BytesIO()
    savemat(stream, arrays, do_compression=True)
    return stream.getvalue()


def lens_tree() -> dict[str, object]:
    """Return a patch lens of 3 states × 6 positions × top 2."""
    labels = ["<s>", "see", "<IMG1>", "<IMG2>", "<IMG3>", "<IMG4>"]
    top = [
        [[[f"t{state}.{place}", "0.5000"], ["的", "0.2500"]] for place in range(len(labels))]
        for state in range(3)
    ]
    return {"image": "a", "prompt": "see:", "token_labels": labels, "top5": top}


def lens_bytes() -> bytes:
    """Return `lens_tree` as a file."""
    return json.dumps(lens_tree()).encode()
