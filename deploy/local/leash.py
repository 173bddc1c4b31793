"""Runs a program so that it ends with its supervisor, and not more often than once a second.

`python leash.py PROGRAM` becomes the `command` that PROGRAM.json names, with its `environment` on
top; PROGRAM.started tells when that was last done. Standard library only, and quick to start: every
program of the local mesh is started through it.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
SHORTEST_INTERVAL_SECONDS = 1.0
OPEN_FILES = 65_536

program = sys.argv[1]
stamp = f"{program}.started"
with open(f"{program}.json") as file:
    start = json.load(file)
# Were the supervisor killed, its programs would live on and hold their ports. Its death is a crash,
# which every program bears: at once is better than a drain that the next start has to wait for.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
# A program that fails at once is tried once a second, for ever.
try:
    age = time.time() - os.stat(stamp).st_mtime
except FileNotFoundError:
    age = SHORTEST_INTERVAL_SECONDS
time.sleep(min(max(SHORTEST_INTERVAL_SECONDS - age, 0), SHORTEST_INTERVAL_SECONDS))
with open(stamp, "w"):
    pass
os.umask(0o077)
# Shells allow a thousand open files; the gateway takes ten thousand connections.
allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
if allowed != resource.RLIM_INFINITY and allowed < wanted:
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
os.execvpe(start["command"][0], start["command"], os.environ | start["environment"])
