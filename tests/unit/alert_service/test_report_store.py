"""Reports in real directories, through kills, full disks, planted links and many threads."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alert_service import names
from alert_service import report_store as module
from alert_service.directory import Directory
from alert_service.index import NAME as INDEX
from alert_service.index import Filter, Index, Row
from alert_service.names import ReportKey
from alert_service.report_store import Limits, ReportStore, StoreClosed, StoreFull, WriteResult
from alert_service.text import UnreadableReport
from mesh.health import Unhealthy
from sluice.alert.v1.alert_service_pb2 import Alert, Report
from tests.kit.reports import write

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


EDGE_LIMITS = Limits(5, 10_000, 1)


def opened(path: Path, most_reports: int = 1000, most_bytes: int = 10**9) -> ReportStore:
    store = ReportStore(path, Limits(most_reports, most_bytes, 0), EDGE_LIMITS)
    store.probe()
    return store


def visible(path: Path) -> list[str]:
    return sorted(each.name for each in path.glob("alert_*"))


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
    store = opened(path)
    written = write(store, report_of("alert-01"))
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
    assert stat.S_IMODE((path / "edge").stat().st_mode) == 0o700
    for other in (".key", INDEX, f"{INDEX}-wal", f"{INDEX}-shm"):
        assert stat.S_IMODE((path / other).stat().st_mode) == 0o600
    assert (path / NAME).stat().st_nlink == 1


def test_an_existing_directory_is_closed_to_others(path: Path) -> None:
    path.mkdir(mode=0o755)
    opened(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_repeating_an_alert_changes_nothing(path: Path) -> None:
    store = opened(path)
    write(store, report_of("alert-01"))
    again = write(store, report_of("alert-01", "2026-01-01T00:00:00Z", "other"))
    assert (again.name, again.is_new) == (NAME, False)
    assert visible(path) == [NAME]
    assert SECRET in (path / NAME).read_text()


def test_repeating_an_alert_after_a_restart_changes_nothing(path: Path) -> None:
    write(opened(path), report_of("alert-01"))
    again = write(opened(path), report_of("alert-01", "2026-01-01T00:00:00Z"))
    assert (again.name, again.is_new) == (NAME, False)
    assert visible(path) == [NAME]


def test_alerts_of_one_microsecond_have_a_report_each(path: Path) -> None:
    store = opened(path)
    assert write(store, report_of("alert-01")).name == NAME
    assert write(store, report_of("alert-02")).name == NEXT_NAME
    alert = store.read("alert-02")
    assert alert is not None
    assert alert.report == NEXT_NAME
    assert alert.raise_time.ToJsonString() == TIME
    assert json.loads((path / NEXT_NAME).read_text())["alert"]["report"] == NEXT_NAME


def test_threads_agree_on_one_report_for_each_alert(path: Path) -> None:
    store = opened(path)
    ids = [f"alert-{number:02}" for number in range(10)] * 10
    with ThreadPoolExecutor(16) as pool:
        written = list(pool.map(lambda alert_id: write(store, report_of(alert_id)), ids))
    assert len(visible(path)) == 10
    assert sum(each.is_new for each in written) == 10
    assert len({(alert_id, each.name) for alert_id, each in zip(ids, written, strict=True)}) == 10
    assert leftovers(path) == []
    assert store.count() == 10


def killed_before(step: int, path: Path, *mode: str) -> subprocess.CompletedProcess[bytes]:
    """Let another process write into a directory, and kill it before one of its steps."""
    return subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_writer.py"), path, str(step), *mode],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"},
        capture_output=True,
    )


def test_a_killed_writer_leaves_one_whole_report_or_none(tmp_path: Path) -> None:
    """Kill it before each step in turn; whatever it left, the repeated call ends with one file."""
    left = set()
    for step in range(1, 100):
        path = tmp_path / str(step)
        writer = killed_before(step, path)
        if writer.returncode == 0:
            assert b"written" in writer.stdout
            break
        assert writer.returncode == -signal.SIGKILL, writer.stderr
        left.add((bool(visible(path)), bool(leftovers(path))))
        for name in visible(path):
            assert json.loads((path / name).read_text())["payload"] == "x" * 10_000
        store = opened(path)
        assert leftovers(path) == []
        before = visible(path)
        again = write(store, report_of("alert-killed", "2026-01-01T00:00:00Z"))
        assert again.is_new == (before == [])
        assert visible(path) == [again.name]
        assert store.read("alert-killed") is not None
        assert len(store.page(10).alerts) == 1
    else:
        pytest.fail("the writer never got through")
    # The kills really hit different places: nothing yet, half done, visible and done.
    assert left == {(False, False), (False, True), (True, True), (True, False)}


def test_a_writer_of_several_reports_leaves_each_whole_or_not_at_all(tmp_path: Path) -> None:
    """Kill it before each step in turn; the repeated call ends with one file for each."""
    left = set()
    for step in range(1, 100):
        path = tmp_path / str(step)
        writer = killed_before(step, path, "together")
        if writer.returncode == 0:
            break
        assert writer.returncode == -signal.SIGKILL, writer.stderr
        before = visible(path)
        left.add(len(before))
        for name in before:
            assert json.loads((path / name).read_text())["payload"] == "x" * 10_000
        store = opened(path)
        assert leftovers(path) == []
        again = store.write_all([report_of(f"alert-killed-{number}") for number in range(3)])
        written = [each for each in again if isinstance(each, WriteResult)]
        assert [each.is_new for each in written] == [number >= len(before) for number in range(3)]
        assert visible(path) == sorted(each.name for each in written)
        assert store.count() == len(store.page(10).alerts) == 3
    else:
        pytest.fail("the writer never got through")
    assert left == {0, 1, 2, 3}


class Disk:
    """Notes what is written, made durable and named, in order, and what a power cut would leave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self._lock = threading.Lock()
        self._watch(monkeypatch, "fsync", lambda descriptor: self._synced(descriptor))
        self._watch(monkeypatch, "link", lambda _, name, **__: f"name {name}")

    def _watch(self, monkeypatch: pytest.MonkeyPatch, call: str, step: Callable[..., str]) -> None:
        real = getattr(os, call)

        def stand_in(*arguments: Any, **options: Any) -> Any:
            name = step(*arguments, **options)
            result = real(*arguments, **options)
            with self._lock:
                self.steps.append(name)
            return result

        monkeypatch.setattr(os, call, stand_in)

    @staticmethod
    def _synced(descriptor: int) -> str:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return "directory"
        return f"content {name_of(descriptor)}"


