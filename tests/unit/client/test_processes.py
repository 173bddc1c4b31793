"""Processes that fork, exit without closing, are stopped by signals or die with a spool."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from sluice.ingest.v1 import ingest_service_pb2 as ingest
from sluice_client import Client, SpoolFailed, Unanswered
from tests.kit.processes import OUR_CODE
from tests.kit.waiting import eventually
from tests.unit.client.scripted import LostAnswer, Piece, Server
from tests.unit.client.test_client import NOWHERE, at_first, raising, receipts


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program), *arguments],
        env=os.environ | OUR_CODE,
        capture_output=True,
        text=True,
        timeout=60,
    )


FORK = """
    import os, sys, threading
    from sluice_client import Client
    client = Client(sys.argv[1], **({"spool": sys.argv[2]} if sys.argv[2:] else {}))
    stop = threading.Event()
    told = []
    def submit():
        number = 0
        while not stop.is_set():
            told.append(client.submit(f"parent {threading.get_ident()} {number}"))
            number += 1
            stop.wait(0.002)
    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    children = []
    for child in range(5):
        pid = os.fork()
        if pid == 0:
            before = client.counts
            futures = [client.submit(f"child {child} {n}") for n in range(50)]
            assert before.waiting == before.accepted == 0, before
            assert len({each.result(20).task_id for each in futures}) == 50
            client.close()
            os._exit(0)
        children.append(pid)
        for _ in range(20):
            client.submit_now("between")
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
    stop.set()
    for thread in threads:
        thread.join()
    assert client.flush(20)
    assert len({each.result(0).task_id for each in told}) == len(told)
    client.close()
    print(len(told))
"""


@pytest.mark.parametrize("has_spool", [False, True])
def test_a_fork_takes_nothing_of_the_parent_along(
    server: Server, target: str, has_spool: bool, tmp_path: Path
) -> None:
    calls = count(1)

    def now_and_then(server: Server, piece: Piece) -> Sequence[ingest.SubmitResult]:
        # Streams begin and end all the while: gRPC is busy at every fork.
        if next(calls) % 3 == 0:
            raise LostAnswer
        return server.store(piece)

    server.script = now_and_then
    done = run(FORK, target, *([str(tmp_path / "spool")] if has_spool else []))
    assert done.returncode == 0, done.stderr
    rows = [row for row in server.rows if row != "between"]
    assert len(set(rows)) == len(rows) == int(done.stdout) + 250
    if has_spool:
        assert [path.name for path in (tmp_path / "spool").iterdir()] == ["lock"]


def test_a_fork_after_the_spool_went_away_stops_nobody(tmp_path: Path) -> None:
    ended = run(
        """
        import os, shutil, sys, threading
        from sluice_client import Client, SpoolFailed
        client = Client("127.0.0.1:1", spool=sys.argv[1], deadline=60)
        client.submit(1)
        shutil.rmtree(sys.argv[1])
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        # If a lock stays held, this waits for ever.
        threading.Timer(20, os._exit, [3]).start()
        try:
            client.submit(2)
        except SpoolFailed:
            os._exit(0)
        """,
        str(tmp_path / "spool"),
    )
    assert ended.returncode == 0, ended.stderr


def test_a_child_of_multiprocessing_sends_what_it_has(server: Server, target: str) -> None:
    done = run(
        """
        import multiprocessing, sys
        from sluice_client import Client
        client = Client(sys.argv[1])
        client.submit("parent")
        def work(number):
            client.submit(f"child {number}")
        if __name__ == "__main__":
            context = multiprocessing.get_context("fork")
            children = [context.Process(target=work, args=(n,)) for n in range(3)]
            for child in children:
                child.start()
            for child in children:
                child.join()
        """,
        target,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(server.rows) == ["child 0", "child 1", "child 2", "parent"]


def test_a_process_that_ends_without_closing_sends_what_it_has(server: Server, target: str) -> None:
    done = run(
        """
        import sys
        from sluice_client import Client
        Client(sys.argv[1]).submit_many(range(3000))
        """,
        target,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(server.rows) == list(range(3000))


def test_a_process_that_ends_while_the_server_is_away_says_so() -> None:
    begun = time.monotonic()
    done = run(
        f"""
        from sluice_client import Client, core
        core.Core.close.__defaults__ = (0.5,)
        Client("{NOWHERE}").submit_many(range(7))
        """
    )
    assert done.returncode == 0
    assert "closed while 7 submissions had no answer" in done.stderr
    assert time.monotonic() - begun < 20


def test_an_interrupted_wait_takes_nothing_back(server: Server, target: str) -> None:
    server.is_silent = True
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
                import sys
                from sluice_client import Client
                client = Client(sys.argv[1])
                print("waiting", flush=True)
                try:
                    client.submit_now("interrupted")
                except KeyboardInterrupt:
                    print("interrupted", client.counts.waiting, flush=True)
                """
            ),
            target,
        ],
        env=os.environ | OUR_CODE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    eventually(lambda: server.streams)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted 1\n"
    server.is_silent = False
    assert process.wait(20) == 0
    process.stdout.close()
    assert server.rows == ["interrupted"]


