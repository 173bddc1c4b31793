"""`python -m worker.dead_letters` prints the dead letters (`list`) or puts them back (`replay`).

A dead letter is a message that no repetition would get through: it is kept until a person looks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import redis

from job_store.dead_letters import DeadLetters
from job_store.keys import QUEUES
from job_store.partitions import Partitions
from mesh.console import ignore_output_errors
from mesh.health import Unhealthy
from worker.settings import WorkerSettings


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker.dead_letters", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("list", "print dead letters"), ("replay", "put them back")):
        command = commands.add_parser(name, help=what)
        command.add_argument("--queue", choices=QUEUES, action="append", help="default: all")
        command.add_argument("ids", nargs="*", help="message ids; default: all")
    options = parser.parse_args(arguments)
    partitions = Partitions.of(WorkerSettings.load())
    try:
        # With another number, letters would be looked for in the wrong places.
        partitions.require_agreement(may_decide=False)
        chosen = [
            (letters, letter)
            for letters in (DeadLetters(each.client, each.keys) for each in partitions.all)
            for letter in letters.find(options.queue or QUEUES)
            if not options.ids or letter.message_id in options.ids
        ]
        if options.command == "replay":
            replayed = sum(letters.replay(letter) for letters, letter in chosen)
            print(f"replayed {replayed} of {len(chosen)}")
            return 0
    except Unhealthy as error:
        print(f"Nothing was looked for: {error}.")
        return 1
    except redis.RedisError as error:
        print(f"Redis does not answer ({type(error).__name__}): check SLUICE_REDIS_URL.")
        return 1
    row = "{:<36}  {:<12}  {:<16}  {:<26}  {:>10}  {:>6}  {}"
    print(row.format("id", "queue", "actor", "job", "age", "failed", "reason"))
    for letter in sorted((letter for _, letter in chosen), key=lambda letter: letter.died):
        age = f"{time.time() - letter.died:.0f} s"
        print(
            row.format(
                letter.message_id,
                letter.queue,
                letter.actor,
                letter.job_id or "-",
                age,
                letter.failed,
                letter.reason,
            )
        )
    print(f"{len(chosen)} dead letters")
    return 0


if __name__ == "__main__":
    ignore_output_errors()
    sys.exit(main(sys.argv[1:]))
