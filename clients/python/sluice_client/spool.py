"""What has no outcome, kept on disk for the next process, should this one die.

Each process has a file of its own in the folder, an SQLite database that it holds locked. A file
that nobody holds is of a process that died: whoever comes next takes it over, as it is.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from sluice_client.errors import SpoolFailed
from sluice_client.pieces import Piece, Submission, cut, new_request_id

log = logging.getLogger("sluice_client")

CLOCK_SECONDS = 60.0
"""By so much the wall clock may have been set back before ages are not believed any more."""

NAMES = "[a-p]" * 32 + ".sqlite"
"""Of the files. Others in the folder are somebody else's, and neither read nor deleted."""

TABLE = (
    "CREATE TABLE IF NOT EXISTS submissions"
    "(row INTEGER PRIMARY KEY, body BLOB, is_named INTEGER, piece TEXT, first_sent REAL)"
)
"""`piece` is the request_id of the piece that a submission belongs to, empty when the submissions
have their own, NULL before it was sent. `first_sent` is of the wall clock."""


class SpoolFolder:
    """The folder, with the file of this process and those that it took over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: _File | None = None
        self._others: list[_File] = []
        self._lock = -1
        with _told():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, future: Callable[[], Any], deadline: float) -> list[Piece]:
        """Begin a file; return what processes that died had in theirs. Raises SpoolFailed.

        What was sent before stays in the piece in which it was sent, and as old as it is.
        """
        path = self._folder / f"{new_request_id()}.sqlite"
        with _told():
            self._hold()
            try:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
                self._own = _File(path)
                return [
                    piece
                    for other in sorted(self._folder.glob(NAMES))
                    if other != path
                    for piece in self._take_over(other, future, deadline)
                ]
            except BaseException:
                # Whoever tries again finds nothing of this attempt.
                for file in self._files():
                    file.close()
                self._own, self._others = None, []
                path.unlink(missing_ok=True)
                raise
            finally:
                self._release()

    def _take_over(self, path: Path, future: Callable[[], Any], deadline: float) -> Sequence[Piece]:
        """Return what is in a file, unless another process has it or it cannot be read."""
        try:
            file = _File(path)
        except sqlite3.OperationalError:
            return ()
        except sqlite3.DatabaseError:
            log.error("%s is damaged, so it is left alone", path)
            return ()
        self._others.append(file)
        try:
            return list(file.pieces(future, deadline))
        except sqlite3.DatabaseError:
            log.error("%s is damaged, so it is left alone", path)
            file.close()
            self._others.remove(file)
            return ()

    def add(self, submission: Submission) -> None:
        """Keep a submission. Raises SpoolFailed."""
        if self._own is None:
            raise SpoolFailed("the spool is closed")
        with _told():
            submission.row = (self._own, self._own.add(submission))

    def keep(self, piece: Piece) -> None:
        """Keep that submissions make up a piece, which is about to be sent. Raises SpoolFailed."""
        now = time.time()
        with _told():
            self._file(piece.submissions).change(
                "UPDATE submissions SET piece = ?, first_sent = ? WHERE row = ?",
                [(piece.request_id, now, each.row[1]) for each in piece.submissions],
            )

    def forget(self, submissions: Sequence[Submission]) -> None:
        """Keep submissions no longer. Raises SpoolFailed."""
        if submissions:
            with _told():
                self._file(submissions).change(
                    "DELETE FROM submissions WHERE row = ?",
                    [(each.row[1],) for each in submissions],
                )

    def close(self) -> None:
        """Leave what is left to the next process."""
        for file in self._files():
            file.close()
            with _told():
                self._hold()
                try:
                    file.delete_if_empty()
                finally:
                    self._release()
        self._own, self._others = None, []

    def before_fork(self) -> None:
        """Close the files, which must not be open in two processes; nobody else may take them.

        Raises SpoolFailed when others may.
        """
        if self._own is not None:
            try:
                with _told():
                    self._hold()
            finally:
                for file in self._files():
                    file.close()

    def after_fork_in_parent(self) -> None:
        """Open them again. Raises SpoolFailed."""
        if self._own is not None:
            with _told():
                try:
                    for file in self._files():
                        file.open()
                finally:
                    self._release()

    def after_fork_in_child(self) -> None:
        """Leave them to the parent."""
        if self._lock >= 0:
            # The lock is the parent's as well, which gives it back.
            os.close(self._lock)

    def _files(self) -> list[_File]:
        return [*([] if self._own is None else [self._own]), *self._others]

    def _file(self, submissions: Sequence[Submission]) -> _File:
        file: _File = submissions[0].row[0]
        return file

    def _hold(self) -> None:
        """Keep other processes from beginning, taking over and deleting files."""
        # Not on Windows: there it raises as long as nobody wants a spool there.
        import fcntl

        self._lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _release(self) -> None:
        import fcntl

        lock, self._lock = self._lock, -1
        if lock >= 0:
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)


class _File:
    """One database, locked as long as it is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.open()

    def open(self) -> None:
        """Open and lock it. Raises sqlite3.OperationalError when another process has it."""
        connection = sqlite3.connect(
            self._path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            # What is written survives the process; a power cut may take the last moments.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute(TABLE)
            connection.execute("COMMIT")
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection

    def add(self, submission: Submission) -> int:
        """Add a submission; return its row."""
        with self._lock:
            added = self._connection.execute(
                "INSERT INTO submissions (body, is_named) VALUES (?, ?)",
                (submission.body, submission.is_named),
            )
            return cast(int, added.lastrowid)

    def change(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Change rows, all or none."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def pieces(self, future: Callable[[], Any], deadline: float) -> Iterator[Piece]:
        """Yield everything in it as pieces."""
        rows = self._connection.execute(
            "SELECT row, body, is_named, piece, first_sent FROM submissions"
            " ORDER BY piece, first_sent, is_named, row"
        ).fetchall()
        for (name, first_sent, _), group in groupby(rows, lambda each: (each[3], each[4], each[2])):
            submissions: deque[Submission] = deque()
            for row, body, is_named, _, _ in group:
                submission = Submission(body, future(), deadline, bool(is_named))
                submission.row = (self, row)
                submissions.append(submission)
            if name is None:
                yield from cut(submissions)
                continue
            piece = Piece(list(submissions), name)
            age = time.time() - first_sent
            piece.first_sent = time.monotonic() - (age if age > -CLOCK_SECONDS else math.inf)
            piece.attempts, piece.is_sure, piece.is_kept = 1, False, True
            yield piece

    def close(self) -> None:
        """Close and unlock it."""
        with self._lock:
            self._connection.close()

    def delete_if_empty(self) -> None:
        """Delete it when there is nothing in it any more, unless another process has it."""
        try:
            self.open()
        except sqlite3.OperationalError:
            return
        is_empty = not self._connection.execute("SELECT 1 FROM submissions LIMIT 1").fetchone()
        self._connection.close()
        if is_empty:
            self._path.unlink(missing_ok=True)


@contextmanager
def _told() -> Iterator[None]:
    """Raise SpoolFailed for what goes wrong with files."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SpoolFailed(f"the spool failed: {type(error).__name__}") from error
