"""The verbs of the local mesh, called by the Makefile: `python -m deploy.local <verb>`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time

from deploy.local import parts
from deploy.local.demo import demo
from deploy.local.mesh import LocalMesh, MeshError, link_command
from deploy.local.settings import LocalSettings


def up(mesh: LocalMesh) -> None:
    """Start everything, wait until it is healthy, say where it is and what to type next."""
    if mesh.supervisor.running():
        mesh.wait_healthy()
        print("Sluice is up already.")
    else:
        begun = time.monotonic()
        try:
            mesh.start()
        except MeshError:
            mesh.stop()
            raise
        print(f"Sluice is up, after {time.monotonic() - begun:.1f} s.")
    print(f"""
  gateway     http://{mesh.gateway}     JSON, gRPC and gRPC-Web
  alert door  http://{mesh.alert_door}     POST /alert
  InfluxDB    {mesh.influx_url}     database logs
  Redis       {mesh.redis_url}
  reports     {mesh.settings.reports_dir}
  logs        {mesh.supervisor.logs}

Try it:

  curl -X POST http://{mesh.gateway}/submit -H 'Content-Type: application/json' \\
       -d '{{"data":"hello"}}'

or `make demo`; `make status` and `make logs` show how it is, `make down` stops it.""")


def down(mesh: LocalMesh) -> None:
    """Stop everything; the data stays."""
    was_up = mesh.supervisor.running()
    mesh.stop()
    print("Sluice is down; its data stays." if was_up else "Sluice was not up.")


def status(mesh: LocalMesh) -> None:
    """Show each program's name, pid, uptime and health. Exits 1 when one is not well."""
    if not mesh.supervisor.running():
        sys.exit("Sluice is not up: make up")
    known, health = mesh.supervisor.programs(), mesh.health()
    print(f"{'NAME':<18}{'PID':>8}{'UPTIME':>10}  HEALTH")
    for name, state in health.items():
        uptime = known[name]["now"] - known[name]["start"]
        print(f"{name:<18}{known[name]['pid']:>8}{uptime:>9}s  {state}")
    if any(state != "healthy" for state in health.values()):
        sys.exit(1)


def logs(mesh: LocalMesh) -> None:
    """Follow every log, until interrupted."""
    files = sorted(mesh.supervisor.logs.glob("*.log"))
    if not files:
        sys.exit("There are no logs yet: make up")
    try:
        subprocess.run(["tail", "-n", "20", "-F", *files])
    except KeyboardInterrupt:
        print()


def clean(mesh: LocalMesh) -> None:
    """Stop everything and delete all data, logs and reports, after naming them."""
    mesh.stop()
    for folder in (mesh.settings.state, mesh.settings.reports_dir):
        if folder.exists():
            print(f"Deleting {folder}")
            shutil.rmtree(folder)


def tools(mesh: LocalMesh) -> None:
    """Bring the commands that the README types, for PATH."""
    folder = mesh.settings.state / "bin"
    for program in (parts.INFLUX, parts.GRPCURL):
        link_command(folder, program.name, parts.go_program(program, print))
    link_command(folder, "redis-cli", parts.redis_cli())
    link_command(folder, "buf", parts.tool("buf"))
    print(f'grpcurl, influx, redis-cli and buf are there:\n\n  export PATH="{folder}:$PATH"')


VERBS = {verb.__name__: verb for verb in (up, down, status, logs, demo, clean, tools)}


def main() -> None:
    """Do what the command line asks for; failures end with a line that says what to do."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    verb = parser.parse_args().verb
    try:
        VERBS[verb](LocalMesh(LocalSettings()))
    except (MeshError, parts.PartMissing, RuntimeError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
