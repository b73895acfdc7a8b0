"""Files from the future come back in their order; those of the past are not touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lensbench.clock import back_to_today

DAY_S = 86_400


def test_files_from_the_future_come_back_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    times = {"input": now + DAY_S - 60, "output": now + DAY_S, "old": now - DAY_S, "odd": now - 0.5}
    for name, moment in times.items():
        path = tmp_path / "results" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (moment, moment))
    assert back_to_today([tmp_path / "results", tmp_path / "missing"]) == 2
    made = {name: (tmp_path / "results" / name).stat().st_mtime for name in times}
    assert made["output"] - made["input"] == pytest.approx(60, abs=0.01)
    assert now - 1 < made["output"] <= time.time()
    assert (made["old"], made["odd"]) == pytest.approx((now - DAY_S, now - 0.5), abs=0.01)
    assert "The clock was set back: 2 files were made 86" in capsys.readouterr().err
    assert back_to_today([tmp_path / "results"]) == 0
    assert capsys.readouterr().err == ""