def name_of(descriptor: int) -> str:
    return Path(f"/proc/self/fd/{descriptor}").readlink().name


@pytest.mark.parametrize("count", [1, 2, 8, 9, 100])
def test_reports_that_are_written_together_share_what_makes_them_durable(
    path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Every content is durable before any name is given, and all names by one call at the end."""
    store = opened(path)
    assert store._files is not None
    statements: list[str] = []
    store._files.index._writer.set_trace_callback(statements.append)
    disk = Disk(monkeypatch)
    written = store.write_all([report_of(f"alert-{number:03}") for number in range(count)])
    assert all(isinstance(each, WriteResult) and each.is_new for each in written)
    contents, names_, last = disk.steps[:count], disk.steps[count:-1], disk.steps[-1]
    assert sorted(contents) == [f"content .alert-{number:03}.tmp" for number in range(count)]
    assert sorted(names_) == [f"name {name}" for name in visible(path)]
    assert len(names_) == count
    assert last == "directory"
    assert [each for each in statements if each == "COMMIT"] == ["COMMIT"]
    assert store.count() == count


def test_of_reports_written_together_one_that_fails_takes_no_other_along(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(path, most_bytes=5000)
    write(store, report_of("alert-00"))
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if name_of(descriptor) == ".alert-02.tmp":
            raise OSError(errno.EIO, "EIO")
        real(descriptor)

    reports = [
        *(report_of("alert-00"), report_of("alert-01"), report_of("alert-02")),
        *(report_of("alert-03", payload="x" * 5000), report_of("alert-01"), report_of("alert-04")),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        outcomes = store.write_all(reports)
    new = [each.is_new if isinstance(each, WriteResult) else type(each) for each in outcomes]
    assert new == [False, True, OSError, StoreFull, False, True]
    assert outcomes[1].name == outcomes[4].name  # type: ignore[union-attr]
    assert leftovers(path) == []
    assert store.count() == len(visible(path)) == 3
    assert write(store, report_of("alert-02")).is_new


def test_when_the_names_may_not_be_durable_none_of_several_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(path)
    reports = [report_of(f"alert-{number:02}") for number in range(5)]
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "sync", failing_sync)
        with pytest.raises(OSError):
            store.write_all(reports)
    assert store.count() == 0
    names_ = visible(path)
    assert len(names_) == 5
    again = store.write_all(reports)
    assert [each.name for each in again if isinstance(each, WriteResult)] == names_
    # Nobody was told of them before.
    assert all(isinstance(each, WriteResult) and each.is_new for each in again)
    assert visible(path) == names_


def failing_sync(_: Directory) -> None:
    raise OSError(errno.EIO, "EIO")


def test_several_that_want_a_taken_name_find_another(path: Path) -> None:
    store = opened(path)
    (path / NAME).write_text("mine")
    (path / NEXT_NAME).write_text("mine")
    written = store.write_all([report_of(f"alert-{number:02}") for number in range(3)])
    names_ = {each.name for each in written if isinstance(each, WriteResult)}
    assert len(names_) == 3
    assert {NAME, NEXT_NAME} | names_ == {*visible(path)}
    assert (path / NAME).read_text() == (path / NEXT_NAME).read_text() == "mine"
    assert leftovers(path) == []
    for name in names_:
        assert json.loads((path / name).read_text())["alert"]["report"] == name


def test_a_health_check_does_not_read_the_directory_anew_for_what_is_being_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(path)
    assert store._files is not None
    real = Directory.sync
    synced: list[Directory] = []

    def sync(directory: Directory) -> None:
        synced.append(directory)
        if len(synced) == 1:
            # The names are there by now, and not durable.
            store.probe()
        real(directory)

    monkeypatch.setattr(Directory, "sync", sync)
    store.write_all([report_of("alert-01"), report_of("alert-02")])
    assert len(synced) == 1


def test_what_an_interrupted_writer_left_goes_and_the_repeated_call_is_new(path: Path) -> None:
    write_and_close(path, "alert-01")
    text = (path / NAME).read_bytes()
    (path / ".alert-01.tmp").write_bytes(text)
    (path / NAME).unlink()
    (path / ".alert-02.tmp").write_bytes(text[: len(text) // 2])
    (path / "edge" / ".alert-03.tmp").write_bytes(text)
    (path / ".tmp").write_bytes(b"")
    store = opened(path)
    assert visible(path) == []
    assert leftovers(path) == leftovers(path / "edge") == []
    assert write(store, report_of("alert-01")).is_new


def test_a_report_that_is_there_under_both_names_stands(path: Path) -> None:
    write_and_close(path, "alert-01")
    os.link(path / NAME, path / ".alert-01.tmp")
    store = opened(path)
    assert visible(path) == [NAME]
    assert (path / NAME).stat().st_nlink == 1
    assert not write(store, report_of("alert-01")).is_new


def write_and_close(path: Path, *alert_ids: str) -> None:
    """Write some reports, a microsecond apart, as a process does that ends then."""
    store = opened(path)
    for number, alert_id in enumerate(alert_ids):
        write(store, report_of(alert_id, f"2025-05-12T14:30:05.{123456 + number}Z"))


@pytest.mark.parametrize("damage", ["missing", "empty", "noise", "torn", "version", "link", "log"])
def test_the_index_is_made_anew_from_the_reports(path: Path, tmp_path: Path, damage: str) -> None:
    write_and_close(path, *(f"alert-{number:02}" for number in range(50)))
    (path / NAME).unlink()
    index = path / INDEX
    if damage == "missing":
        index.unlink()
    elif damage == "empty":
        index.write_bytes(b"")
    elif damage == "noise":
        index.write_bytes(random.Random(1).randbytes(index.stat().st_size))
    elif damage == "torn":
        content = bytearray(index.read_bytes())
        content[4096:] = random.Random(1).randbytes(len(content) - 4096)
        index.write_bytes(content)
    elif damage == "version":
        with closing(sqlite3.connect(index)) as database:
            database.executescript("DROP TABLE reports; PRAGMA user_version = 99;")
    elif damage == "link":
        index.rename(tmp_path / "elsewhere")
        index.symlink_to(tmp_path / "elsewhere")
    else:
        (path / f"{INDEX}-wal").write_bytes(random.Random(1).randbytes(10_000))
    store = opened(path)
    assert store.count() == 49
    assert [each.alert_id for each in store.page(2).alerts] == ["alert-49", "alert-48"]
    assert not write(store, report_of("alert-07")).is_new
    assert write(store, report_of("alert-00")).is_new
    assert not index.is_symlink()
    assert stat.S_IMODE(index.stat().st_mode) == 0o600


def test_the_log_of_an_index_that_is_gone_counts_for_nothing(path: Path) -> None:
    """So it is when somebody removes the index after a kill."""
    store = opened(path)
    for number in range(20):
        write(store, report_of(f"alert-{number:02}", f"2025-05-12T14:30:{number:02}Z"))
    log = (path / f"{INDEX}-wal").read_bytes()
    del store
    (path / INDEX).unlink()
    (path / f"{INDEX}-wal").write_bytes(log)
    (path / "alert_2025-05-12T14-30-07.000000.txt").unlink()
    store = opened(path)
    assert store.count() == 19
    assert len(store.page(50).alerts) == 19


def test_an_index_that_fails_is_told_and_opened_anew(path: Path) -> None:
    store = opened(path)
    write(store, report_of("alert-01"))
    with closing(sqlite3.connect(path / INDEX)) as database:
        database.executescript("DROP TABLE reports; PRAGMA user_version = 0;")
    errors = []
    for call in (
        lambda: write(store, report_of("alert-02")),
        lambda: store.read("alert-01"),
        lambda: store.page(10),
        store.sweep,
    ):
        with pytest.raises(OSError) as caught:
            call()
        errors.append(caught.value)
    # Whoever still has one of them keeps nobody waiting.
    assert all(error.__traceback__ for error in errors)
    store.probe()
    assert not write(store, report_of("alert-01")).is_new
    assert write(store, report_of("alert-02")).is_new
    assert store.count() == 2


def test_a_report_that_the_index_could_not_take_is_not_written_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(path)

    def fail(*_: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Index, "add", fail)
        with pytest.raises(OSError):
            write(store, report_of("alert-01"))
    assert visible(path) == [NAME]
    assert write(store, report_of("alert-01")).name == NAME
    store.probe()
    assert not write(store, report_of("alert-01")).is_new
    assert visible(path) == [NAME]


def test_the_index_holds_nothing_of_a_payload(path: Path) -> None:
    write_and_close(path, "alert-01")
    files = [each for each in path.rglob("*") if each.is_file()]
    assert len(files) > 2
    assert [each.name for each in files if SECRET.encode() in each.read_bytes()] == [NAME]


def test_the_key_is_kept_and_made_anew_only_when_it_is_gone(path: Path, tmp_path: Path) -> None:
    key = opened(path).hmac_key
    assert opened(path).hmac_key == key
    assert len(set(key)) > 8
    (tmp_path / "planted").write_bytes(bytes(32))
    (path / ".key").unlink()
    (path / ".key").symlink_to(tmp_path / "planted")
    other = opened(path).hmac_key
    assert other not in {key, bytes(32)}
    assert (tmp_path / "planted").read_bytes() == bytes(32)
    (path / ".key").write_bytes(other[:-1])
    assert len(opened(path).hmac_key) == 32


def test_removing_a_report_file_forgets_the_alert(path: Path) -> None:
    store = opened(path)
    write(store, report_of("alert-01"))
    write(store, report_of("alert-02"))
    (path / NAME).unlink()
    assert store.read("alert-01") is None
    assert [alert.alert_id for alert in store.page(10).alerts] == ["alert-02"]
    assert store.count() == 1
    files = [each for each in path.rglob("*") if each.is_file()]
    assert [each.name for each in files if SECRET.encode() in each.read_bytes()] == [NEXT_NAME]
    assert write(store, report_of("alert-01")).is_new


@pytest.mark.parametrize("call", ["open", "fsync", "link", "unlink"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failing_disk_is_told_and_the_repeated_call_succeeds(
    path: Path, failing: Callable[[str, int], None], call: str, number: int
) -> None:
    store = opened(path)
    write(store, report_of("alert-00", "2020-01-01T00:00:00Z"))
    failing(call, number)
    with pytest.raises(OSError) as caught:
        write(store, report_of("alert-01"))
    assert caught.value.errno == number
    failing(call, 0)
    written = write(store, report_of("alert-01"))
    assert written.is_new
    assert write(store, report_of("alert-01")).name == written.name
    assert visible(path) == ["alert_2020-01-01T00-00-00.000000.txt", written.name]
    assert store.count() == 2
    assert [each.alert_id for each in store.page(9).alerts] == ["alert-01", "alert-00"]
    assert leftovers(path) == []


def test_a_disk_that_fails_at_the_last_step_is_asked_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is visible by then, but may not be durable: the first call must not succeed."""
    store = opened(path)
    real = os.fsync
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.EIO, "EIO")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError):
        write(store, report_of("alert-01"))
    assert visible(path) == [NAME]
    again = write(store, report_of("alert-01"))
    assert (again.name, again.is_new) == (NAME, True)
    # Both directories are made durable before it counts.
    assert len(synced) == 4
    assert visible(path) == [NAME]


