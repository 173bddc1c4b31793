"""Starts, checks and stops a local mesh, for `make up` as for the tests."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.parse
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import grpc
import redis
from pydantic import SecretStr

from deploy.local import admin, parts, ports, probes, programs
from deploy.local.bootstrap import ROOT
from deploy.local.credentials import Role, authorization, credential_file, keep_credentials
from deploy.local.settings import HOST, LocalSettings
from deploy.local.supervision import Supervisor

HEALTHY_SECONDS = 60.0
PORT_SECONDS = 1.0
CHECK_SECONDS = 0.1

ROOMS = (
    *("alert_service", "api_gateway", "deploy", "detection", "ingest_service", "job_store", "mesh"),
    *("protos", "worker"),
)
"""The folders whose content is the version of the mesh."""
VERSION = "version"
PROGRAM_TEXTS = ("*.py", "*.lua", "envoy.yaml", "*.proto")


class MeshError(Exception):
    """The mesh cannot do what was asked; the text is for people and says what to do."""


class LocalMesh:
    """One mesh with its settings.

    `environment` is added to that of every Python process; `say` is called with progress messages.
    `attached` makes the mesh end with the thread that starts it.
    """

    def __init__(
        self,
        settings: LocalSettings,
        environment: Mapping[str, str] | None = None,
        say: Callable[[str], None] = print,
        attached: bool = False,
    ) -> None:
        self.settings = settings
        self.supervisor = Supervisor(settings.state, attached)
        self._environment = environment
        self._say = say
        self._programs: list[programs.Program] | None = None

    @classmethod
    def on_free_ports(
        cls,
        state: Path,
        environment: Mapping[str, str] | None = None,
        **changes: int | str | SecretStr,
    ) -> Self:
        """Return a mesh on ports that are free, with its data, logs and reports under `state`.

        `changes` are settings by name, for example `worker_processes=2`. If the thread that starts
        the mesh ends without stopping it, the mesh ends too.
        """
        none = {"redis_url": "", "influx_url": "", "hosts": ""}
        settings = LocalSettings().model_copy(update={**none, **changes})
        lengths = {name: 1 for name in LocalSettings.model_fields if name.endswith("_port")}
        lengths |= {"redis_port": settings.redis_nodes, "redis_bus_port": settings.redis_nodes}
        for room in ("ingest", "worker"):
            count = getattr(settings, f"{room}_processes")
            lengths |= {f"{room}_grpc_port": count, f"{room}_metrics_port": count}
        own = settings.at(state, ports.free_ranges(lengths))
        return cls(own, environment, attached=True)

    @classmethod
    def that_runs(cls, state: Path) -> Self | None:
        """Return the mesh that runs in `state`, if any, with the settings it was started with."""
        path = cls._settings_file(state)
        if not Supervisor(state).running() or not path.exists():
            return None
        kept = json.loads(path.read_text())
        known = {name: kept[name] for name in LocalSettings.model_fields if name in kept}
        return cls(LocalSettings(**known))

    def is_of_this_version(self) -> bool:
        """Tell whether the programs have not changed since the mesh was started last."""
        path = self._settings_file(self.settings.state)
        return bool(json.loads(path.read_text()).get(VERSION) == _version())

    @property
    def gateway(self) -> str:
        """Address of the gateway, `host:port`."""
        return f"{HOST}:{self.settings.gateway_port}"

    @property
    def alert_door(self) -> str:
        """Address of the alert engine's own door, `host:port`."""
        return f"{HOST}:{self.settings.alert_port}"

    @property
    def redis_url(self) -> str:
        """The URL of Redis."""
        return programs.redis_url(self.settings)

    def redis_environment(self) -> dict[str, str]:
        """Return the variables with which our processes find the jobs in Redis."""
        return programs.redis_environment(self.settings)

    @property
    def influx_url(self) -> str:
        """The URL of InfluxDB."""
        return programs.influx_url(self.settings)

    @property
    def admin_socket(self) -> Path:
        """The Unix socket of Envoy's admin interface."""
        return admin.socket_path(self.settings.state)

    def influx_headers(self, role: Role = "reader") -> dict[str, str]:
        """Return the HTTP headers to authenticate with InfluxDB as `role`."""
        return authorization(self.settings, role)

    def influx_environment(self, role: Role = "reader") -> dict[str, str]:
        """Return the variables with which our processes use InfluxDB as `role`."""
        return programs.influx_environment(self.settings, role)

    def warning(self) -> str | None:
        """Return a warning about a mesh that works, None when there is none."""
        if self.settings.influx_url and probes.influx_is_open(self.influx_url):
            return (
                "Warning: the InfluxDB that SLUICE_INFLUX_URL names lets everybody in, a web page "
                "in a browser too. Make users there, set auth-enabled, and name one who may write "
                "`logs` in SLUICE_INFLUX_TOKEN (user:password), one who may read it in "
                "SLUICE_INFLUX_READ_TOKEN."
            )
        return None

    def start(self) -> None:
        """Start everything and wait until all of it is healthy; after a failure nothing runs.

        Raises MeshError when a port is taken, a named server does not answer or a program does not
        become healthy, parts.PartMissing when a part can be neither found nor built, and
        admin.AdminError when there is no safe place for Envoy's admin socket.
        """
        if not self.supervisor.running():
            # An earlier stop may not have ended yet.
            self.supervisor.wait_gone()
        # The programs of a supervisor that was killed end with it, but not at the same instant.
        deadline = time.monotonic() + PORT_SECONDS
        while conflict := ports.conflict(self.settings.ports()):
            if time.monotonic() > deadline:
                raise MeshError(conflict)
            time.sleep(CHECK_SECONDS)
        for variable, probe in probes.named_servers(self.settings).items():
            try:
                probe()
            except Exception as error:
                raise MeshError(
                    f"The server that {variable} names does not answer ({type(error).__name__}). "
                    "Start it, correct the address, or unset the variable."
                ) from None
        keep_credentials(self.settings)
        self._write_files()
        self.link_commands()
        self._say("Starting ...")
        self.supervisor.start(self._describe())
        try:
            self.wait_healthy()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything; the data stays."""
        self.supervisor.stop()

    def health(self) -> dict[str, str]:
        """Return for each program `healthy`, or what is wrong with it."""
        return self._ask_all(_state)

    def remarks(self) -> dict[str, str]:
        """Return for each program its further remark, mostly none."""
        return self._ask_all(_remark)

    def wait_healthy(self, seconds: float = HEALTHY_SECONDS) -> None:
        """Wait until every program is healthy and reached through the gateway.

        Raises MeshError, with the last lines that a program logged which is not.
        """
        deadline = time.monotonic() + seconds
        while missing := self._missing():
            if time.monotonic() > deadline:
                raise MeshError(
                    f"{', '.join(missing)} did not become healthy within {seconds:.0f} s. "
                    f"The last lines of {missing[0]}:\n{self.last_lines(missing[0])}"
                )
            time.sleep(CHECK_SECONDS)

    def last_lines(self, name: str, count: int = 10) -> str:
        """Return the end of a program's log."""
        path = self.supervisor.logs / f"{name}.log"
        if not path.exists():
            return "(no log)"
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])

    def _describe(self) -> list[programs.Program]:
        if self._programs is None:
            self._programs = programs.all_programs(self.settings, self._say, self._environment)
        return self._programs

    def _ask_all(self, ask: Callable[[programs.Program], str]) -> dict[str, str]:
        described = self._describe()
        with ThreadPoolExecutor(len(described)) as pool:
            answers = pool.map(ask, described)
        return {program.name: answer for program, answer in zip(described, answers, strict=True)}

    def _missing(self) -> list[str]:
        unhealthy = [name for name, state in self.health().items() if state != "healthy"]
        if unhealthy or probes.gateway_sees_services(self.settings):
            return unhealthy
        return ["api_gateway"]

    def _write_files(self) -> None:
        started = self.settings.model_dump(mode="json") | {VERSION: _version()}
        files = {self._settings_file(self.settings.state): json.dumps(started, indent=1)}
        folders = {self.settings.state}
        for program in self._describe():
            files |= program.files
            folders |= {*program.folders}
        for folder in sorted(folders | {path.parent for path in files}):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        admin.require_private(self.admin_socket.parent)
        for path, text in files.items():
            path.write_text(text)

    @staticmethod
    def _settings_file(state: Path) -> Path:
        return state / "config" / "settings.json"

    def link_commands(self) -> None:
        """Put the command `influx`, for the InfluxDB of this mesh, into a folder for PATH."""
        folder = self.settings.state / "bin"
        influx = parts.go_program(parts.INFLUX, self._say)
        options = "\t".join(_influx_options(self.influx_url))
        lines = (str(influx), options, str(credential_file(self.settings, "reader")))
        path = self.settings.state / "config" / "influx"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text("".join(f"{line}\n" for line in lines))
        link_command(folder, "influx", Path(__file__).with_name("influx"))


