"""Pictures: mutated headers of every format, huge dimensions, many frames, notes of cameras."""

from __future__ import annotations

import io
import struct
import zlib

from hypothesis import strategies as st
from PIL import Image
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail
from tests.fuzz.mutations import mutated_bytes
from tests.fuzz.seeds import picture, pictures

from lensbench.datasets.folder import Picture, convert
from lensbench.errors import DataError
from lensbench.models.prompt import open_picture

WORDS = [
    *(b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"zTXt", b"iCCP", b"eXIf"),
    *(
        b"\xff\xd8",
        b"\xff\xc0",
        b"\xff\xc4",
        b"\xff\xda",
        b"\xff\xe1",
        b"\xff\xd9",
        b"Exif\x00\x00",
    ),
    *(
        b"RIFF",
        b"WEBPVP8X",
        b"VP8L",
        b"ANIM",
        b"ANMF",
        b"GIF89a",
        b"\x21\xf9\x04",
        b"\x2c",
        b"\x3b",
    ),
    *(b"II*\x00", b"MM\x00*", b"BM", b"P6\n", b"P5\n", b"\xff\xff\xff\x7f", b"%!PS-Adobe-3.0 EPSF"),
]
SEEDS = pictures()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    told = struct.pack(">I", len(content)) + kind + content
    return told + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, color: int, rows: int = 0) -> bytes:
    """Return a PNG file that says it has a size, with so many bytes of zeros in its data."""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def frames(n: int) -> bytes:
    """Return a GIF of many frames."""
    stream = io.BytesIO()
    first, *others = [Image.new("P", (400, 400), k % 256) for k in range(n)]
    first.save(stream, "GIF", save_all=True, append_images=others)
    return stream.getvalue()


def text_bomb() -> bytes:
    """Return a PNG with a packed note that unpacks to 100 MB."""
    whole = png(1, 1, 8, 2, 4)
    note = b"x\x00\x00" + zlib.compress(bytes(100 * 2**20), 9)
    return whole[:33] + chunk(b"zTXt", note) + whole[33:]


def vast(kind: str) -> bytes:
    """Return a picture just below the largest size that is read, in few bytes."""
    stream = io.BytesIO()
    Image.new("L", (9000, 9000)).save(stream, kind)
    return stream.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
#: The largest that are read, in the modes that cost most, in files of some hundred kilobytes.
VAST = (
    png(10_000, 10_000, 8, 6, 10_000 * 40_001),
    png(9_000, 9_000, 16, 0, 9_000 * 18_001),
    vast("JPEG"),
)
EXAMPLES = (
    *(png(2**31 - 1, 2**31 - 1, 8, 2), png(20_000, 20_000, 1, 0), png(0, 0, 8, 2), frames(50)),
    *(
        text_bomb(),
        EPS,
        b"",
        b"P6 99999999 99999999 255\n",
        b"P6 9999 9999 255\n",
        picture("PNG")[:20],
    ),
)
INPUTS = mutated_bytes(SEEDS, WORDS)


def test_pictures_of_folders(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        path = jail.give("a.png", content)
        target = jail.out / "a.png"
        done = convert(Picture(path, "a.png", "a"), jail.given, target)
        if done.reason:
            raise DataError(f"The picture a.png is {done.reason}.")
        with Image.open(target) as made:
            assert made.mode == "RGB"
            assert max(made.size) <= 448

    fuzz("pictures", INPUTS, read, examples=(*EXAMPLES, *VAST))


def test_pictures_of_manifests(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        found = open_picture(jail.give("a.png", content))
        assert found.mode == "RGB"

    fuzz("pictures", INPUTS, read, examples=EXAMPLES)


def test_notes_of_cameras(fuzz: Fuzz) -> None:
    def read(jail: Jail, given: tuple[str, bytes, bool]) -> None:
        kind, exif, of_manifest = given
        stream = io.BytesIO()
        Image.new("RGB", (8, 6), "red").save(stream, kind, exif=b"Exif\x00\x00" + exif)
        path = jail.give("a", stream.getvalue())
        if of_manifest:
            open_picture(path)
            return
        done = convert(Picture(path, "a", "a"), jail.given, jail.out / "a.png")
        # The pixels are whole, whatever the camera noted.
        assert not done.reason

    notes = Image.Exif()
    notes.update({0x0112: 6, 0x010E: "x", 0x011A: 72.0, 0x0103: 1})
    whole = notes.tobytes().removeprefix(b"Exif\x00\x00")
    inputs = st.tuples(
        st.sampled_from(["JPEG", "PNG", "WEBP"]), mutated_bytes([whole]), st.booleans()
    )
    fuzz("pictures", inputs, read, both=False)
