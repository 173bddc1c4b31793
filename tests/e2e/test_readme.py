"""Every command that README and docs type, typed. On a mesh that `make up` starts, ports aside."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deploy.local.mesh import LocalMesh
from detection import Scanner, parse_policy
from tests.e2e.meshes import mesh_with_database
from tests.kit.processes import OUR_CODE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


BLOCKS = blocks("sh", README)
PAGE_BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks("sh", page.read_text()))
]

START = "make up\n"
TESTS = "make test\n"
END = "make status\nmake down\nmake clean\n"


class Reader:
    """Types commands as the README has them, at a mesh on other ports and in another folder."""

    def __init__(self, mesh: LocalMesh) -> None:
        self.mesh = mesh
        settings = mesh.settings
        ports = {name: getattr(settings, name) for name in type(settings).model_fields}
        self._environment: Mapping[str, str] = os.environ | {
            f"SLUICE_{name}".upper(): str(value)
            for name, value in ports.items()
            if name.endswith("_port")
        } | {
            "SLUICE_STATE": str(settings.state),
            "SLUICE_REPORTS_DIR": str(settings.reports_dir),
            "SLUICE_INFLUX_URL": settings.influx_url,
            "SLUICE_INFLUX_ORG": settings.influx_org,
            "SLUICE_INFLUX_BUCKET": settings.influx_bucket,
            "SLUICE_INFLUX_TOKEN": settings.influx_token.get_secret_value(),
            "SLUICE_INFLUX_READ_TOKEN": settings.influx_read_token.get_secret_value(),
        }  # fmt: skip

    def type(self, commands: str) -> str:
        """Run the commands and return what they print. Fails when the last one of a line does."""
        settings = self.mesh.settings
        for here, there in {
            "localhost:8001": self.mesh.gateway,
            "localhost:5001": self.mesh.alert_door,
            "$PWD/.sluice": str(settings.state),
            ".sluice/": f"{settings.state}/",
            "alert_service/error_reports/": f"{settings.reports_dir}/",
        }.items():
            commands = commands.replace(here, there)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f'PATH="{settings.state}/bin:$PATH"\n{commands}'],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with mesh_with_database(tmp_path_factory.mktemp("readme")) as (mesh, _):
        reader = Reader(mesh)
        assert "Sluice is up" in reader.type(START)
        reader.type("make tools")
        yield reader
        mesh.stop()


def test_the_two_commands_come_first() -> None:
    assert BLOCKS[:2] == [START, TESTS]
    assert BLOCKS[-1] == END
    # CI runs the second one; here it would run itself.
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("commands", [*BLOCKS[2:-1], *PAGE_BLOCKS])
def test_a_block_of_commands_works_as_typed(reader: Reader, commands: str) -> None:
    printed = reader.type(commands)
    assert printed
    assert "INTERNAL" not in printed


def test_the_demo_walks_its_four_scenes(reader: Reader) -> None:
    assert "All four scenes went as they should." in reader.type("make demo")


def test_stop_and_clean_up(reader: Reader) -> None:
    printed = reader.type(END)
    assert "healthy" in printed
    assert "Sluice is down" in printed
    assert not reader.mesh.supervisor.running()
    left = [each for each in reader.mesh.settings.reports_dir.rglob("*") if each.is_file()]
    assert left == []
    assert not (reader.mesh.settings.state / "credentials").exists()


def test_the_python_example_runs(mesh: LocalMesh) -> None:
    (example,) = blocks("python", README)
    done = subprocess.run(
        [sys.executable, "-c", example.replace("localhost:8001", mesh.gateway)],
        env=os.environ | OUR_CODE,
        capture_output=True,
        text=True,
        timeout=60,
    )
    written, refused = done.stdout.splitlines()
    assert written == "Written to the database.", done.stderr
    assert "us_ssn" in refused
    assert "/data" in refused


def test_the_policy_example_is_a_policy() -> None:
    (example,) = blocks("yaml", (ROOT / "docs" / "detection.md").read_text())
    policy = parse_policy(example)
    Scanner(policy)
    assert [keyword.word for keyword in policy.keywords] == ["project nightjar"]
