"""What a hub, a network or a disk can refuse: one sentence each, with what to do."""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from tests.commands import Done
from tests.hub import COMMIT, NAME, QUICK, WEIGHTS, Fault, Hub, reach, refused

from lensbench.errors import ModelError
from lensbench.models import hub as models_hub
from lensbench.models.hub import fetch
from lensbench.models.known import resolve_commit
from lensbench.models.load import load_model

OTHER = "f" * 40


def test_model_that_was_not_fetched_names_the_way(hub: Hub) -> None:
    with pytest.raises(ModelError) as caught:
        load_model("m", f"hub:{NAME}", COMMIT)
    said = str(caught.value)
    assert f"hub:{NAME} at {COMMIT} is not fetched (config.json is not in the cache)" in said
    assert f"`lensbench fetch-hub {NAME} --revision {COMMIT}`" in said
    assert hub.requests == []


def test_pickles_only(hub: Hub, repository: Path) -> None:
    (repository / WEIGHTS).unlink()
    said = refused()
    assert "has its weights as pickles only (pytorch_model.bin)" in said
    assert "use folder:PATH" in said
    (repository / "pytorch_model.bin").unlink()
    assert f"has no {WEIGHTS}: it is no model" in refused()
    (repository / "config.json").unlink()
    assert "has no config.json" in refused()
    assert not hub.asked_for("pytorch_model.bin")


@pytest.mark.parametrize("named", ["../x.safetensors", "gone.safetensors", "model.bin", 3])
def test_index_that_names_something_else(hub: Hub, repository: Path, named: object) -> None:
    index = json.dumps({"weight_map": {"a": named}})
    (repository / "model.safetensors.index.json").write_text(index)
    said = refused()
    assert "names other files than safetensors" in said or "lacks gone.safetensors" in said


def test_wrong_revision(hub: Hub) -> None:
    said = refused(revision=OTHER)
    assert f"hub:{NAME} at {OTHER}: the repository has no such revision" in said
    assert "Files → History" in said


def test_missing_repository(hub: Hub) -> None:
    assert "the hub has no such repository or keeps it closed" in refused(repository="org/none")


def test_gated_repository_and_its_token(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub({NAME: (repository, COMMIT)}, tokens={NAME: "hf_right"}) as served:
        reach(served, tmp_path / "cache", monkeypatch)
        for token in ("", "hf_wrong"):
            monkeypatch.setenv("HF_TOKEN", token)
            said = refused()
            assert f"hub:{NAME} at {COMMIT} is gated: accept its terms" in said
            assert "set HF_TOKEN" in said
            assert "hf_wrong" not in said
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        assert fetch(NAME, COMMIT, QUICK).folder.is_dir()
        # The token stays with the hub: the storage's signed address needs none.
        assert {r.token for r in served.asked_for(WEIGHTS)} == {""}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "the hub refuses access (401); set HF_TOKEN"),
        (403, "the hub refuses access (403); set HF_TOKEN"),
        (429, "the hub asks to wait (429)"),
        (500, "the hub answers 500"),
    ],
)
def test_refusal_of_the_hub(hub: Hub, status: int, words: str) -> None:
    hub.faults = [Fault("", status=status, times=99, retry_after=0)]
    assert words in refused()
    n = 1 if status < 429 else QUICK.attempts
    assert len(hub.requests) == n


def test_refusal_of_the_storage(hub: Hub) -> None:
    hub.faults = [Fault(WEIGHTS, status=403, times=99)]
    said = refused()
    assert f"hub:{NAME} at {COMMIT}, {WEIGHTS}: " in said
    assert "refuses access (403 Forbidden)" in said
    assert len(hub.asked_for(WEIGHTS)) == 1


def test_offline_and_out_of_reach(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE keeps it from being fetched: unset it" in refused()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = refused()
    assert "can't be fetched from http://127.0.0.1:9 (ConnectError): check the network" in said


def test_no_room_is_said_before_the_first_byte(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(models_hub.shutil, "disk_usage", lambda _: usage(10**9, 0, 1_500_000))
    said = refused()
    assert "MB more in" in said
    assert "but 1.50 MB are free: free some, or set HF_HOME" in said
    assert hub.sent.get(WEIGHTS, 0) == 0


def test_full_disk_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lensbench.models.hub_blobs.body", full)
    assert "no disk space left in" in refused()


def test_branch_is_resolved_by_a_real_answer(hub: Hub, lensbench: Callable[..., Done]) -> None:
    told = lensbench("commit", NAME)
    assert (told.returncode, told.stdout) == (0, f"{COMMIT}\n")
    assert resolve_commit(NAME) == COMMIT
    with pytest.raises(ModelError, match="has no revision v9"):
        resolve_commit(NAME, "v9")
