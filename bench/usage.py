"""What programs cost, as the kernel counts it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# Fields of /proc/PID/stat after the command, which may hold spaces: see proc(5).
PARENT, USER, SYSTEM, PAGES = 1, 11, 12, 21


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds (user and system) and resident bytes, by program."""

    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    resident_bytes: Mapping[str, int] = field(default_factory=dict)

    def since(self, before: Usage) -> Usage:
        """Return what was spent since `before`, with the memory of now."""
        spent = {
            name: seconds - before.cpu_seconds.get(name, 0.0)
            for name, seconds in self.cpu_seconds.items()
        }
        return Usage(spent, self.resident_bytes)


def usage_of(programs: Mapping[str, int]) -> Usage:
    """Return the usage of programs given by name and process id, their children included.

    Numbered programs (`worker-1`, `worker-2`) count as one.
    """
    stats = _stats()
    children: dict[int, list[int]] = defaultdict(list)
    for pid, values in stats.items():
        children[int(values[PARENT])].append(pid)
    seconds: dict[str, float] = defaultdict(float)
    memory: dict[str, int] = defaultdict(int)
    for name, pid in programs.items():
        group = name.split("-")[0]
        family = [pid]
        for each in family:
            family += children[each]
            if each in stats:
                values = stats[each]
                seconds[group] += (int(values[USER]) + int(values[SYSTEM])) / TICKS
                memory[group] += int(values[PAGES]) * PAGE_BYTES
    return Usage(dict(seconds), dict(memory))


def peak_of(programs: Mapping[str, int]) -> dict[str, int]:
    """Return the most bytes that programs have had resident since they started.

    Their children are not included; numbered programs count as one.
    """
    peaks: dict[str, int] = defaultdict(int)
    for name, pid in programs.items():
        status = Path("/proc", str(pid), "status").read_text()
        (kilobytes,) = re.findall(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
        peaks[name.split("-")[0]] += int(kilobytes) * 1024
    return dict(peaks)


def _stats() -> dict[int, list[str]]:
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                content = (entry / "stat").read_text()
            except OSError:
                continue  # It ended meanwhile.
            stats[int(entry.name)] = content.rpartition(")")[2].split()
    return stats
