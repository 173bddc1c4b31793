"""The client wheel as its users get it: built, installed, type-checked, run."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.local.mesh import LocalMesh

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).with_name("sample_client.py")

CHECKER = ["mypy", "types-grpcio", "types-protobuf"]


def pins() -> list[str]:
    """Return our pins as constraints, so that the clean environment gets no surprises."""
    lines = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    return [match[1] for line in lines if (match := re.match(r"([a-z0-9-]+==.*) \\$", line))]


def run(*command: str | Path) -> str:
    # Neither this environment nor this folder may lend the clean one anything.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a clean environment that has the wheel and a type checker."""
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: a build leaves files behind, and takes up those that an earlier one left.
    shutil.copytree(ROOT / "protos", folder / "protos", ignore=shutil.ignore_patterns("build"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run(*build, "--outdir", folder / "dist", folder / "protos")
    (wheel,) = (folder / "dist").glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "clean")
    python = folder / "clean" / "bin" / "python"
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins()))
    run(python, "-m", "pip", "install", "--quiet", "-c", constraints, wheel, *CHECKER)
    return python


def type_check(python: Path) -> list[str | Path]:
    # Not every user may write to where `run` is.
    cache = python.parents[2] / "types"
    return [python, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}"]


def test_the_sample_client_type_checks_strictly(python: Path) -> None:
    assert "Success" in run(*type_check(python), SAMPLE)


def test_a_wrong_use_does_not_type_check(python: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(SAMPLE.read_text().replace('source="sample-client"', "source=5"))
    with pytest.raises(AssertionError, match='incompatible type "int"'):
        run(*type_check(python), wrong)


def test_the_sample_client_runs(python: Path, mesh: LocalMesh) -> None:
    printed = run(python, SAMPLE, mesh.gateway).split()
    assert printed[-1] == "TASK_STATE_SUCCEEDED"


def test_the_wheel_has_the_version_of_the_project(python: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (information,) = python.parents[1].glob("lib/python*/site-packages/sluice_protos-*.dist-info")
    assert information.name == f"sluice_protos-{project['version']}.dist-info"


def test_the_wheel_asks_for_runtimes_as_new_as_its_generator(python: Path) -> None:
    (folder,) = python.parents[1].glob("lib/python*/site-packages")
    metadata = (next(folder.glob("sluice_protos-*.dist-info")) / "METADATA").read_text()
    asked = dict(re.findall(r"^Requires-Dist: ([a-z0-9-]+)(.*)$", metadata, re.MULTILINE))
    stub = (folder / "sluice" / "ingest" / "v1" / "ingest_service_pb2_grpc.py").read_text()
    (generator,) = re.findall(r"GRPC_GENERATED_VERSION = '(.*)'", stub)
    message = (folder / "sluice" / "ingest" / "v1" / "ingest_service_pb2.py").read_text()
    (protobuf,) = re.findall(r"^# Protobuf Python Version: (.*)$", message, re.MULTILINE)
    assert asked["grpcio"] == f">={generator}"
    assert f">={protobuf}" in asked["protobuf"]


def test_the_wheel_holds_our_contracts_only(python: Path) -> None:
    (folder,) = python.parents[1].glob("lib/python*/site-packages")
    assert (folder / "sluice" / "py.typed").exists()
    records = next(folder.glob("sluice_protos-*.dist-info")) / "RECORD"
    owned = {line.split("/")[0] for line in records.read_text().splitlines()}
    assert owned == {"sluice", next(folder.glob("sluice_protos-*.dist-info")).name}
