"""Runs a program so that it ends with its supervisor, and not more often than once a second.

`python leash.py STAMP NAME=VALUE ... -- COMMAND ...` sets the variables and becomes the command.
Standard library only, and quick to start: every program of the local mesh is started through it.
"""

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
SHORTEST_INTERVAL_SECONDS = 1.0

stamp, *rest = sys.argv[1:]
split = rest.index("--")
command = rest[split + 1 :]
# Were the supervisor killed, its programs would live on and hold their ports.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
# A program that fails at once is tried once a second, for ever.
try:
    age = time.time() - os.stat(stamp).st_mtime
except FileNotFoundError:
    age = SHORTEST_INTERVAL_SECONDS
time.sleep(min(max(SHORTEST_INTERVAL_SECONDS - age, 0), SHORTEST_INTERVAL_SECONDS))
with open(stamp, "w"):
    pass
os.umask(0o077)
os.execvpe(command[0], command, os.environ | dict(pair.split("=", 1) for pair in rest[:split]))
