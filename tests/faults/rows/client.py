"""The Python client while what it talks to dies, hangs and cuts, and while it dies itself."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.faults.marks import COMMIT
from tests.faults.row import Row
from tests.faults.scene import Scene
from tests.faults.stage import ONE_OF_EACH
from tests.kit.processes import Process

ROWS: list[Row] = []

HANG_SECONDS = 3.0


def program(scene: Scene, name: str, *options: str) -> Process:
    """Start a program that submits, and wait until it has receipts."""
    command = scene.load_command("tests.faults.client_load", scene.random.randrange(10**6))
    process = Process([*command, "--name", name, *options], scene.path.with_suffix(f".{name}.log"))
    before = scene.count("ok")
    process.start()
    scene.until(lambda: scene.count("ok") > before + 200, "the client got no receipts")
    return process


def end(scene: Scene, *processes: Process) -> None:
    """Let programs end by themselves: each submission has its outcome by then."""
    for process in processes:
        status = process.stop(signal.SIGTERM, 90)
        log = process.log.read_text()
        scene.expect(status == 0, f"the client ended with {status}: {log[-500:]}")
        scene.expect("Traceback" not in log, f"the client logged an error: {log[-500:]}")
    scene.expect(not scene.count("info"), f"{scene.count('info')} submissions have no answer")


def strike_ingest(scene: Scene) -> None:
    """Ten threads submit while ingest is killed and hangs."""
    client = program(scene, "client", "--forks")
    for name in scene.stage.ingest:
        scene.kill(name)
        scene.a_moment()
    with scene.frozen(scene.random.choice(scene.stage.ingest)):
        scene.a_moment(HANG_SECONDS, HANG_SECONDS)
    scene.a_moment()
    end(scene, client)
    scene.lift()


ROWS.append(
    Row(
        "client-ingest",
        "the Python client, ingest killed and hung, while it forks",
        15,
        strike_ingest,
        rate=0,
    )
)


def strike_gateway(scene: Scene) -> None:
    """Ten threads submit while the gateway is killed, replaced and hangs."""
    client = program(scene, "client")
    scene.kill("api_gateway")
    scene.a_moment(1.0, 2.0)
    scene.supervisor.restart("api_gateway")
    scene.a_moment()
    with scene.frozen("api_gateway"):
        scene.a_moment(HANG_SECONDS, HANG_SECONDS)
    scene.a_moment()
    end(scene, client)
    scene.lift()


ROWS.append(
    Row(
        "client-gateway",
        "the Python client, the gateway killed, replaced and hung",
        15,
        strike_gateway,
        rate=0,
    )
)


def strike_redis(scene: Scene) -> None:
    """Two programs submit, one of which drops, while Redis dies, hangs and its replies are lost."""
    client = program(scene, "client")
    drops = program(scene, "drops", "--drop")
    scene.kill("redis")
    scene.a_moment(1.0, 2.0)
    with scene.frozen("redis"):
        scene.a_moment(HANG_SECONDS, HANG_SECONDS)
    scene.lose_replies(*COMMIT)
    scene.a_moment()
    end(scene, client, drops)


ROWS.append(
    Row(
        "client-redis",
        "the Python client, Redis killed, hung and cut, without and with drops",
        20,
        strike_redis,
        kind=ONE_OF_EACH,
        rate=0,
    )
)


def kill_client(scene: Scene) -> None:
    """The program is killed again and again; the next one has its spool."""
    spool, taken = scene.stage.state / "spool", scene.path.with_suffix(".taken")
    options = ("--spool", str(spool), "--taken", str(taken))
    for number in range(3):
        client = program(scene, f"victim{number}", *options)
        if number == 1:
            scene.kill(scene.random.choice(scene.stage.ingest))
        scene.a_moment(0.1, 0.5)
        client.stop(signal.SIGKILL)
    scene.lift()
    last = program(scene, "heir", *options)
    scene.expect(last.stop(signal.SIGTERM, 90) == 0, "the last client failed")
    left = [path.name for path in spool.glob("*.sqlite")]
    scene.expect(not left, f"the spool was not emptied: {left}")
    scene.until(lambda: not _missing(scene, taken), "what submit took is not all on record")


def _missing(scene: Scene, taken: Path) -> set[str]:
    keys = {json.loads(line)["key"] for line in taken.read_text().splitlines()}
    payloads = [json.loads(row["payload"]) for row in scene.rows()]
    return keys - {str(each.get("key")) for each in payloads if isinstance(each, dict)}


ROWS.append(
    Row(
        "client-killed",
        "kill -9 of a program with the Python client and a spool",
        15,
        kill_client,
        rate=0,
    )
)
