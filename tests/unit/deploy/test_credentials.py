"""The credentials of InfluxDB, and the `influx` command that shows them."""

import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.local import parts, programs
from deploy.local.credentials import authorization, credential_file, keep_credentials
from deploy.local.mesh import LocalMesh
from deploy.local.settings import LocalSettings

NAMED: dict[str, Any] = {"influx_url": "https://far.example:8443", "influx_org": "o"}
PRINTING = """#!/bin/sh
printf '%s\\n' "$INFLUX_USERNAME" "$INFLUX_PASSWORD" "$@"
"""


@pytest.fixture(autouse=True)
def _no_credentials_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFLUX_USERNAME", "INFLUX_PASSWORD", "SLUICE_INFLUX_TOKEN", "SLUICE_INFLUX_URL"):
        monkeypatch.delenv(name, raising=False)


def settings_in(state: Path, **changes: Any) -> LocalSettings:
    return LocalSettings(state=state, **changes)


def test_a_named_influxdb_gets_the_tokens_of_the_settings(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, **NAMED, influx_token="w", influx_read_token="r")
    keep_credentials(settings)
    assert authorization(settings, "writer") == {"Authorization": "Token w"}
    assert authorization(settings, "reader") == {"Authorization": "Token r"}
    assert stat.S_IMODE(credential_file(settings, "writer").stat().st_mode) == 0o600
    # They go with the settings that named them, and leave our own as they are.
    own = settings_in(tmp_path)
    keep_credentials(own)
    kept = authorization(own, "reader")
    keep_credentials(settings_in(tmp_path, **NAMED, influx_token="x"))
    assert authorization(settings, "reader") == {"Authorization": "Token x"}
    keep_credentials(settings_in(tmp_path, **NAMED))
    assert authorization(settings, "reader") == authorization(settings, "writer") == {}
    assert authorization(own, "reader") == kept


def test_secrets_are_kept_out_of_what_is_told(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, **NAMED, influx_token="canary", influx_read_token="canary")
    keep_credentials(settings)
    assert "canary" not in settings.model_dump_json() + repr(settings)
    for role in ("writer", "reader"):
        told = programs.influx_environment(settings, role)
        assert "canary" not in str(told)
        assert Path(told["SLUICE_INFLUX_TOKEN_FILE"]).read_text() == "canary"


def test_our_own_influxdb_takes_nothing_from_the_users_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_INFLUX_TOKEN", "theirs")
    monkeypatch.setenv("SLUICE_INFLUX_ORG", "theirs")
    monkeypatch.setenv("SLUICE_INFLUX_BUCKET", "theirs")
    assert "theirs" not in str(programs.influx_environment(settings_in(tmp_path), "writer"))


def influx(mesh: LocalMesh, *arguments: str) -> list[str]:
    command = [str(mesh.settings.state / "bin" / "influx"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("changes", "shown", "options"),
    [
        ({}, ["reader", None], ["-host", "127.0.0.1", "-port", "8086"]),
        (
            {**NAMED, "influx_token": "w", "influx_read_token": "r=="},
            # 2.x looks at the password only.
            ["r==", "r=="],
            ["-host", "far.example", "-port", "8443", "-ssl"],
        ),
        ({**NAMED, "influx_token": "me:pass:word"}, ["me", "pass:word"], []),
        (NAMED, ["", ""], []),
    ],
)
def test_influx_shows_its_reader_and_no_secret_in_its_arguments(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    shown: list[str | None],
    options: list[str],
) -> None:
    printing = tmp_path / "the influx"
    printing.write_text(PRINTING)
    printing.chmod(0o755)
    monkeypatch.setattr(parts, "go_program", lambda program, _: printing)
    mesh = LocalMesh(settings_in(tmp_path / "the state", **changes))
    keep_credentials(mesh.settings)
    mesh.link_commands()
    username, password, *arguments = influx(mesh, "-database", "logs", "-execute", "SHOW x")
    if shown[1] is None:
        shown[1] = credential_file(mesh.settings, "reader").read_text().partition(":")[2]
    assert [username, password] == shown
    assert arguments[: len(options)] == options
    assert arguments[-4:] == ["-database", "logs", "-execute", "SHOW x"]
    assert not password or password not in arguments
    # Who says as whom they come is believed.
    monkeypatch.setenv("INFLUX_USERNAME", "somebody")
    assert influx(mesh)[:2] == ["somebody", ""]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://[::1]:8087", ["-host", "[::1]", "-port", "8087"]),
        ("https://[2001:db8::1]", ["-host", "[2001:db8::1]", "-port", "443", "-ssl"]),
        ("http://far.example/", ["-host", "far.example", "-port", "80"]),
        (
            "http://far.example:8086/db/a%20*/",
            ["-host", "far.example", "-port", "8086", "-path-prefix", "/db/a */"],
        ),
    ],
)
def test_influx_goes_where_the_url_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, options: list[str]
) -> None:
    printing = tmp_path / "the influx"
    printing.write_text(PRINTING)
    printing.chmod(0o755)
    monkeypatch.setattr(parts, "go_program", lambda program, _: printing)
    # What a shell would make of the options must not be there.
    monkeypatch.chdir(tmp_path)
    (tmp_path / ":").touch()
    mesh = LocalMesh(settings_in(tmp_path, influx_url=url))
    mesh.link_commands()
    _, _, *arguments = influx(mesh, "-version")
    assert arguments == [*options, "-version"]


def test_our_influx_is_not_taken_for_the_machines_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would call itself for ever."""
    monkeypatch.setattr(parts, "BINARIES", tmp_path)
    built = tmp_path / f"influx-{parts.INFLUX.version}"
    built.touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "influx").symlink_to(Path(parts.__file__).with_name("influx"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert parts.go_program(parts.INFLUX, print) == built
