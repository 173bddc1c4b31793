"""Reports in real directories, through kills, full disks, planted links and many threads."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from alert_service import reports as module
from alert_service.catalogue import Full
from alert_service.reports import NotOpen, Reports
from alert_service.text import Unreadable
from mesh.health import Unhealthy
from sluice.alert.v1.alert_service_pb2 import Alert, Report

ROOT = Path(__file__).parents[3]
TIME = "2025-05-12T14:30:05.123456Z"
NAME = "alert_2025-05-12T14-30-05.123456.txt"
NEXT_NAME = "alert_2025-05-12T14-30-05.123457.txt"
SECRET = "123-45-6789"


def report_of(alert_id: str, time: str = TIME, payload: str = SECRET) -> Report:
    report = Report(alert=Alert(alert_id=alert_id, event_type="PII"))
    report.alert.raise_time.FromJsonString(time)
    report.payload.string_value = payload
    return report


def opened(path: Path, most_reports: int = 1000, most_bytes: int = 10**9) -> Reports:
    reports = Reports(path, most_reports, most_bytes)
    reports.probe()
    return reports


def visible(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir() if not each.name.startswith("."))


def leftovers(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir() if each.name.endswith(".tmp"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "error_reports"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], None]]:
    """Let one of os's calls fail with an errno, until `failing(name, 0)`."""

    def fail(name: str, number: int) -> None:
        monkeypatch.undo()

        def stand_in(*_: Any, **__: Any) -> Any:
            raise OSError(number, os.strerror(number))

        if number:
            monkeypatch.setattr(os, name, stand_in)

    return fail  # type: ignore[return-value]


def test_a_report_is_whole_private_and_named_by_its_time(path: Path) -> None:
    written = opened(path).write(report_of("alert-01"))
    assert written.name == NAME
    assert written.is_new
    assert visible(path) == [NAME]
    assert leftovers(path) == []
    assert json.loads((path / NAME).read_text()) == {
        "alert": {
            "alert_id": "alert-01",
            "event_type": "PII",
            "raise_time": TIME,
            "report": NAME,
        },
        "payload": SECRET,
    }
    assert stat.S_IMODE((path / NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / ".ids").stat().st_mode) == 0o700
    assert (path / NAME).stat().st_nlink == 1


