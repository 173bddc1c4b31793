"""The gate's policy: kept in a file, taken up when it changes, and never lost to a bad one."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

import detection
from ingest_service import gate
from ingest_service.gate import Gate
from mesh.health import Unhealthy
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

FIRST = "version: 1\naction: reject\nkeywords:\n  - nightjar\n"
SECOND = "version: 1\naction: reject\nkeywords:\n  - kingfisher\n"


def submission(text: str) -> SubmitRequest:
    made = SubmitRequest()
    made.data.string_value = text
    return made


async def test_a_changed_policy_is_taken_up_and_a_bad_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "POLICY_CHECK_SECONDS", 0.01)
    path = tmp_path / "policy.yaml"
    path.write_text(FIRST)
    judge = Gate(path)
    watching = asyncio.create_task(judge.watch_policy())

    async def until(refuses: str, accepts: str) -> None:
        async with asyncio.timeout(10):
            while not judge.judge(submission(refuses)).refusal:
                await asyncio.sleep(0.01)
        assert not judge.judge(submission(accepts)).refusal

    async def until_metric(value: float) -> None:
        async with asyncio.timeout(10):
            while REGISTRY.get_sample_value("sluice_policy_refused") != value:
                await asyncio.sleep(0.01)

    await until_metric(0)
    await judge.policy_in_force()
    for bad in ("version: 1\naction: nonsense\n", "", None):
        if bad is None:
            path.unlink()
        else:
            path.write_text(bad)
        await until_metric(1)
        with pytest.raises(Unhealthy):
            await judge.policy_in_force()
        await until(refuses="project nightjar", accepts="project kingfisher")
    path.write_text(SECOND)
    await until(refuses="project kingfisher", accepts="project nightjar")
    await until_metric(0)
    await judge.policy_in_force()
    watching.cancel()


async def test_nothing_ends_the_watch_over_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "POLICY_CHECK_SECONDS", 0.01)
    path = tmp_path / "policy.yaml"
    path.write_text(FIRST)
    judge = Gate(path)
    looks = asyncio.Queue[None]()

    def broken(_file: detection.PolicyFile) -> bool:
        looks.put_nowait(None)
        raise RuntimeError

    monkeypatch.setattr(detection.PolicyFile, "refresh", broken)
    watching = asyncio.create_task(judge.watch_policy())
    async with asyncio.timeout(10):
        for _ in range(3):
            await looks.get()
    assert not watching.done()
    watching.cancel()


async def test_a_bad_policy_is_logged_once_for_each_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "POLICY_CHECK_SECONDS", 0.001)
    path = tmp_path / "policy.yaml"
    path.write_text(FIRST)
    judge = Gate(path)
    looks = 0
    refresh = detection.PolicyFile.refresh

    def counted(file: detection.PolicyFile) -> bool:
        nonlocal looks
        looks += 1
        return refresh(file)

    monkeypatch.setattr(detection.PolicyFile, "refresh", counted)
    with capture_logs() as logged:
        watching = asyncio.create_task(judge.watch_policy())
        for bad in ("action: what\n", "action: who\n"):
            path.write_text(bad)
            async with asyncio.timeout(10):
                begun = looks
                while looks < begun + 20:
                    await asyncio.sleep(0.001)
        watching.cancel()
    assert [each["event"] for each in logged] == ["policy refused, the old one holds"] * 2
    assert all("line 1: action" in each["reason"] for each in logged)


def test_a_bad_policy_at_the_start_is_said(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\naction: nonsense\n")
    with pytest.raises(detection.PolicyError, match="line 2"):
        Gate(path)


@pytest.mark.parametrize(
    ("action", "refused", "kept"),
    [("reject", True, False), ("redact", False, False), ("tag", False, True)],
)
def test_an_action_decides_what_is_accepted_and_what_is_kept(
    tmp_path: Path, action: str, refused: bool, kept: bool
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\ndetectors:\n  email:\n    action: {action}\n")
    judgement = Gate(path).judge(submission("write to bob@example.com"))
    assert bool(judgement.refusal) is refused
    assert (judgement.masked_data is None) is kept
    assert kept or "bob@example.com" not in str(judgement.masked_data)
    assert judgement.detectors == ("email",)
