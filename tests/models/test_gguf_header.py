"""The header of a GGUF file, held against the library that loads such files."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter

from lensbench.errors import ModelError
from lensbench.models.gguf_header import header_of
from lensbench.models.sizes import check_gguf

WHOLE = {
    GGUFValueType.UINT8: 200, GGUFValueType.INT8: -100, GGUFValueType.UINT16: 60_000,
    GGUFValueType.INT16: -30_000, GGUFValueType.UINT32: 4_000_000_000,
    GGUFValueType.INT32: -2_000_000_000, GGUFValueType.UINT64: 2**63, GGUFValueType.INT64: -(2**62),
}  # fmt: skip


def written(
    path: Path, blocks: int = 3, tensors: int = 5, endian: GGUFEndian = GGUFEndian.LITTLE
) -> Path:
    """Write a file with a value of every type between its counts."""
    writer = GGUFWriter(path, "llama", endianess=endian)
    for kind, value in WHOLE.items():
        writer.add_key_value(f"whole.{kind.name}", value, kind)
    writer.add_float32("real.FLOAT32", 0.5)
    writer.add_float64("real.FLOAT64", 0.25)
    writer.add_bool("truth", True)
    writer.add_string("word", "三 is three")
    for name, values in {
        "words": ["a", "", "三"],
        "numbers": [1, 2, 3],
        "reals": [0.5, 1.5],
        "truths": [True, False],
        "lists": [[1, 2], [3]],
    }.items():
        writer.add_array(name, values)
    writer.add_block_count(blocks)
    for place in range(tensors):
        writer.add_tensor(f"t{place}", np.ones((2, 3), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("endian", [GGUFEndian.LITTLE, GGUFEndian.BIG])
def test_numbers_and_tensors_are_those_that_the_library_reads(
    tmp_path: Path, endian: GGUFEndian
) -> None:
    path = written(tmp_path / "m.gguf", endian=endian)
    reader = GGUFReader(path)
    whole = [
        (name, field.contents())
        for name, field in reader.fields.items()
        if len(field.types) == 1 and field.types[0] in WHOLE and not name.startswith("GGUF.")
    ]
    assert len(whole) == len(WHOLE) + 1
    tensors, found = header_of(path)
    assert found == whole
    assert tensors == len(reader.tensors) == 5


def test_more_blocks_than_tensors_are_refused(tmp_path: Path) -> None:
    check_gguf(written(tmp_path / "m.gguf", blocks=64))
    check_gguf(written(tmp_path / "n.gguf", blocks=70, tensors=70))
    with pytest.raises(ModelError, match=r"block_count = 64,003, but it holds 5 tensors"):
        check_gguf(written(tmp_path / "o.gguf", blocks=64_003))


def test_widths_are_no_counts_and_no_key_hides_another(tmp_path: Path) -> None:
    """A mixture of experts has widths of thousands; a list of one is a number to the library."""
    path = tmp_path / "m.gguf"
    for wrong, numbers in {
        "": {"qwen3moe.expert_feed_forward_length": 768, "qwen3moe.expert_used_count": 8},
        "llama.block_count = 999": {"llama.block_count": 999, "other.block_count": 3},
        "llama.expert_count = 777": {"llama.expert_count": [777]},
    }.items():
        writer = GGUFWriter(path, "llama")
        for key, value in numbers.items():
            add = writer.add_array if isinstance(value, list) else writer.add_uint32
            add(key, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        if wrong:
            with pytest.raises(ModelError, match=wrong):
                check_gguf(path)
        else:
            check_gguf(path)


def test_tensors_that_are_only_claimed_do_not_count(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", blocks=64_003)
    whole = bytearray(path.read_bytes())
    whole[8:16] = struct.pack("<Q", 2**40)
    path.write_bytes(whole)
    with pytest.raises(ModelError, match="block_count"):
        check_gguf(path)


def test_what_is_cut_or_changed_is_an_error_or_a_header(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    whole = written(path).read_bytes()
    end = whole.index(b"llama.block_count")
    for length in range(0, end, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="is no GGUF file or is damaged"):
            check_gguf(path)
    for place in range(0, end, 5):
        path.write_bytes(whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :])
        with suppress(ValueError):
            header_of(path)


def test_lists_in_lists_without_end_are_refused(tmp_path: Path) -> None:
    nested = struct.pack("<IQ", 9, 1) * 100_000
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"
    path = tmp_path / "m.gguf"
    path.write_bytes(head + struct.pack("<I", 9) + nested)
    with pytest.raises(ModelError, match="is no GGUF file or is damaged"):
        check_gguf(path)
