"""What the supervisor is told."""

import configparser
import os
from pathlib import Path

from deploy.local import supervision
from deploy.local.programs import Program
from deploy.local.supervision import Supervisor


def rendered(state: Path) -> configparser.ConfigParser:
    program = Program("redis", 10, ["/bin/redis", "a b"], lambda: None)
    # As supervisord reads it: a percent sign is written twice.
    parsed = configparser.ConfigParser(inline_comment_prefixes=(";", "#"))
    parsed.read_string(Supervisor(state)._render([program]))
    return parsed


def test_what_ends_is_started_again_for_ever(tmp_path: Path) -> None:
    program = rendered(tmp_path)["program:redis"]
    assert program["autorestart"] == "true"
    assert program["startsecs"] == "0"


def test_a_program_has_time_to_drain_before_it_is_killed(tmp_path: Path) -> None:
    program = rendered(tmp_path)["program:redis"]
    assert program["stopsignal"] == "TERM"
    assert int(program["stopwaitsecs"]) > 15
    assert program["killasgroup"] == "true"


def test_a_state_folder_with_a_percent_sign_is_kept(tmp_path: Path) -> None:
    state = tmp_path / "100%"
    assert rendered(state)["supervisord"]["logfile"] == f"{state}/logs/supervisord.log"


def test_a_deep_state_folder_gets_a_socket_that_the_system_can_open(tmp_path: Path) -> None:
    shallow, deep = Path("/s"), tmp_path / ("deep" * 30)
    near = rendered(shallow)["unix_http_server"]["file"]
    far = rendered(deep)["unix_http_server"]["file"]
    assert near == "/s/run/supervisor.sock"
    assert len(far) <= supervision.LONGEST_SOCKET_PATH
    assert far == rendered(deep)["unix_http_server"]["file"]
    assert far != rendered(deep / "er")["unix_http_server"]["file"]


def test_a_sockets_path_is_counted_in_bytes() -> None:
    state = Path("/") / ("é" * 60)
    far = rendered(state)["unix_http_server"]["file"]
    assert len(os.fsencode(far)) <= supervision.LONGEST_SOCKET_PATH


def test_why_the_supervisor_does_not_start_is_told_without_its_help() -> None:
    printed = "Error: Another program is already listening\nFor help, use supervisord -h\n"
    assert supervision._reason(printed) == "Error: Another program is already listening"
    assert supervision._reason("a\nlast\n") == "last"
    assert supervision._reason("") == ""
