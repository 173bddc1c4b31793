"""Settings of the local mesh."""

import re
from pathlib import Path

import pytest

from deploy.local.settings import LocalSettings


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in LocalSettings.model_fields:
        monkeypatch.delenv(f"SLUICE_{field}".upper(), raising=False)


def test_the_ports_people_type_are_the_defaults() -> None:
    ports = {use: port for use, (port, _) in LocalSettings.load().ports().items()}
    assert [ports[use] for use in ("gateway", "alert door", "Redis", "InfluxDB")] == [
        8001,
        5001,
        6379,
        8086,
    ]


def test_default_ports_leave_room_for_ten_processes_of_a_kind() -> None:
    settings = LocalSettings(ingest_processes=10, worker_processes=10)
    ports = [port for port, _ in settings.ports().values()]
    assert len(ports) == len(set(ports))


def test_every_port_names_a_variable_that_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for use, (port, variable) in LocalSettings.load().ports().items():
        monkeypatch.setenv(variable, str(port + 1))
        assert LocalSettings.load().ports()[use] == (port + 1, variable)
        monkeypatch.delenv(variable)


def test_a_named_server_needs_no_port() -> None:
    settings = LocalSettings(redis_url="redis://far:6379/0", influx_url="http://far:8086")
    assert not {"Redis", "InfluxDB", "InfluxDB backup"} & set(settings.ports())


def refusal(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        LocalSettings.load()
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_wrong_settings_end_with_a_line_each_and_without_their_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_GATEWAY_PORT", "canary")
    monkeypatch.setenv("SLUICE_WORKER_PROCESSES", "0")
    lines = refusal(capsys)
    assert [line.partition(":")[0] for line in lines] == [
        "SLUICE_GATEWAY_PORT",
        "SLUICE_WORKER_PROCESSES",
    ]
    assert "canary" not in str(lines)


def test_folders_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert LocalSettings(state=Path("state")).state == tmp_path / "state"


def test_another_mesh_keeps_its_data_and_reports_together(tmp_path: Path) -> None:
    other = LocalSettings.load().at(tmp_path, {"gateway_port": 8002})
    assert (other.state, other.reports_dir) == (tmp_path, tmp_path / "error_reports")
    assert other.gateway_port == 8002


def test_names_of_the_gateway_are_host_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_HOSTS", " Box , sluice.example,box,")
    assert LocalSettings.load().hosts == "box,sluice.example"


def test_names_that_the_gateway_has_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_HOSTS", "localhost,box,LocalHost,127.0.0.1,[::1]")
    assert LocalSettings.load().hosts == "box"


@pytest.mark.parametrize("character", ["%", ";", "#", '"', "\\", "\n", "\udc80"])
def test_a_state_folder_that_would_break_a_configuration_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    character: str,
) -> None:
    monkeypatch.setenv("SLUICE_STATE", f"{tmp_path}/a {character}b")
    (line,) = refusal(capsys)
    assert re.match(r"SLUICE_STATE: .*Name a folder", line)


@pytest.mark.parametrize("name", ["a b", "it's", "$x", "é" * 60, "x" * 150])
def test_other_state_folders_are_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("SLUICE_STATE", f"{tmp_path}/{name}")
    assert LocalSettings.load().state == tmp_path / name


@pytest.mark.parametrize(
    "text",
    ["*", "*.example", "a b", "box:80", "http://box", "a|b", "-", ".", "box.", "[fe80::1]", "::1"],
)
def test_what_is_no_host_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.setenv("SLUICE_HOSTS", text)
    (line,) = refusal(capsys)
    assert re.match(r"SLUICE_HOSTS: .*host names without ports", line)


def test_a_cluster_needs_ports_for_all_nodes_and_their_talk() -> None:
    ports = LocalSettings(redis_primaries=3).ports()
    assert [ports[f"Redis {number}"][0] for number in range(6)] == list(range(6379, 6385))
    assert [ports[f"Redis bus {number}"][0] for number in range(6)] == list(range(16379, 16385))


def test_two_primaries_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_REDIS_PRIMARIES", "2")
    (line,) = refusal(capsys)
    assert line.startswith("SLUICE_REDIS_PRIMARIES: Value error, Choose 1, or 3 and more")
