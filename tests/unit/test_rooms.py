"""The rooms of the design: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ROOMS = {
    "mesh": {"mesh", "sluice"},
    "detection": {"detection"},
    "job_store": {"job_store", "mesh", "sluice"},
    "alert_service": {"alert_service", "mesh", "sluice"},
    "ingest_service": {"ingest_service", "detection", "job_store", "mesh", "sluice"},
    "worker": {"worker", "job_store", "mesh", "sluice"},
    "deploy": {"deploy", "mesh"},
}
OURS = {*ROOMS, "sluice", "bench", "tests"}
READS_FILES = {"__main__.py", "policy.py", "reload.py"}
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
IO = {"asyncio", "socket", "redis", "grpc.aio", "influxdb_client", "subprocess", "os", "pathlib"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        ours = {name.split(".")[0] for name in imports(path)} & OURS
        assert ours <= ROOMS[room], path


@pytest.mark.parametrize("path", PURE)
def test_pure_modules_do_no_io(path: str) -> None:
    assert not imports(ROOT / path) & IO


def test_the_mesh_knows_no_submission_alert_or_job() -> None:
    for path in (ROOT / "mesh").rglob("*.py"):
        contracts = {name for name in imports(path) if name.startswith("sluice.")}
        assert contracts <= {"sluice.queue.v1.envelope_pb2"}, path
