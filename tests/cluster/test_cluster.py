"""A job of every kind on a real Slurm, with a node lost in between: the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.cluster.slurm import NODES, check, slurm
from tests.cluster.study import ON_GPU, PROFILE, Done, disturbed, reference
from tests.result_digests import digests

from lensbench.config import ROOT

#: Rules that stay where the run was started: what fetches from the network, and LaTeX.
LOCAL = {"fetch_smollm2_135m", "paper", "all"}
#: What the executor is asked to put together, by the names that the profile gives.
GROUPS = {"datasets", "metrics", "studies", "pages", "run_figures", "print", "notebooks"}
#: Rules of a job of their own.
ALONE = {"inspect", "closeup", "variants", "ablate", "numerics"}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """Results of an undisturbed local run, and the study on Slurm that a node was taken from."""
    folder = tmp_path_factory.mktemp("cluster")
    check()
    results, settings = reference(folder / "local")
    with slurm(NODES) as running:
        done = disturbed(running, folder / "slurm", settings)
    return results, done


def model_of(job: dict[str, str]) -> str | None:
    """Return the model that a job's comment names, if it is a job of one model."""
    found = re.fullmatch(r"rule_\w+?_wildcards_([a-z0-9.-]+?)(?:_.*)?", job["Comment"])
    return found[1] if found else None


def rule_of(job: dict[str, str]) -> str:
    """Return the rule of a job, or the name of its group."""
    name = job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]
    return next((group for group in GROUPS if name.startswith(f"{group}_")), name)


def local_rules(log: str) -> set[str]:
    """Return the rules that snakemake ran by itself: finished, neither submitted nor in a group."""
    finished = re.findall(r"^Finished jobid: (\d+) \(Rule: (\w+)\)$", log, re.MULTILINE)
    submitted = set(re.findall(r"^Job (\d+) has been submitted with", log, re.MULTILINE))
    text = (ROOT / PROFILE / "config.yaml").read_text(encoding="utf-8")
    grouped = set(re.findall(rf"^  (\w+): (?:{'|'.join(GROUPS)})$", text, re.MULTILINE))
    return {rule for number, rule in finished if number not in submitted} - grouped


def test_results_are_those_of_an_undisturbed_local_run(studies: tuple[Path, Done]) -> None:
    results, done = studies
    expected, found = digests(results), digests(done.folder / "results")
    assert sorted(found) == sorted(expected)
    assert {name for name in expected if found[name] != expected[name]} == set()


def test_the_job_of_the_lost_node_began_again_under_its_number(studies: tuple[Path, Done]) -> None:
    _, done = studies
    (job,) = [job for job in done.jobs if job["JobId"] == done.lost.job]
    assert job["Comment"] == done.lost.comment
    assert int(job["Restarts"]) == 1
    assert job["JobState"] == "COMPLETED"
    # The jobs of other nodes were not touched, and snakemake submitted nothing twice.
    again = {job["JobId"] for job in done.jobs if job["Restarts"] != "0"}
    assert job["JobId"] in again <= done.lost.all_jobs
    assert len({job["Comment"] for job in done.jobs if rule_of(job) not in GROUPS}) == len(
        [job for job in done.jobs if rule_of(job) not in GROUPS]
    )
    assert {job["JobState"] for job in done.jobs} == {"COMPLETED"}


def test_every_rule_ran_as_a_job_but_those_that_need_the_network_or_latex(
    studies: tuple[Path, Done],
) -> None:
    _, done = studies
    rules = {rule_of(job) for job in done.jobs}
    extracts = {rule for rule in rules if rule.startswith("extract_")}
    assert rules - extracts == GROUPS | ALONE
    assert extracts >= {"extract_lensbench_llava", "extract_lensbench_qwen2vl"}
    assert local_rules(done.log) <= LOCAL
    # Slurm's own numbers, each of which the executor was given for one job.
    assert len({job["JobId"] for job in done.jobs}) == len(done.jobs)
    for job in done.jobs:
        assert f"has been submitted with SLURM jobid {job['JobId']} " in done.log


def test_what_a_job_asks_for_is_what_the_models_rule_says(studies: tuple[Path, Done]) -> None:
    _, done = studies
    seen = set()
    for job in done.jobs:
        rule = rule_of(job)
        if rule in GROUPS:
            continue
        model = model_of(job)
        text = (ROOT / f"workflow/rules/models/{model}.smk").read_text(encoding="utf-8")
        (mem,) = re.findall(r"mem_mb=(\d+)", text)
        (runtime,) = re.findall(r"runtime=(\d+)", text)
        assert f"mem={mem}M," in job["TRES"] or f"mem={int(mem) / 1000:g}G," in job["TRES"], job
        hours, minutes = divmod(int(runtime), 60)
        assert job["TimeLimit"] == f"{hours:02d}:{minutes:02d}:00"
        # The command line gave one model a GPU; no other asks for any.
        wanted = model == ON_GPU
        assert job.get("TresPerJob", "") == ("gres:gpu:1" if wanted else ""), job
        assert job["Partition"] == ("gpu" if wanted else "cpu")
        seen.add((rule, wanted))
    assert ("closeup", True) in seen, "studies take the GPU from the model's rule"
    assert ("closeup", False) in seen


def test_a_cluster_is_not_asked_for_many_small_jobs(studies: tuple[Path, Done]) -> None:
    _, done = studies
    total = int(re.findall(r"^total +(\d+)$", done.log, re.MULTILINE)[0])
    small = [job for job in done.jobs if rule_of(job) in GROUPS]
    # One submission a group; metrics come eight runs at a time.
    runs = len(list((done.folder / "results/metrics").glob("*/*/summary.parquet")))
    assert len(small) <= len(GROUPS) + runs // 8
    # What loads a model is submitted by itself, all other jobs by a few at least.
    big = [job for job in done.jobs if rule_of(job) not in GROUPS]
    assert len(small) <= (total - len(big)) / 2


def test_jobs_of_a_group_do_not_wait_for_each_others_memory(studies: tuple[Path, Done]) -> None:
    _, done = studies
    folder = done.folder / ".snakemake/slurm_logs"
    logs = list(folder.rglob("*.log"))
    assert {log.relative_to(folder).parts[0].partition("_")[0] for log in logs} == {"group", "rule"}
    waited = [
        log.name
        for log in logs
        if "step creation temporarily disabled" in log.read_text(errors="replace")
    ]
    assert not waited
