"""Lenses that others made: JSON of any kind, packed or not."""

from __future__ import annotations

import gzip
import io
import json

from hypothesis import strategies as st
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Jail, command
from tests.fuzz.mutations import mutated_bytes, mutated_text, mutated_trees
from tests.fuzz.seeds import lens_bytes, lens_tree, picture

from lensbench import imported_file
from lensbench.imported import import_patch_lens


def test_imported_lenses(fuzz: Fuzz) -> None:
    def read(jail: Jail, content: bytes) -> None:
        import_patch_lens(jail.give("lens.json", content), jail.out / "lens")

    def packed(content: bytes) -> bytes:
        return gzip.compress(content, mtime=0)

    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb") as bomb:
        for _ in range(imported_file.LARGEST // 2**20 + 2):
            bomb.write(bytes(2**20))
    trees = mutated_trees([lens_tree()]).map(lambda tree: json.dumps(tree).encode())
    inputs = st.one_of(
        trees,
        trees.map(packed),
        mutated_text([lens_bytes().decode()]),
        mutated_bytes([packed(lens_bytes())]),
    )
    examples = (stream.getvalue(), b"[" * 200_000, b"9" * 5000, packed(packed(lens_bytes())))
    fuzz("imported lenses", inputs, read, examples=examples)


def test_imported_lenses_through_the_command(fuzz: Fuzz) -> None:
    def read(jail: Jail, given: tuple[bytes, str, str]) -> None:
        content, grid, box = given
        command(
            *("import-patch-lens", str(jail.give("lens.json.gz", content))),
            *("--picture", str(jail.give("a.png", picture("PNG", 8, 8)))),
            *("--out", str(jail.out / "lens"), f"--grid={grid}", f"--box={box}"),
        )

    trees = mutated_trees([lens_tree()], 1).map(lambda tree: json.dumps(tree).encode())
    numbers = st.sampled_from(["0", "1", "-1", "nan", "inf", "1e999", "", "x", "0.5", "٣"])
    inputs = st.tuples(
        trees,
        st.sampled_from(["", "2x2", "1x4", "4×1", "0x0", "999999x999999", "-1x4", "٢x٢", "2x2x2"]),
        st.one_of(st.just(""), st.just("0,0,1,1"), st.lists(numbers, max_size=5).map(",".join)),
    )
    fuzz("imported lenses", inputs, read)
