"""The client's wheel as its users get it, with the oldest and the newest packages that it takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.mesh import LocalMesh
from tests.contract.test_wheel import ROOT, run, type_check

SCENES = Path(__file__).with_name("four_scenes.py")
GENERATED = ROOT / "protos" / "gen"
PYTHONS = [sys.executable] + [
    found
    for minor in (11, 12, 13, 14)
    if minor != sys.version_info.minor and (found := shutil.which(f"python3.{minor}"))
    if subprocess.run([found, "-c", ""], capture_output=True).returncode == 0
]
"""This one, and those on PATH."""


LEFT_OPEN = """
import atexit, sys
from sluice_client import Client
told = []
# Runs after the client has closed itself.
atexit.register(lambda: print(len({each.result(0).task_id for each in told})))
told += Client(sys.argv[1]).submit_many(range(3000))
"""
"""From Python 3.12 on no thread begins at this end of a program."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build both wheels as `make wheel` does."""
    folder = tmp_path_factory.mktemp("wheels")
    ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "protos", folder / "protos", ignore=ignored)
    shutil.copytree(ROOT / "clients" / "python", folder / "client", ignore=ignored)
    version = (GENERATED / "version.txt").read_text()
    (folder / "client" / "version.txt").write_text(version)
    (folder / "client" / "requirements.txt").write_text(f"sluice-protos=={version}\n")
    for each in ("protos", "client"):
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
        run(*build, "--outdir", folder / "dist", folder / each)
    return sorted((folder / "dist").glob("*.whl"))


def lowest() -> list[str]:
    """Return the lowest versions that the stubs allow."""
    asked = (GENERATED / "requirements.txt").read_text()
    return re.sub(r">=([\d.]+)[^\n]*", r"==\1", asked).split()


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("versions", ["lowest", "newest"])
@pytest.mark.timeout(300)
def test_the_four_scenes(
    wheels: list[Path], python: str, versions: str, mesh: LocalMesh, tmp_path: Path
) -> None:
    run(python, "-m", "venv", tmp_path / "clean")
    clean = tmp_path / "clean" / "bin" / "python"
    packages = lowest() if versions == "lowest" else ["mypy", "types-grpcio", "types-protobuf"]
    run(clean, "-m", "pip", "install", "--quiet", *wheels, *packages)
    printed = run(clean, "-W", "error", SCENES, mesh.gateway).splitlines()
    assert printed == ["submitted and watched", "written", "refused /data", "flooded"]
    left = subprocess.run(
        [clean, "-c", LEFT_OPEN, mesh.gateway], capture_output=True, text=True, timeout=60
    )
    assert (left.returncode, left.stdout, left.stderr) == (0, "3000\n", "")
    command: list[str | Path] = [clean.with_name("sluice"), "--target", mesh.gateway]
    task = run(*command, "submit", '"from the shell"').strip()
    assert "TASK_STATE_SUCCEEDED" in run(*command, "watch", task)
    assert "TASK_STATE_SUCCEEDED" in run(*command, "status", task)
    refused = subprocess.run([*command, "scan", '"mail bob@example.com"'], capture_output=True)
    assert (refused.returncode, b"/data" in refused.stdout) == (1, True)
    if versions == "newest":
        assert "Success" in run(*type_check(clean), SCENES)


def test_the_wheel_asks_for_nothing_but_the_stubs(wheels: list[Path], tmp_path: Path) -> None:
    run(sys.executable, "-m", "zipfile", "-e", wheels[0], tmp_path)
    (metadata,) = tmp_path.glob("sluice_client-*.dist-info/METADATA")
    version = (GENERATED / "version.txt").read_text()
    asked = re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(), re.MULTILINE)
    assert asked == [f"sluice-protos=={version}"]
    assert {path.name for path in tmp_path.iterdir()} == {"sluice_client", metadata.parent.name}
    assert (tmp_path / "sluice_client" / "py.typed").exists()
