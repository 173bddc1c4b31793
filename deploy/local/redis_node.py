"""Becomes one node of the local Redis cluster, and a new node when it has lost its data.

`python -m deploy.local.redis_node SERVER CONFIG FOLDER` becomes `SERVER CONFIG`, whose data lies in
FOLDER. Standard library only.

The file `nodes.conf` is what a node is in the cluster, the append-only file is what it knows. A
primary that came back with the first and without the second would serve nothing, and its replica
would follow it and throw away all that it has. No option of Redis or Valkey prevents that. So a
node without data begins without `nodes.conf` as well, as somebody whom the cluster does not know:
the others take the primary for dead, and its replica takes over. Such a node gives its data to
nobody, since that replica would still ask the address of the dead one. `deploy.local.redis_cluster`
allows it once the node has its place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

NODES_CONF = "nodes.conf"
LOG_FOLDER = "appendonlydir"
CLOSED = ("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-sync", "-psync")
"""The options of a node that nobody may copy."""


def command(server: str, config: str, folder: Path) -> list[str]:
    """Return the command of the node; before, let it forget its place if it has lost its data."""
    if not _has_data(folder):
        (folder / NODES_CONF).unlink(missing_ok=True)
    return [server, config, *(() if _knows_others(folder) else CLOSED)]


def _has_data(folder: Path) -> bool:
    """Tell whether there is an append-only file; of no keys, it still holds some bytes."""
    parts = (each for suffix in ("aof", "rdb") for each in folder.glob(f"{LOG_FOLDER}/*.{suffix}"))
    return any(each.stat().st_size for each in parts)


def _knows_others(folder: Path) -> bool:
    """Tell whether the node was ever part of a cluster: one line is about each node."""
    path = folder / NODES_CONF
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(not line.startswith("vars ") for line in lines) > 1


if __name__ == "__main__":
    found = command(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    os.execv(found[0], found)  # noqa: S606
