"""Where interactions are written to. `sink.py` says what a sink is; each package here is one."""