@pytest.mark.parametrize("room", [20_000, 3], ids=["room", "little room"])
def test_signals_that_raise_inside_of_submit_stop_nothing(
    server: Server, target: str, room: int
) -> None:
    ended = run(
        """
        import os, signal, sys, threading, time
        from sluice_client import Client
        class Interrupted(Exception): pass
        is_armed = False
        def interrupt(*_):
            global is_armed
            if is_armed:
                is_armed = False
                raise Interrupted
        signal.signal(signal.SIGALRM, interrupt)
        client = Client(sys.argv[1], max_submissions=int(sys.argv[2]))
        client.submit_now("first")
        # If a lock stays held, the end waits for ever.
        threading.Timer(40, os._exit, [3]).start()
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.00037)
        ends = time.monotonic() + 3
        interrupts = 0
        while time.monotonic() < ends:
            try:
                is_armed = True
                while time.monotonic() < ends:
                    client.submit("again")
            except Interrupted:
                interrupts += 1
        is_armed = False
        is_flushed = client.flush(20)
        client.close()
        os._exit(0 if is_flushed and interrupts and not client.counts.failed else 4)
        """,
        target,
        str(room),
    )
    assert ended.returncode == 0, ended.stderr


DIES = """
    import os, sys
    from sluice_client import Client
    client = Client(sys.argv[1], spool=sys.argv[2])
    for number in range(int(sys.argv[3])):
        client.submit(f"{number}", request_id=f"id-{number}" if number % 5 == 0 else None)
    if sys.argv[4] == "sent":
        client.flush(2)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "spool"
    left = [path.name for path in (tmp_path / "spool").iterdir()]
    assert left == ["lock"], left


@pytest.mark.parametrize("when", ["sent", "queued"])
def test_what_a_dead_process_had_in_the_spool_is_sent_as_it_was(
    server: Server, target: str, spool: Path, when: str
) -> None:
    # Everything is stored, and nobody hears of it.
    server.script = raising(LostAnswer())
    for _ in range(2):
        assert run(DIES, target, str(spool), "500", when).returncode == -signal.SIGKILL
    server.script = Server.store
    with Client(target, spool=spool) as client:
        told = receipts(client.recovered())
        assert len(told) == 1000
        # Those with ids of their own are the same ones in both runs.
        assert len(set(told)) == 900
        client.submit_now("new")
    rows = [row for row in server.rows if row != "new"]
    assert len(rows) == 900
    assert sorted(set(rows)) == sorted(map(str, range(500)))


def test_what_the_server_has_forgotten_is_told_and_not_sent(
    server: Server, target: str, spool: Path
) -> None:
    server.script = raising(LostAnswer())
    run(DIES, target, str(spool), "100", "sent")
    stored = len(server.rows)
    server.script = Server.store
    (file,) = spool.glob("*.sqlite")
    with sqlite3.connect(file) as database:
        sent = database.execute("UPDATE submissions SET first_sent = first_sent - 90000").rowcount
        sent -= database.execute("SELECT count() FROM submissions WHERE piece IS NULL").fetchone()[
            0
        ]
    database.close()
    with Client(target, spool=spool) as client:
        errors = [each for future in client.recovered() if (each := future.exception(20))]
    assert all(isinstance(each, Unanswered) and each.may_be_stored for each in errors)
    assert len(errors) == sent > 0
    # What was not sent yet is sent now.
    assert len(server.rows) == stored + 100 - sent


def test_a_clock_that_was_set_back_makes_nothing_young(
    server: Server, target: str, spool: Path
) -> None:
    server.script = raising(LostAnswer())
    run(DIES, target, str(spool), "10", "sent")
    server.script = Server.store
    (file,) = spool.glob("*.sqlite")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE submissions SET first_sent = first_sent + 3600")
    database.close()
    with Client(target, spool=spool) as client:
        assert all(isinstance(each.exception(20), Unanswered) for each in client.recovered())


def test_what_has_no_answer_when_the_client_closes_stays_in_the_spool(
    server: Server, target: str, spool: Path
) -> None:
    with Client(NOWHERE, spool=spool) as client:
        futures = client.submit_many(range(100))
        client.close(0.1)
    assert all("spool" in str(each.exception(0)) for each in futures)
    with Client(target, spool=spool) as client:
        assert len(set(receipts(client.recovered()))) == 100
        assert client.flush(20)
        assert client._core.queue._bytes == 0
    assert sorted(server.rows) == list(range(100))


def test_what_is_past_its_deadline_leaves_the_spool(spool: Path) -> None:
    with Client(NOWHERE, spool=spool, deadline=0.3) as client:
        client.submit_many(range(2000))
        assert client.flush(20)


def test_clients_share_a_spool(server: Server, target: str, spool: Path) -> None:
    server.script = at_first(5, raising(LostAnswer()))
    with Client(target, spool=spool) as one, Client(target, spool=spool) as other:
        futures = one.submit_many(range(100)) + other.submit_many(range(100, 200))
        assert not one.recovered() and not other.recovered()
        assert len(set(receipts(futures))) == 200
    assert sorted(server.rows) == list(range(200))


@pytest.mark.parametrize("first", [0, 3 * 4096])
def test_a_damaged_file_is_left_alone(
    server: Server, target: str, tmp_path: Path, first: int
) -> None:
    with Client(NOWHERE, spool=tmp_path) as client:
        client.submit_many(["x" * 1000] * 200)
        client.close(0.1)
    (damaged,) = tmp_path.glob("*.sqlite")
    content = damaged.read_bytes()
    damaged.write_bytes(content[:first] + b"no database " * 5000 + content[first + 60_000 :])
    with Client(target, spool=tmp_path) as client:
        client.submit_now(1)
    assert {path.name for path in tmp_path.iterdir()} == {"lock", damaged.name}


def test_a_database_of_somebody_else_is_left_alone(
    server: Server, target: str, tmp_path: Path
) -> None:
    foreign = tmp_path / "app.sqlite"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE theirs (it)")
    database.close()
    before = foreign.read_bytes()
    with Client(target, spool=tmp_path) as client:
        client.submit_now(1)
    assert foreign.read_bytes() == before


def test_a_spool_that_cannot_begin_leaves_no_files(
    server: Server, target: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with Client(target, spool=spool) as client:
        with monkeypatch.context() as patch:
            patch.setattr("sluice_client.spool._File.open", full)
            for _ in range(3):
                with pytest.raises(SpoolFailed):
                    client.submit(1)
        assert [path.name for path in spool.iterdir()] == ["lock"]
        client.submit_now(1)


def test_a_spool_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolFailed):
        Client(NOWHERE, spool=tmp_path / "file")