def test_an_existing_directory_is_closed_to_others(path: Path) -> None:
    path.mkdir(mode=0o755)
    opened(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_repeating_an_alert_changes_nothing(path: Path) -> None:
    reports = opened(path)
    reports.write(report_of("alert-01"))
    again = reports.write(report_of("alert-01", "2026-01-01T00:00:00Z", "other"))
    assert (again.name, again.is_new) == (NAME, False)
    assert visible(path) == [NAME]
    assert SECRET in (path / NAME).read_text()


def test_repeating_an_alert_after_a_restart_changes_nothing(path: Path) -> None:
    opened(path).write(report_of("alert-01"))
    again = opened(path).write(report_of("alert-01", "2026-01-01T00:00:00Z"))
    assert (again.name, again.is_new) == (NAME, False)
    assert visible(path) == [NAME]


def test_alerts_of_one_microsecond_have_a_report_each(path: Path) -> None:
    reports = opened(path)
    assert reports.write(report_of("alert-01")).name == NAME
    assert reports.write(report_of("alert-02")).name == NEXT_NAME
    alert = reports.read("alert-02")
    assert alert is not None
    assert alert.report == NEXT_NAME
    assert alert.raise_time.ToJsonString() == TIME
    assert json.loads((path / NEXT_NAME).read_text())["alert"]["report"] == NEXT_NAME


def test_threads_agree_on_one_report_for_each_alert(path: Path) -> None:
    reports = opened(path)
    ids = [f"alert-{number:02}" for number in range(10)] * 10
    with ThreadPoolExecutor(16) as pool:
        written = list(pool.map(lambda alert_id: reports.write(report_of(alert_id)), ids))
    assert len(visible(path)) == 10
    assert sum(each.is_new for each in written) == 10
    assert len({(alert_id, each.name) for alert_id, each in zip(ids, written, strict=True)}) == 10
    assert leftovers(path) == []
    assert reports.count == 10


def test_a_killed_writer_leaves_one_whole_report_or_none(tmp_path: Path) -> None:
    """Kill it before each step in turn; whatever it left, the repeated call ends with one file."""
    script = Path(__file__).with_name("killed_writer.py")
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"}
    left = set()
    for step in range(1, 100):
        path = tmp_path / str(step)
        writer = subprocess.run(
            [sys.executable, script, path, str(step)], env=environment, capture_output=True
        )
        if writer.returncode == 0:
            assert b"written" in writer.stdout
            break
        assert writer.returncode == -signal.SIGKILL, writer.stderr
        left.add((bool(visible(path)), bool(leftovers(path))))
        for name in visible(path):
            assert json.loads((path / name).read_text())["payload"] == "x" * 10_000
        reports = opened(path)
        assert leftovers(path) == []
        before = visible(path)
        again = reports.write(report_of("alert-killed", "2026-01-01T00:00:00Z"))
        assert again.is_new == (before == [])
        assert visible(path) == [again.name]
        assert reports.read("alert-killed") is not None
        assert len(reports.page(10, "").alerts) == 1
    else:
        pytest.fail("the writer never got through")
    # The kills really hit different places: nothing yet, half done, visible and done.
    assert left == {(False, False), (False, True), (True, True), (True, False)}


def test_an_interrupted_report_is_completed_and_a_torn_one_goes(path: Path) -> None:
    opened(path).write(report_of("alert-01"))
    text = (path / NAME).read_bytes()
    (path / ".alert-01.tmp").write_bytes(text)
    (path / NAME).unlink()
    (path / ".ids/alert-01").unlink()
    (path / ".alert-02.tmp").write_bytes(text[: len(text) // 2])
    (path / ".alert-03.tmp").write_bytes(text)
    (path / ".tmp").write_bytes(b"")
    reports = opened(path)
    assert visible(path) == [NAME]
    assert leftovers(path) == []
    assert (path / NAME).read_bytes() == text
    assert not reports.write(report_of("alert-01")).is_new


def test_an_interrupted_report_takes_nobody_elses_name(path: Path) -> None:
    opened(path).write(report_of("alert-01"))
    text = (path / NAME).read_bytes()
    (path / ".alert-02.tmp").write_bytes(text.replace(b"alert-01", b"alert-02"))
    opened(path)
    assert (path / NAME).read_bytes() == text
    assert visible(path) == [NAME]
    assert leftovers(path) == []


def test_an_alert_that_has_its_report_gets_no_second_from_a_leftover(path: Path) -> None:
    opened(path).write(report_of("alert-01"))
    text = (path / NAME).read_bytes().replace(NAME.encode(), NEXT_NAME.encode())
    (path / ".alert-01.tmp").write_bytes(text)
    opened(path)
    assert visible(path) == [NAME]


def test_identities_are_rebuilt_from_the_reports(path: Path) -> None:
    opened(path).write(report_of("alert-01"))
    shutil.rmtree(path / ".ids")
    reports = opened(path)
    assert not reports.write(report_of("alert-01", "2026-01-01T00:00:00Z")).is_new
    assert visible(path) == [NAME]


def test_removing_a_report_file_forgets_the_alert(path: Path) -> None:
    reports = opened(path)
    reports.write(report_of("alert-01"))
    reports.write(report_of("alert-02"))
    (path / NAME).unlink()
    assert reports.read("alert-01") is None
    assert [alert.alert_id for alert in reports.page(10, "").alerts] == ["alert-02"]
    assert reports.count == 1
    files = [each for each in path.rglob("*") if each.is_file() and not each.is_symlink()]
    assert files == [path / NEXT_NAME]
    assert reports.write(report_of("alert-01")).is_new


@pytest.mark.parametrize("call", ["open", "fsync", "symlink", "link", "unlink"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failing_disk_is_told_and_the_repeated_call_succeeds(
    path: Path, failing: Callable[[str, int], None], call: str, number: int
) -> None:
    reports = opened(path)
    reports.write(report_of("alert-00", "2020-01-01T00:00:00Z"))
    failing(call, number)
    with pytest.raises(OSError) as caught:
        reports.write(report_of("alert-01"))
    assert caught.value.errno == number
    failing(call, 0)
    written = reports.write(report_of("alert-01"))
    assert written.is_new
    assert reports.write(report_of("alert-01")).name == written.name
    assert visible(path) == ["alert_2020-01-01T00-00-00.000000.txt", written.name]
    assert reports.count == 2
    assert [each.alert_id for each in reports.page(9, "").alerts] == ["alert-01", "alert-00"]
    assert leftovers(path) == []


def test_a_disk_that_fails_at_the_last_step_is_asked_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is visible by then, but may not be durable: the first call must not succeed."""
    reports = opened(path)
    real = os.fsync
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 3:
            raise OSError(errno.EIO, "EIO")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError):
        reports.write(report_of("alert-01"))
    assert visible(path) == [NAME]
    again = reports.write(report_of("alert-01"))
    assert (again.name, again.is_new) == (NAME, True)
    assert len(synced) == 5
    assert visible(path) == [NAME]


def test_a_planted_link_is_neither_followed_nor_overwritten(path: Path, tmp_path: Path) -> None:
    reports = opened(path)
    target = tmp_path / "target"
    target.write_text("mine")
    (path / NAME).symlink_to(target)
    (path / ".alert-01.tmp").symlink_to(target)
    (path / ".ids/alert-01").symlink_to(target)
    assert reports.write(report_of("alert-01")).name == NEXT_NAME
    assert target.read_text() == "mine"
    assert (path / NAME).is_symlink()
    assert reports.count == 1
    assert len(reports.page(10, "").alerts) == 1
    (path / ".alert-09.tmp").symlink_to(target)
    del reports
    assert opened(path).count == 1
    assert leftovers(path) == []
    assert target.read_text() == "mine"


def test_a_linked_directory_of_identities_is_not_entered(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.mkdir()
    (path / ".ids").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unhealthy):
        opened(path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_pipe_named_like_a_report_holds_nobody_up(path: Path) -> None:
    reports = opened(path)
    reports.write(report_of("alert-01"))
    (path / NAME).unlink()
    os.mkfifo(path / NAME)
    with pytest.raises(OSError):
        reports.read("alert-01")


def test_a_changed_report_is_told_and_passed_over(path: Path) -> None:
    reports = opened(path)
    reports.write(report_of("alert-01"))
    reports.write(report_of("alert-02"))
    (path / NAME).write_text("changed")
    with pytest.raises(Unreadable):
        reports.read("alert-01")
    assert [alert.alert_id for alert in reports.page(10, "").alerts] == ["alert-02"]


def test_pages_go_from_new_to_old_and_read_only_themselves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = opened(path)
    for number in range(7):
        reports.write(report_of(f"alert-{number:02}", f"2025-01-01T00:00:0{number}Z"))
    opens: list[str] = []
    real = os.open

    def note(name: Any, *arguments: Any, **options: Any) -> int:
        opens.append(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(os, "open", note)
    seen, stamp = [], ""
    for size in (3, 3, 1):
        page = reports.page(3, stamp)
        assert len(page.alerts) == size == len(opens)
        opens.clear()
        stamp = page.next_stamp
        seen += [alert.alert_id for alert in page.alerts]
    assert stamp == ""
    assert seen == [f"alert-{number:02}" for number in reversed(range(7))]


def test_a_page_that_is_exactly_full_is_the_last(path: Path) -> None:
    reports = opened(path)
    for number in range(4):
        reports.write(report_of(f"alert-{number:02}"))
    first = reports.page(2, "")
    assert first.next_stamp
    assert not reports.page(2, first.next_stamp).next_stamp


def test_a_page_of_large_alerts_is_cut_to_fit_a_message(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 150)
    reports = opened(path)
    for number in range(4):
        reports.write(report_of(f"alert-{number:02}"))
    seen, stamp, pages = [], "", 0
    while pages == 0 or stamp:
        page = reports.page(500, stamp)
        seen += [alert.alert_id for alert in page.alerts]
        stamp, pages = page.next_stamp, pages + 1
    assert seen == ["alert-03", "alert-02", "alert-01", "alert-00"]
    assert pages > 1


def test_alerts_are_read_without_their_payload(path: Path) -> None:
    reports = opened(path)
    reports.write(report_of("alert-01", payload=SECRET * 100_000))
    alert = reports.read("alert-01")
    assert alert is not None
    assert SECRET not in str(alert)
    assert reports.page(1, "").alerts == [alert]


def test_the_number_of_reports_is_bounded(path: Path) -> None:
    reports = opened(path, most_reports=2)
    reports.write(report_of("alert-01"))
    reports.write(report_of("alert-02"))
    with pytest.raises(Full):
        reports.write(report_of("alert-03"))
    assert not reports.write(report_of("alert-01")).is_new
    assert leftovers(path) == []


def test_their_size_is_bounded(path: Path) -> None:
    reports = opened(path, most_bytes=2000)
    reports.write(report_of("alert-01"))
    with pytest.raises(Full):
        reports.write(report_of("alert-02", payload="x" * 2000))
    assert reports.write(report_of("alert-03")).is_new
    assert reports.total_bytes == sum((path / name).stat().st_size for name in visible(path))


def test_room_that_somebody_made_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECOUNT_SECONDS", 0)
    reports = opened(path, most_reports=1)
    reports.write(report_of("alert-01"))
    (path / NAME).unlink()
    assert reports.write(report_of("alert-02")).is_new


def test_a_directory_that_vanished_is_made_again(path: Path) -> None:
    reports = opened(path)
    reports.write(report_of("alert-01"))
    shutil.rmtree(path)
    with pytest.raises(OSError):
        reports.write(report_of("alert-02"))
    reports.probe()
    assert reports.count == 0
    assert reports.write(report_of("alert-02")).is_new
    assert visible(path) == [NAME]


def test_a_directory_has_one_keeper(path: Path) -> None:
    first = opened(path)
    first.probe()
    second = Reports(path, 10, 1000)
    with pytest.raises(Unhealthy, match="another process"):
        second.probe()
    with pytest.raises(NotOpen):
        second.write(report_of("alert-01"))
    del first
    second.probe()
    assert second.write(report_of("alert-01")).is_new


def test_a_place_where_no_directory_can_be_is_told_until_it_can(path: Path) -> None:
    path.write_text("a file")
    reports = Reports(path, 10, 10_000)
    with pytest.raises(Unhealthy, match="ENOTDIR"):
        reports.probe()
    path.unlink()
    reports.probe()
    assert reports.write(report_of("alert-01")).is_new


def test_a_full_disk_is_told_by_the_probe(path: Path, failing: Callable[[str, int], None]) -> None:
    reports = opened(path)
    failing("open", errno.ENOSPC)
    with pytest.raises(Unhealthy, match="ENOSPC"):
        reports.probe()
    failing("open", 0)
    reports.probe()
    assert leftovers(path) == []
