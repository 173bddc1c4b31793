"""InfluxDB 2.7 for the end-to-end tests: built from its Go module once, and started on loopback.

`python -m tests.e2e.influx2` builds it, in some minutes. It is no part of what ships.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr

from deploy.local.bootstrap import CACHE, run_showing
from deploy.local.parts import go_toolchains
from deploy.local.ports import free_ranges
from deploy.local.programs import Program
from deploy.local.settings import HOST
from deploy.local.supervision import Supervisor
from tests.kit.servers import await_influxdb

MODULE = "github.com/influxdata/influxdb/v2"
VERSION = "v2.7.12"
BINARY = CACHE / "bin" / f"influxd2-{VERSION}"
START_SECONDS = 30.0

NEEDED = {
    "cargo": "Rust: rustup.rs, or apt install cargo",
    "clang": "apt install clang",
    "pkg-config": "apt install pkg-config",
    "cc": "apt install gcc",
}
"""What its query engine is built with, and where that comes from."""

# Compilers of today warn of what was fine, and the engine takes warnings for errors.
RUSTC = '#!/bin/sh\nexec "$@" --cap-lints warn\n'


def build(target: Path) -> None:
    """Build influxd as `target`. Exits with a line that says what is missing."""
    missing = [f"{name} ({where})" for name, where in NEEDED.items() if not shutil.which(name)]
    if missing:
        sys.exit(f"InfluxDB {VERSION} cannot be built here without {', '.join(missing)}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f"{target.name}.building")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        _build(scratch, target)
    finally:
        # The caches take three gigabytes.
        shutil.rmtree(scratch, ignore_errors=True)


def _build(scratch: Path, target: Path) -> None:
    go = str(go_toolchains()[0])
    module, wrapper = scratch / "module", scratch / "rustc"
    module.mkdir(parents=True)
    wrapper.write_text(RUSTC)
    wrapper.chmod(0o755)
    environment = os.environ | {
        "CGO_ENABLED": "1",
        "GOPATH": str(scratch / "path"),
        "GOMODCACHE": str(scratch / "modules"),
        "GOCACHE": str(scratch / "cache"),
        "GOBIN": str(scratch),
        "GOFLAGS": "-buildvcs=false -modcacherw -mod=mod",
        "GOTOOLCHAIN": "local",
        "CARGO_HOME": str(scratch / "cargo"),
        "PKG_CONFIG": str(scratch / "pkg-config"),
        "RUSTC_WRAPPER": str(wrapper),
        # The engine names a toolchain of its own, which rustup would fetch.
        "RUSTUP_TOOLCHAIN": os.environ.get("RUSTUP_TOOLCHAIN", "stable"),
    }

    def run(*command: str) -> None:
        code, printed = run_showing([go, "-C", str(module), *command], environment)
        if code:
            sys.exit("\n".join([f"InfluxDB {VERSION} could not be built:", *printed[-10:]]))

    # A module's own `replace` lines count only where it is built itself, so they are copied.
    (module / "go.mod").write_text("module influx2\n")
    run("mod", "download", f"{MODULE}@{VERSION}")
    upstream = scratch / "modules" / "cache" / "download" / MODULE / "@v" / f"{VERSION}.mod"
    shown = subprocess.run(
        [go, "mod", "edit", "-json", upstream], capture_output=True, text=True, env=environment
    )
    described = json.loads(shown.stdout)
    lines = ["module influx2", f"go {described['Go']}", f"require {MODULE} {VERSION}"]
    for each in described["Replace"] or []:
        old, new = each["Old"], each["New"]
        before = f"{old['Path']} {old.get('Version', '')}"
        lines.append(f"replace {before} => {new['Path']} {new.get('Version', '')}")
    (module / "go.mod").write_text("\n".join(lines) + "\n")
    run("install", "github.com/influxdata/pkg-config@latest")
    run("build", "-o", str(scratch / "influxd"), f"{MODULE}/cmd/influxd")
    (scratch / "influxd").replace(target)


class Influx2:
    """One InfluxDB 2.7 with a bucket `logs`, one token that may write it and one that may read it.

    Every bucket is a database of its name by itself (a virtual DBRP mapping).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._url = f"http://{HOST}:{free_ranges({'influx': 1})['influx']}"
        self.supervisor = Supervisor(folder, attached=True)
        self.settings: dict[str, str | SecretStr] = {}
        """Settings that name it to a mesh."""

    def __enter__(self) -> Self:
        (self._folder / "config").mkdir(parents=True)
        paths = {name: str(self._folder / name) for name in ("bolt", "sqlite", "engine")}
        command = [str(BINARY), "--http-bind-address", self._url.removeprefix("http://")]
        command += [part for name, path in paths.items() for part in (f"--{name}-path", path)]
        command += ["--reporting-disabled", "--log-level", "warn"]
        self.supervisor.start([Program("influxdb", 20, command, self._ping)])
        await_influxdb(self._url, START_SECONDS)
        setup = {"username": "admin", "password": "of no use later", "org": "sluice"}
        made = self._post("setup", setup | {"bucket": "logs"}, "")
        admin, bucket = made["auth"]["token"], made["bucket"]

        def token(action: str) -> SecretStr:
            place = {"type": "buckets", "id": bucket["id"], "orgID": bucket["orgID"]}
            permissions = [{"action": action, "resource": place}]
            wanted = {"orgID": bucket["orgID"], "permissions": permissions}
            return SecretStr(self._post("authorizations", wanted, admin)["token"])

        self.settings = {
            "influx_url": self._url,
            "influx_org": "sluice",
            "influx_bucket": "logs",
            "influx_token": token("write"),
            "influx_read_token": token("read"),
        }
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()

    def _ping(self) -> None:
        with urllib.request.urlopen(f"{self._url}/ping", timeout=2):
            pass

    def _post(self, path: str, body: dict[str, Any], token: str) -> Any:
        headers = {"Authorization": f"Token {token}"} if token else {}
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/api/v2/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def main() -> None:
    """Build it unless it is there."""
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    with (BINARY.parent / "lock-influx2").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not BINARY.exists():
            print(f"Building InfluxDB {VERSION}, once; takes some five minutes ...", flush=True)
            build(BINARY)


if __name__ == "__main__":
    main()
