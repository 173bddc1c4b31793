"""A directory of reports: opened once, held by one process, entered by file descriptor.

No path of several parts is used, no symbolic link is followed, and only replace() overwrites.
"""

from __future__ import annotations

import fcntl
import os
import stat
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from mesh.health import Unhealthy

SYNCING_THREADS = 8
"""That wait for the disk at the same time. It makes durable together what it is asked for together,
at little more than the cost of one file."""

_CHUNK_BYTES = 64 * 1024


class Directory:
    """An open directory, locked until release(), closed when nothing refers to it any more.

    Creates it when it is missing. Raises OSError when that or opening it fails, Unhealthy while
    another process has it locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        self._hold(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def subdirectory(self, name: str) -> Directory:
        """Open the directory of this name in this one; it may be no link. Raises as above."""
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self._descriptor)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        inner = Directory.__new__(Directory)
        inner._path = self._path / name
        inner._hold(os.open(name, flags, dir_fd=self._descriptor))
        return inner

    def _hold(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # The caller is one of the threads.
        self._syncing = ThreadPoolExecutor(SYNCING_THREADS - 1, "syncing")
        weakref.finalize(self, os.close, descriptor)
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, 0o700)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unhealthy("another process keeps its reports in this directory") from None

    def release(self) -> None:
        """Unlock it, so that it can be opened again at once; who still uses this one may finish."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def is_in_place(self) -> bool:
        """Return whether this is still the directory at its path."""
        try:
            current = os.stat(self._path)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(current, os.fstat(self._descriptor))

    def sync(self) -> None:
        """Make the names of all files durable. Raises OSError."""
        os.fsync(self._descriptor)

    def has_file(self, name: str) -> bool:
        """Return whether there is a regular file of this name. Raises OSError."""
        try:
            found = os.lstat(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode)

    def create(self, name: str, content: bytes) -> int:
        """Write a new file and return its descriptor, which sync_files() or os.close() closes.

        Raises FileExistsError when there is anything of this name, OSError.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=self._descriptor)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def create_durable(self, name: str, content: bytes) -> None:
        """Write a new file. Its content is durable then, its name after sync(). Raises as above."""
        (error,) = self.sync_files([self.create(name, content)])
        if error is not None:
            raise error

    def sync_files(self, descriptors: Sequence[int]) -> list[OSError | None]:
        """Make the content of files durable and close them; return for each what failed, if so."""
        # In a few threads, since each waits for the disk, and several wait no longer than one.
        shares = [descriptors[start::SYNCING_THREADS] for start in range(SYNCING_THREADS)]
        waiting = [self._syncing.submit(_sync_each, share) for share in shares[1:] if share]
        failures: list[OSError | None] = [None] * len(descriptors)
        failures[::SYNCING_THREADS] = _sync_each(shares[0])
        for start, synced in enumerate(waiting, 1):
            failures[start::SYNCING_THREADS] = synced.result()
        return failures

    def read(self, name: str, until: bytes | None = None) -> bytes:
        """Return the content of a file, or a beginning of it that holds `until`.

        Raises OSError, also for what is no regular file.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=self._descriptor)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("this is no regular file")
            content = bytearray()
            while chunk := file.read(_CHUNK_BYTES):
                start = max(0, len(content) - len(until or b""))
                content += chunk
                if until is not None and content.find(until, start) >= 0:
                    break
            return bytes(content)

    def link(self, name: str, new_name: str) -> None:
        """Give a file a second name. Raises FileExistsError when it is taken, OSError."""
        os.link(
            name,
            new_name,
            src_dir_fd=self._descriptor,
            dst_dir_fd=self._descriptor,
            follow_symlinks=False,
        )

    def replace(self, name: str, new_name: str) -> None:
        """Rename a file, replacing any of the new name, in one step. Raises OSError."""
        os.replace(name, new_name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file if it is there. Raises OSError."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def files(self) -> Iterator[tuple[str, int, int]]:
        """Yield name, size and time of writing (microseconds since 1970) of every regular file."""
        with os.scandir(self._descriptor) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        yield entry.name, found.st_size, found.st_mtime_ns // 1000

    def names(self) -> list[str]:
        """Return the names of everything in the directory."""
        return os.listdir(self._descriptor)  # noqa: PTH208


def _sync_each(descriptors: Sequence[int]) -> list[OSError | None]:
    failures: list[OSError | None] = []
    for descriptor in descriptors:
        try:
            os.fsync(descriptor)
            failures.append(None)
        except OSError as error:
            failures.append(error)
        finally:
            os.close(descriptor)
    return failures
