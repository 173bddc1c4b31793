"""Where the binaries come from."""

import subprocess
from pathlib import Path

import pytest

from deploy.local import parts
from deploy.local.mesh import link_command


@pytest.fixture(name="path")
def _path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is all of PATH; the cache is another, and empty."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(parts, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(parts, "BINARIES", tmp_path / "cache" / "bin")
    return folder


def command(path: Path, prints: str, code: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}'\nexit {code}\n")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        (parts.INFLUXD, "InfluxDB v1.8.10 (git: 1.8 688e697c51fd)"),
        (parts.INFLUX, "InfluxDB shell version: 1.8.10"),
        (parts.GRPCURL, "grpcurl v1.9.3"),
    ],
)
def test_a_program_on_path_is_used(path: Path, program: parts.GoProgram, printed: str) -> None:
    found = command(path / program.name, printed)
    assert parts.go_program(program, print) == found


def test_influxdb_of_another_line_is_not_used(path: Path, tmp_path: Path) -> None:
    command(path / "influxd", "InfluxDB v2.7.1 (git: 407fa622e9)")
    kept = command(tmp_path / "cache" / "bin" / "influxd-v1.8.10", "ours")
    assert parts.go_program(parts.INFLUXD, print) == kept


def test_our_own_link_on_path_is_not_taken_for_the_machines_command(
    path: Path, tmp_path: Path
) -> None:
    kept = command(tmp_path / "cache" / "bin" / "grpcurl-v1.9.3", "grpcurl v1.9.3")
    link_command(path, "grpcurl", kept)
    assert parts.go_program(parts.GRPCURL, print) == kept


def test_a_command_never_becomes_a_link_to_itself(path: Path, tmp_path: Path) -> None:
    own = command(tmp_path / "usr" / "grpcurl", "grpcurl v1.9.3")
    link_command(path, "grpcurl", own)
    link_command(path, "grpcurl", parts.go_program(parts.GRPCURL, print))
    assert (path / "grpcurl").resolve() == own


@pytest.mark.parametrize(
    ("name", "printed", "fits"),
    [
        ("redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1", True),
        ("redis-server", "Redis server v=10.2.0 sha=00000000:0 malloc=jemalloc-5.2.1", True),
        ("redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=jemalloc-5.2.1", False),
        # Debian's compatibility package: Valkey under the older name.
        ("redis-server", "Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0", True),
        ("valkey-server", "Valkey server v=9.1.2 sha=00000000:1 malloc=libc", True),
    ],
)
def test_a_server_on_path_is_used_when_it_is_new_enough(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, printed: str, fits: bool
) -> None:
    packaged = Path("/tools/valkey-server")
    monkeypatch.setattr(parts, "_packaged", lambda _: packaged)
    found = command(path / name, printed)
    assert parts.own_redis_server() == (found if fits else None)
    assert parts.redis_server() == (found if fits else packaged)


def test_valkey_on_path_is_used_before_redis(path: Path) -> None:
    command(path / "redis-server", "Redis server v=7.0.15 sha=00000000:0")
    valkey = command(path / "valkey-server", "Valkey server v=9.1.2 sha=00000000:1")
    assert parts.redis_server() == valkey


def test_a_failed_build_leaves_nothing_and_says_what_to_do(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = command(path / "go", "go: needs a later go", code=1)
    monkeypatch.setattr(parts, "_packaged", lambda _: go)
    said: list[str] = []
    with pytest.raises(parts.PartMissing, match=r"needs a later go.*put grpcurl v1\.9\.3 on PATH"):
        parts.go_program(parts.GRPCURL, said.append)
    assert len(said) == 1
    assert [each.name for each in (tmp_path / "cache" / "bin").iterdir()] == ["lock"]


def test_a_build_without_network_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = command(path / "go", "go: Get ...: dial tcp: lookup: no such host", code=1)
    monkeypatch.setattr(parts, "_packaged", lambda _: go)
    with pytest.raises(parts.PartMissing, match=r"^No network: grpcurl"):
        parts.go_program(parts.GRPCURL, print)


def test_the_packaged_go_is_tried_when_that_on_path_fails(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(path / "go", "too old", code=1)
    packaged = tmp_path / "packaged-go"
    packaged.write_text('#!/bin/sh\n/bin/mkdir -p "$GOBIN" && echo built > "$GOBIN/grpcurl"\n')
    packaged.chmod(0o700)
    monkeypatch.setattr(parts, "_packaged", lambda _: packaged)
    built = parts.go_program(parts.GRPCURL, print)
    assert built.read_text() == "built\n"
    assert subprocess.run(["/bin/ls", built.parent], capture_output=True, text=True).stdout.split()
    assert not (built.parent / "building").exists()
