"""There is one version number: pyproject.toml states it, everything else derives it."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def project(path: str) -> dict[str, Any]:
    described: dict[str, Any] = tomllib.loads((ROOT / path).read_text())["project"]
    return described


def test_the_wheel_takes_its_version_from_the_project() -> None:
    wheel = project("protos/pyproject.toml")
    assert "version" not in wheel
    assert "version" in wheel["dynamic"]
    written = (ROOT / "protos" / "gen" / "version.txt").read_text()
    assert written == project("pyproject.toml")["version"]