def test_a_planted_link_is_neither_followed_nor_overwritten(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    target = tmp_path / "target"
    target.write_text("mine")
    (path / NAME).symlink_to(target)
    (path / ".alert-01.tmp").symlink_to(target)
    assert write(store, report_of("alert-01")).name == NEXT_NAME
    assert target.read_text() == "mine"
    assert (path / NAME).is_symlink()
    assert store.count() == 1
    assert len(store.page(10).alerts) == 1
    (path / ".alert-09.tmp").symlink_to(target)
    del store
    assert opened(path).count() == 1
    assert leftovers(path) == []
    assert target.read_text() == "mine"


def test_a_linked_directory_is_not_entered(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.mkdir()
    (path / "edge").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unhealthy):
        opened(path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_earlier_versions_kept_of_identities_goes(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_text("mine")
    write_and_close(path, "alert-01")
    (path / ".ids").mkdir()
    (path / ".ids/alert-01").symlink_to(f"../{NAME}")
    (path / ".ids/alert-02").symlink_to(tmp_path / "elsewhere")
    assert not write(opened(path), report_of("alert-01")).is_new
    assert not (path / ".ids").exists()
    (path / ".ids").symlink_to(tmp_path / "elsewhere")
    opened(path)
    assert (tmp_path / "elsewhere" / "mine").read_text() == "mine"


def test_a_pipe_named_like_a_report_holds_nobody_up(path: Path) -> None:
    store = opened(path)
    write(store, report_of("alert-01"))
    (path / NAME).unlink()
    os.mkfifo(path / NAME)
    with pytest.raises(OSError):
        store.read("alert-01")


def test_a_changed_report_is_told_and_passed_over(path: Path) -> None:
    store = opened(path)
    write(store, report_of("alert-01"))
    write(store, report_of("alert-02"))
    (path / NAME).write_text("changed")
    with pytest.raises(UnreadableReport):
        store.read("alert-01")
    assert [alert.alert_id for alert in store.page(10).alerts] == ["alert-02"]


def test_pages_go_from_new_to_old_and_read_only_themselves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(path)
    for number in range(7):
        write(store, report_of(f"alert-{number:02}", f"2025-01-01T00:00:0{number}Z"))
    opens: list[str] = []
    real = os.open

    def note(name: Any, *arguments: Any, **options: Any) -> int:
        opens.append(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(os, "open", note)
    seen, stamp = [], None
    for size in (3, 3, 1):
        page = store.page(3, stamp)
        assert len(page.alerts) == size == len(opens)
        opens.clear()
        stamp = page.next
        seen += [alert.alert_id for alert in page.alerts]
    assert stamp is None
    assert seen == [f"alert-{number:02}" for number in reversed(range(7))]


def test_a_page_that_is_exactly_full_is_the_last(path: Path) -> None:
    store = opened(path)
    for number in range(4):
        write(store, report_of(f"alert-{number:02}"))
    first = store.page(2)
    assert first.next
    assert not store.page(2, first.next).next


def test_a_page_of_large_alerts_is_cut_to_fit_a_message(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 150)
    store = opened(path)
    for number in range(4):
        write(store, report_of(f"alert-{number:02}"))
    seen, stamp, pages = [], None, 0
    while pages == 0 or stamp:
        page = store.page(500, stamp)
        seen += [alert.alert_id for alert in page.alerts]
        stamp, pages = page.next, pages + 1
    assert seen == ["alert-03", "alert-02", "alert-01", "alert-00"]
    assert pages > 1


def test_alerts_are_read_without_their_payload(path: Path) -> None:
    store = opened(path)
    write(store, report_of("alert-01", payload=SECRET * 100_000))
    alert = store.read("alert-01")
    assert alert is not None
    assert SECRET not in str(alert)
    assert store.page(1).alerts == [alert]


def test_the_number_of_reports_is_bounded(path: Path) -> None:
    store = opened(path, most_reports=2)
    write(store, report_of("alert-01"))
    write(store, report_of("alert-02"))
    with pytest.raises(StoreFull):
        write(store, report_of("alert-03"))
    assert not write(store, report_of("alert-01")).is_new
    assert leftovers(path) == []


def test_their_size_is_bounded(path: Path) -> None:
    store = opened(path, most_bytes=2000)
    write(store, report_of("alert-01"))
    with pytest.raises(StoreFull):
        write(store, report_of("alert-02", payload="x" * 2000))
    assert write(store, report_of("alert-03")).is_new
    assert store.total_bytes() == sum((path / name).stat().st_size for name in visible(path))


def test_room_that_somebody_made_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECOUNT_SECONDS", 0)
    store = opened(path, most_reports=1)
    write(store, report_of("alert-01"))
    (path / NAME).unlink()
    assert write(store, report_of("alert-02")).is_new


def test_a_directory_that_vanished_is_made_again(path: Path) -> None:
    store = opened(path)
    write(store, report_of("alert-01"))
    shutil.rmtree(path)
    with pytest.raises(OSError):
        write(store, report_of("alert-02"))
    store.probe()
    assert store.count() == 0
    assert write(store, report_of("alert-02")).is_new
    assert visible(path) == [NAME]


def test_a_directory_has_one_keeper(path: Path) -> None:
    first = opened(path)
    first.probe()
    second = ReportStore(path, Limits(10, 1000, 0), EDGE_LIMITS)
    with pytest.raises(Unhealthy, match="another process"):
        second.probe()
    with pytest.raises(StoreClosed):
        write(second, report_of("alert-01"))
    del first
    second.probe()
    assert write(second, report_of("alert-01")).is_new


def test_a_place_where_no_directory_can_be_is_told_until_it_can(path: Path) -> None:
    path.write_text("a file")
    store = ReportStore(path, Limits(10, 10_000, 0), EDGE_LIMITS)
    with pytest.raises(Unhealthy, match="ENOTDIR"):
        store.probe()
    path.unlink()
    store.probe()
    assert write(store, report_of("alert-01")).is_new


def test_a_full_disk_is_told_by_the_probe(path: Path, failing: Callable[[str, int], None]) -> None:
    store = opened(path)
    failing("open", errno.ENOSPC)
    with pytest.raises(Unhealthy, match="ENOSPC"):
        store.probe()
    failing("open", 0)
    store.probe()
    assert leftovers(path) == []


def edge_report(number: int, time: str = TIME) -> Report:
    report = report_of(f"edge-{number:04}", time)
    report.alert.count = 1
    return report


def test_reports_of_the_gateway_lie_apart_and_are_listed_with_the_others(path: Path) -> None:
    store = opened(path)
    write(store, report_of("alert-01"))
    assert write(store, edge_report(1), at_edge=True).name == f"edge/{NAME}"
    write(store, report_of("alert-02", "2025-05-12T14:30:04Z"))
    assert (path / "edge" / NAME).is_file()
    assert stat.S_IMODE((path / "edge" / NAME).stat().st_mode) == 0o600
    assert (store.count(), store.count(at_edge=True)) == (2, 1)
    alert = store.read("edge-0001")
    assert alert is not None
    assert alert.report == f"edge/{NAME}"
    # Both have one time: page by page, each is listed once.
    seen, before = [], None
    for _ in range(3):
        page = store.page(1, before)
        seen += [each.alert_id for each in page.alerts]
        before = page.next
    assert before is None
    assert seen == ["edge-0001", "alert-01", "alert-02"]


def test_the_oldest_reports_of_the_gateway_make_room_and_take_none_from_the_others(
    path: Path,
) -> None:
    store = opened(path, most_reports=2)
    write(store, report_of("alert-01", "2020-01-01T00:00:00Z"))
    for number in range(20):
        report = edge_report(number, f"2025-01-01T00:00:{number:02}Z")
        assert write(store, report, at_edge=True).is_new
    assert store.count(at_edge=True) == 5
    assert len(list((path / "edge").glob("alert_*"))) == 5
    assert store.read("edge-0019") is not None
    assert store.read("edge-0001") is None
    assert store.share(at_edge=True) == 1
    assert store.share() == 0.5
    assert write(store, report_of("alert-02")).is_new
    with pytest.raises(StoreFull):
        write(store, report_of("alert-03"))
    write(store, edge_report(77), at_edge=True)
    large = edge_report(99)
    large.payload.string_value = "x" * 20_000
    with pytest.raises(StoreFull):
        write(store, large, at_edge=True)


def test_a_report_is_rewritten_with_its_payload(path: Path) -> None:
    store = opened(path)
    written = write(store, edge_report(1), at_edge=True)
    alert = store.read("edge-0001")
    assert alert is not None
    alert.count = 1234
    alert.last_time.FromJsonString("2025-05-12T14:31:00Z")
    store.rewrite(alert)
    file = json.loads((path / written.name).read_text())
    assert file["alert"]["count"] == 1234
    assert file["payload"] == SECRET
    assert store.read("edge-0001") == alert
    assert store.total_bytes(at_edge=True) == (path / written.name).stat().st_size
    assert leftovers(path / "edge") == []
    (path / written.name).unlink()
    with pytest.raises(FileNotFoundError):
        store.rewrite(alert)


def test_a_killed_rewriter_leaves_the_old_count_or_the_new_one(tmp_path: Path) -> None:
    counts = set()
    for step in range(1, 100):
        path = tmp_path / str(step)
        writer = killed_before(step, path, "rewrite")
        store = opened(path)
        alert = store.read("alert-killed")
        assert alert is not None
        assert leftovers(path) == []
        assert json.loads((path / alert.report).read_text())["payload"] == "x" * 10_000
        counts.add(alert.count)
        if writer.returncode == 0:
            break
        assert writer.returncode == -signal.SIGKILL, writer.stderr
    else:
        pytest.fail("the writer never got through")
    assert counts == {1, 2}


def test_old_reports_are_swept_in_small_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_STEP", 2)
    now = datetime.now(UTC)
    store = ReportStore(path, Limits(100, 10**6, 30), Limits(100, 10**6, 2))
    store.probe()
    for days in (0, 1, 29, 31, 32, 400):
        time = (now - timedelta(days=days)).isoformat().replace("+00:00", "Z")
        for at_edge, alert_id in ((False, f"alert-{days:02}"), (True, f"edge-00{days}")):
            written = write(store, report_of(alert_id, time), at_edge)
            age(path / written.name, days)
    (path / "alert_2020-01-01T00-00-00.000000.txt").write_text("changed")
    age(path / "alert_2020-01-01T00-00-00.000000.txt", 400)
    (path / "notes.txt").write_text("mine")
    del store
    remove_index(path)
    store = ReportStore(path, Limits(100, 10**6, 30), Limits(100, 10**6, 2))
    store.probe()
    assert [store.sweep() for _ in range(4)] == [4, 4, 0, 0]
    assert [each.alert_id for each in store.page(10).alerts] == [
        *("edge-000", "alert-00", "edge-001", "alert-01", "alert-29"),
    ]
    assert (path / "notes.txt").exists()
    assert (store.count(), store.count(at_edge=True)) == (3, 2)
    assert store.read("alert-31") is None


def age(path: Path, days: int) -> None:
    """Date the writing of a file so many days back."""
    written = path.stat().st_mtime - days * 86_400
    os.utime(path, (written, written))


def remove_index(path: Path) -> None:
    """Have the next one made from the files."""
    for file in path.glob(".index*"):
        file.unlink()


def test_an_alert_that_comes_late_is_kept_as_long_as_others(path: Path) -> None:
    """It waited in the queue while the service was away."""
    store = ReportStore(path, Limits(100, 10**6, 1), EDGE_LIMITS)
    store.probe()
    written = write(store, report_of("alert-01", "2020-01-01T00:00:00Z"))
    assert store.sweep() == 0
    assert store.read("alert-01") is not None
    age(path / written.name, 2)
    del store
    remove_index(path)
    store = ReportStore(path, Limits(100, 10**6, 1), EDGE_LIMITS)
    store.probe()
    assert store.sweep() == 1


def test_what_was_written_first_makes_room_whenever_it_happened(path: Path) -> None:
    store = opened(path)
    removed: list[str] = []
    for number in range(7):
        report = edge_report(number, f"2025-01-01T00:00:{59 - number}Z")
        removed += write(store, report, at_edge=True).removed
    assert [store.read(f"edge-000{number}") is not None for number in range(7)] == [
        *(False, False, True, True, True, True, True),
    ]
    assert removed == [f"edge/alert_2025-01-01T00-00-{second}.000000.txt" for second in (59, 58)]


def test_reports_may_be_kept_for_ever(path: Path) -> None:
    store = opened(path)
    write(store, report_of("alert-01", "0001-01-01T00:00:00Z"))
    assert store.sweep() == 0
    assert store.read("alert-01") is not None


def test_alerts_are_listed_by_what_they_are(path: Path) -> None:
    store = opened(path)
    for number in range(6):
        report = report_of(f"alert-{number:02}", f"2025-01-01T00:00:0{number}Z")
        report.alert.event_type = ("PII", "DRILL")[number % 2]
        report.alert.source = ("web", "batch")[number // 3]
        for detector in (("email",), ("us_ssn", "mail"), ("odd name", "x" * 200))[number % 3]:
            report.alert.findings.add(detector=detector)
        if number == 3:
            # Of which no finding is listed.
            report.alert.detectors.append("mail")
        write(store, report)

    def listed(**conditions: Any) -> list[int]:
        page = store.page(10, None, Filter(**conditions))
        return [int(each.alert_id[-1]) for each in page.alerts]

    second = 1_000_000
    start = names.moment_of(report_of("x", "2025-01-01T00:00:02Z").alert.raise_time)
    assert listed() == [5, 4, 3, 2, 1, 0]
    assert listed(event_type="DRILL") == [5, 3, 1]
    assert listed(source="web") == [2, 1, 0]
    assert listed(detector="mail") == [4, 3, 1]
    assert listed(detector="name") == []
    assert listed(start=start) == [5, 4, 3, 2]
    assert listed(start=start, end=start + 2 * second) == [3, 2]
    assert listed(event_type="PII", source="batch", detector="us_ssn", start=start) == [4]
    assert listed(source="' OR 1=1 --") == []
    first = store.page(1, None, Filter(event_type="PII"))
    assert first.next is not None
    assert [each.alert_id for each in store.page(1, first.next).alerts] == ["alert-03"]


def test_an_odd_alert_breaks_no_list(path: Path) -> None:
    """Among reports of earlier versions there may be any."""
    store = opened(path)
    for number, time in enumerate(("0001-01-01T00:00:00Z", TIME, "9998-12-31T23:59:59.999999Z")):
        report = report_of(f"alert-{number:02}", time)
        report.alert.message = "\0\x1b[2J\U0001f4a9\u202e"
        for _ in range(5_000):
            report.alert.findings.add(detector="us_ssn", path="/data/" + "x" * 200)
        write(store, report)
    del store
    store = opened(path)
    seen, before, pages = [], None, 0
    while before is not None or pages == 0:
        page = store.page(500, before)
        assert sum(each.ByteSize() for each in page.alerts) <= module.MAX_PAGE_BYTES
        seen += page.alerts
        before, pages = page.next, pages + 1
    assert [each.alert_id for each in seen] == ["alert-02", "alert-01", "alert-00"]
    for alert in seen:
        assert alert.cut
        assert alert.finding_count == 5_000
        assert 500 < len(alert.findings) < 2000
        assert alert.count == 1
        assert alert.last_time == alert.raise_time


def test_very_many_alerts_of_one_microsecond_find_their_keys(path: Path) -> None:
    """Each looks for a free key; that may not take longer and longer."""
    store = opened(path, most_reports=100_000)
    looked: list[ReportKey] = []
    real = Index.has

    def has(index: Index, key: ReportKey) -> bool:
        looked.append(key)
        return real(index, key)

    moment = names.moment_of(report_of("x").alert.raise_time)
    assert store._files is not None
    store._files.index.add(
        Row(ReportKey(moment + number, False), 1, 0, Alert(alert_id=f"filled-{number}"))
        for number in range(50_000)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index, "has", has)
        written = write(store, report_of("alert-01"))
    assert written.is_new
    assert len(looked) < 100
