"""The commands of the local mesh, for the Makefile: `python -m deploy.local <verb>`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from deploy.local import parts
from deploy.local.demo import demo
from deploy.local.mesh import LocalMesh, MeshError, link_command
from deploy.local.settings import LocalSettings
from mesh.console import ignore_output_errors


def up(mesh: LocalMesh, _name: str) -> None:
    """Start everything, wait until it is healthy, say where it is and what to type next."""
    if mesh.supervisor.running():
        if not mesh.is_of_this_version():
            sys.exit("Sluice is up, started by another version: make down, then make up")
        mesh.wait_healthy()
        print("Sluice is up already.")
        if mesh.settings != LocalSettings.load():
            print("It keeps the settings it was started with; for others: make down, make up.")
    else:
        begun = time.monotonic()
        mesh.start()
        print(f"Sluice is up, after {time.monotonic() - begun:.1f} s.")
    print(f"""
  gateway     http://{mesh.gateway}     JSON, gRPC, gRPC-Web and OTLP
  alert door  http://{mesh.alert_door}     POST /alert
  InfluxDB    {mesh.influx_url}     database logs
  Redis       {mesh.redis_url}
  reports     {mesh.settings.reports_dir}
  logs        {mesh.supervisor.logs}

Try it:

  curl -X POST http://{mesh.gateway}/submit -H 'Content-Type: application/json' \\
       -d '{{"data":"hello"}}'

or `make demo`; `make status` and `make logs` show how it is, `make down` stops it.""")
    if warning := mesh.warning():
        print(f"\n{warning}")


def down(mesh: LocalMesh, _name: str) -> None:
    """Stop everything; the data stays."""
    was_up = mesh.supervisor.running()
    mesh.stop()
    print("Sluice is down; its data stays." if was_up else "Sluice was not up.")


def status(mesh: LocalMesh, _name: str) -> None:
    """Show each program's name, pid, uptime, health and further remarks.

    Exits 1 when one is not healthy.
    """
    if not mesh.supervisor.running():
        sys.exit("Sluice is not up: make up")
    known, health, remarks = mesh.supervisor.programs(), mesh.health(), mesh.remarks()
    print(f"{'NAME':<18}{'PID':>8}{'UPTIME':>10}  HEALTH")
    for name, state in health.items():
        uptime = known[name]["now"] - known[name]["start"]
        words = "; ".join(filter(None, [state, remarks[name]]))
        print(f"{name:<18}{known[name]['pid']:>8}{uptime:>9}s  {words}")
    if warning := mesh.warning():
        print(f"\n{warning}")
    if any(state != "healthy" for state in health.values()):
        sys.exit(1)


def logs(mesh: LocalMesh, name: str) -> None:
    """Follow every log, or that of one program, until interrupted."""
    files = sorted(mesh.supervisor.logs.glob(f"{name or '*'}.log"))
    if not files:
        known = ", ".join(sorted(path.stem for path in mesh.supervisor.logs.glob("*.log")))
        sys.exit(f"There is no such log; there are: {known}" if known else "No logs yet: make up")
    subprocess.run(["tail", "-n", "20", "-F", *files])


def clean(mesh: LocalMesh, _name: str) -> None:
    """Stop everything and delete all data, logs and reports, after naming them.

    Deletes only what the mesh has made, whatever folders the settings name.
    """
    mesh.stop()
    state = mesh.settings.state
    made = [state / name for name in CLEANED]
    for pattern in REPORTS:
        made += sorted(mesh.settings.reports_dir.glob(pattern))
    for path in filter(Path.exists, made):
        print(f"Deleting {path}")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def tools(mesh: LocalMesh, _name: str) -> None:
    """Install the commands that the READMEs use, for PATH."""
    folder = mesh.settings.state / "bin"
    mesh.link_commands()
    link_command(folder, parts.GRPCURL.name, parts.go_program(parts.GRPCURL, print))
    link_command(folder, "sluice-scan", Path(__file__).with_name("sluice-scan"))
    link_command(folder, "buf", parts.tool("buf"))
    print("grpcurl, influx, sluice-scan and buf are there:")
    print(f'\n  export PATH="{folder}:$PATH"')


def scenes(mesh: LocalMesh, _name: str) -> None:
    """Run the four scenes of the README."""
    demo(mesh)


CLEANED = (
    *("redis", "redis-cluster", "influxdb", "credentials", "logs", "config", "run", "bin"),
    "envoy",
)
REPORTS = (
    *("alert_*.txt", "edge/alert_*.txt", ".index.sqlite*", ".key"),
    # Left by a service that was killed; and what an earlier version identified reports by.
    *(".*.tmp", "edge/.*.tmp", ".ids"),
)

VERBS = {
    "up": up,
    "down": down,
    "status": status,
    "logs": logs,
    "demo": scenes,
    "clean": clean,
    "tools": tools,
}


def main() -> None:
    """Run the command of the command line. On failure, exits with a line that says what to do."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("name", nargs="?", default="", help="one program, for logs")
    arguments = parser.parse_args()
    settings = LocalSettings.load()
    mesh = LocalMesh.that_runs(settings.state) or LocalMesh(settings)
    try:
        VERBS[arguments.verb](mesh, arguments.name)
    except (MeshError, parts.PartMissing, RuntimeError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    ignore_output_errors()
    main()
