"""A marked secret, and looking for it wherever it could have been left, in whatever spelling."""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.request import urlopen

import redis

from deploy.local import admin
from deploy.local.mesh import LocalMesh
from tests.kit.spellings import spellings


def fresh_word() -> str:
    """Return a word that occurs nowhere else and that no detector takes for anything."""
    return "-".join(
        ["wren", *("".join(random.choices(string.ascii_lowercase, k=5)) for _ in range(3))]
    )


def found(secrets: Iterable[str], places: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return where the secrets are, as `place: spelling`."""
    wanted = [spelling for secret in secrets for spelling in spellings(secret).items()]
    return [
        f"{place}: {name}"
        for place, content in places
        for name, spelling in wanted
        if spelling in content
    ]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Give every file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def redis_content(url: str) -> Iterator[tuple[str, bytes]]:
    """Give every key in Redis with all that lies under it."""
    with redis.Redis.from_url(url) as store:
        for key in store.scan_iter():
            yield key.decode(errors="replace"), key + b"\n" + _content(store, key)


def _content(store: redis.Redis, key: bytes) -> bytes:
    commands = {
        b"string": ("GET",),
        b"hash": ("HGETALL",),
        b"list": ("LRANGE", 0, -1),
        b"set": ("SMEMBERS",),
        b"zset": ("ZRANGE", 0, -1),
    }
    kind = bytes(store.type(key))  # type: ignore[arg-type]
    if kind not in commands:
        assert kind == b"none", kind
        return b""  # gone meanwhile
    command, *arguments = commands[kind]
    return _joined(store.execute_command(command, key, *arguments))  # type: ignore[no-untyped-call]


def _joined(reply: object) -> bytes:
    if isinstance(reply, bytes):
        return reply
    if isinstance(reply, dict):
        return b"\n".join(_joined(each) for pair in reply.items() for each in pair)
    if isinstance(reply, list | set | tuple):
        return b"\n".join(_joined(each) for each in reply)
    return str(reply).encode()


def metrics(mesh: LocalMesh) -> Iterator[tuple[str, bytes]]:
    """Give the metrics page of every process, and what Envoy's admin interface counts."""
    ports = {use: port for use, (port, _) in mesh.settings.ports().items()}
    pages = {use: f"{port}/metrics" for use, port in ports.items() if use.endswith("metrics")}
    for target in ("/stats?histogrambuckets=none", "/clusters"):
        yield f"Envoy's {target}", admin.get(mesh.admin_socket, target, 10)
    for name, page in pages.items():
        with urlopen(f"http://127.0.0.1:{page}", timeout=10) as answer:
            yield name, answer.read()
