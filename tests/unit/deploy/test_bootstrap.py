"""What a fresh clone says when it cannot be prepared."""

import importlib.util
import itertools
import sys
from pathlib import Path

import pytest

from deploy.local import bootstrap


@pytest.fixture(name="clone")
def _clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a clone in which nothing is installed."""
    (tmp_path / "requirements").mkdir()
    for name in ("dev.txt", "tools.txt"):
        (tmp_path / "requirements" / name).write_text("")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "REQUIREMENTS", tmp_path / "requirements")
    monkeypatch.setattr(bootstrap, "CACHE", tmp_path / "cache")
    return tmp_path


def refusal() -> str:
    with pytest.raises(SystemExit) as ended:
        bootstrap.main()
    said = str(ended.value)
    assert "\n" not in said
    return said


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert refusal().startswith("Sluice needs Python 3.11 or later")


@pytest.mark.usefixtures("clone")
def test_a_python_without_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "apt install python3-venv" in refusal()


@pytest.mark.usefixtures("clone")
def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = [
        "WARNING: Retrying after connection broken by 'NewConnectionError(...)'",
        "ERROR: No matching distribution found for grpcio==1.74.0",
    ]
    answers = iter([(0, []), (1, printed)])
    monkeypatch.setattr(bootstrap, "run_showing", lambda _: next(answers))
    said = refusal()
    assert said.startswith("No network: the Python packages")
    assert "PIP_INDEX_URL" in said


@pytest.mark.usefixtures("clone")
def test_a_package_that_does_not_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(0, []), (1, ["ERROR: no wheel of grpcio fits", "[notice] a new pip"])])
    monkeypatch.setattr(bootstrap, "run_showing", lambda _: next(answers))
    assert "ERROR: no wheel of grpcio fits" in refusal()


@pytest.mark.usefixtures("clone")
def test_a_python_without_wheels_is_told_which_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "ERROR: No matching distribution found for grpcio==1.74.0"
    answers = iter([(0, []), (1, [told])])
    monkeypatch.setattr(bootstrap, "run_showing", lambda _: next(answers))
    said = refusal()
    assert f"{told}: there is no wheel of it for {bootstrap.PYTHON}" in said
    assert "3.11 to 3.14" in said


def test_no_package_is_ever_compiled(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str | Path, ...]] = []

    def installed(command: tuple[str | Path, ...]) -> tuple[int, list[str]]:
        commands.append(tuple(command))
        (clone / ".venv").mkdir(exist_ok=True)
        return 0, []

    monkeypatch.setattr(bootstrap, "run_showing", installed)
    bootstrap._install(clone / ".venv", clone / "requirements" / "dev.txt", "Python packages")
    assert ("--only-binary", ":all:") in itertools.pairwise(commands[-1])


def test_stubs_of_another_python_are_generated_anew(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "protos" / "gen").mkdir(parents=True)
    (clone / "protos" / "generate.py").touch()
    (clone / "pyproject.toml").touch()
    (clone / "protos" / "gen" / "generated").write_text(bootstrap._contracts())
    assert bootstrap._generated()
    monkeypatch.setattr(bootstrap, "PYTHON", "python3.99")
    assert not bootstrap._generated()


def test_what_is_installed_is_left_alone_until_its_requirements_change(clone: Path) -> None:
    requirements = clone / "requirements" / "dev.txt"
    environment = clone / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").touch()
    assert not bootstrap._installed(environment, requirements)
    (environment / "installed").write_text(f"{bootstrap.PYTHON} {bootstrap._digest(requirements)}")
    assert bootstrap._installed(environment, requirements)
    requirements.write_text("another==1")
    assert not bootstrap._installed(environment, requirements)


def test_all_that_a_command_prints_is_returned() -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    code, printed = bootstrap.run_showing([sys.executable, "-c", script])
    assert (code, sorted(printed)) == (3, ["err", "out"])