def _influx_options(url: str) -> list[str]:
    """Return the options of the command `influx` for a URL."""
    where = urllib.parse.urlsplit(url)
    is_secure = where.scheme == "https"
    host = where.hostname or ""
    # Without brackets it takes an IPv6 address for a name and a port.
    options = ["-host", f"[{host}]" if ":" in host else host]
    options += ["-port", str(where.port or (443 if is_secure else 80))]
    options += ["-ssl"] if is_secure else []
    prefix = urllib.parse.unquote(where.path)
    return options + (["-path-prefix", prefix] if prefix.strip("/") else [])


def link_command(folder: Path, name: str, target: Path) -> None:
    """Make `name` in `folder` a link to `target`."""
    if target == folder / name:
        # PATH contains this folder, so that the command was found here.
        return
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{name}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(folder / name)


def _version() -> str:
    """Return a digest of the programs in this clone."""
    digest = hashlib.sha256()
    for room in ROOMS:
        for path in sorted(each for text in PROGRAM_TEXTS for each in (ROOT / room).rglob(text)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _state(program: programs.Program) -> str:
    try:
        program.probe()
    except Exception as error:
        return f"unhealthy ({type(error).__name__})"
    return "healthy"


def _remark(program: programs.Program) -> str:
    try:
        return program.remark()
    except (grpc.RpcError, redis.RedisError):
        # Its health says already that it does not answer.
        return ""
