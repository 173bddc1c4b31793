"""The rooms of the design: who may import whom, and what does no I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ROOMS = {
    "mesh": {"mesh"},
    "detection": {"detection"},
    "job_store": {"job_store", "mesh", "sluice"},
    "alert_service": {"alert_service", "mesh", "sluice"},
    "ingest_service": {"ingest_service", "detection", "job_store", "mesh", "sluice"},
    "worker": {"worker", "job_store", "mesh", "sluice"},
    "deploy": {"deploy", "mesh"},
    "clients": {"sluice"},
}
"""Each room, and whom it may import. The generated contracts, `sluice`, import nobody."""
NO_ROOMS = {"bench", "tests", "protos"}
"""These serve the making of Sluice. They may import any room, and no room imports them."""

READS_FILES = {"__main__.py", "__init__.py", "policy_file.py"}
"""Modules of detection that do, the package itself by way of one; all others there are pure."""
PURE = [
    *(
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "detection").rglob("*.py"))
        if path.name not in READS_FILES
    ),
    "ingest_service/tasks.py",
    "ingest_service/validation.py",
    "worker/sinks/influxdb/lines.py",
]
"""These do no I/O, and import nothing of ours that does."""
IO = {
    *("asyncio", "concurrent", "http", "multiprocessing", "os", "pathlib", "select", "shutil"),
    *("signal", "socket", "subprocess", "tempfile", "threading", "urllib.request"),
    *("dramatiq", "grpc.aio", "influxdb_client", "redis"),
}
IO_CALLS = {"open", "print", "input"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    """Return what a file imports: modules, and what it takes from them as if they were modules."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def ours(name: str) -> Path | None:
    """Return the file of ours that an imported name stands in, None when it is not ours."""
    whole = ROOT.joinpath(*name.split("."))
    for path in (whole, whole.parent):
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if path != ROOT and file.exists():
                return file
    return None


def reached(path: Path) -> dict[Path, list[str]]:
    """Return the files of ours that a file imports, itself first, and the way to each."""
    ways = {path: [str(path.relative_to(ROOT))]}
    waiting = [path]
    while waiting:
        here = waiting.pop()
        for file in filter(None, map(ours, imports(here))):
            if file not in ways:
                ways[file] = [*ways[here], str(file.relative_to(ROOT))]
                waiting.append(file)
    return ways


def does_io(path: Path) -> Iterator[str]:
    """Yield what in a file itself does I/O."""
    for name in imports(path):
        if any(f"{name}.".startswith(f"{each}.") for each in IO):
            yield f"imports {name}"
    for node in ast.walk(tree(path)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IO_CALLS:
                yield f"calls {name}"


def test_every_package_is_a_room_or_none_by_name() -> None:
    packages = {path.name for path in ROOT.iterdir() if any(path.glob("*.py"))}
    # What is installed alone is no package here.
    assert packages - NO_ROOMS == ROOMS.keys() - {"clients"}


def test_arrows_between_rooms_go_one_way() -> None:
    others = {room: allowed - {room} for room, allowed in ROOMS.items()}
    # Raises CycleError.
    TopologicalSorter(others).prepare()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may(room: str) -> None:
    every = {*ROOMS, *NO_ROOMS, "sluice"}
    for path in (ROOT / room).rglob("*.py"):
        imported = {name.split(".")[0] for name in imports(path)} & every
        assert imported <= ROOMS[room], path


@pytest.mark.parametrize("path", PURE)
def test_what_is_pure_does_no_io(path: str) -> None:
    for file, way in reached(ROOT / path).items():
        assert not list(does_io(file)), " -> ".join(way)


@pytest.mark.parametrize(
    ("text", "impure"),
    [
        ("from pathlib import Path", True),
        ("import urllib.request", True),
        ("from urllib import request", True),
        ("def f():\n    import redis.asyncio", True),
        ("open('x')", True),
        ("from urllib.parse import quote", False),
        ("import ossified", False),
        ("file.open", False),
    ],
)
def test_io_is_seen(tmp_path: Path, text: str, impure: bool) -> None:
    path = tmp_path / "module.py"
    path.write_text(text)
    assert bool(list(does_io(path))) is impure


def test_what_is_imported_by_the_way_is_seen() -> None:
    way = reached(ROOT / "worker" / "__main__.py")[ROOT / "mesh" / "server.py"]
    assert way[0] == "worker/__main__.py"
    assert len(way) >= 2
