"""What compose.yaml has to say so that its services may start in any order."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import yaml

from deploy.local.bootstrap import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())


def _may_write_whoever_owns_it(service: dict[str, Any]) -> bool:
    """Tell whether the service is root and has kept the right to pass over owners."""
    ours = service.get("image") == COMPOSE["x-room"]["image"]
    is_root = service.get("user", "sluice" if ours else "root") == "root"
    dropped = "ALL" in service.get("cap_drop", []) and "DAC_OVERRIDE" not in service.get(
        "cap_add", []
    )
    return is_root and not dropped


def test_a_shared_volume_can_be_written_whichever_container_came_first() -> None:
    # podman gives an empty volume to the user of the first container that mounts it.
    writers: dict[str, list[str]] = defaultdict(list)
    mounts: dict[str, int] = defaultdict(int)
    for name, service in COMPOSE["services"].items():
        for mount in service.get("volumes", []):
            volume, _, options = mount.partition(":")
            if volume in COMPOSE["volumes"]:
                mounts[volume] += 1
                if not options.endswith(":ro"):
                    writers[volume].append(name)
    shared = {volume for volume, count in mounts.items() if count > 1}
    assert shared == {"contracts", "credentials"}
    unable = {
        (volume, name)
        for volume in shared
        for name in writers[volume]
        if not _may_write_whoever_owns_it(COMPOSE["services"][name])
    }
    assert not unable
