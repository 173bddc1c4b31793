"""The local mesh, as far as it can be told without starting it."""

import json
import re
from pathlib import Path

import pytest

from deploy.local import __main__ as command
from deploy.local import mesh as meshes
from deploy.local.bootstrap import ROOT
from deploy.local.mesh import LocalMesh
from deploy.local.settings import LocalSettings


class Running:
    """A supervisor that is there."""

    def running(self) -> bool:
        return True


@pytest.fixture(name="mesh")
def _mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalMesh:
    mesh = LocalMesh(LocalSettings(state=tmp_path))
    monkeypatch.setattr(mesh, "supervisor", Running())
    (tmp_path / "config").mkdir()
    return mesh


@pytest.mark.parametrize("kept", [{}, {"version": "of-another"}])
def test_what_another_version_started_is_said_at_once(
    mesh: LocalMesh, tmp_path: Path, kept: dict[str, str]
) -> None:
    (tmp_path / "config" / "settings.json").write_text(json.dumps(kept))
    with pytest.raises(SystemExit, match="another version: make down, then make up"):
        command.up(mesh, "")


def test_a_file_of_another_kind_is_no_other_version(
    mesh: LocalMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("deploy/a.py", "mesh/b.lua", "api_gateway/envoy.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(meshes, "ROOT", tmp_path)
    kept = json.dumps({"version": meshes._version()})
    (tmp_path / "config" / "settings.json").write_text(kept)
    (tmp_path / "mesh" / "policy.yaml").write_text("taken up while it runs")
    assert mesh.is_of_this_version()
    for name in ("deploy/a.py", "mesh/b.lua", "api_gateway/envoy.yaml"):
        (tmp_path / name).write_text("two")
        assert not mesh.is_of_this_version()
        (tmp_path / name).write_text("one")
        assert mesh.is_of_this_version()


def test_every_package_that_runs_is_part_of_the_version_and_of_the_image() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"bench", "tests"}
    assert packages <= {*meshes.ROOMS}
    container = (ROOT / "deploy/compose/Containerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) /srv", container, re.MULTILINE))
    assert packages - {"deploy"} == copied
    taken = (ROOT / "deploy/compose/Containerfile.dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in copied} <= {*taken}
