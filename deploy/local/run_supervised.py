"""Starts a program so that it ends with its supervisor, and at most once a second.

`python run_supervised.py PROGRAM` becomes the `command` that PROGRAM.json names, with its
`environment` added; PROGRAM.started is touched each time. Standard library only, and quick to
start: every program of the local mesh is started by it.
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
# If the supervisor is killed, its programs must not live on and keep their ports. They are killed
# as well, which each of them tolerates; the next start need not wait until they have drained.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
# A program that keeps failing is started once a second, for ever.
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
