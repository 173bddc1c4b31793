"""What lies in Redis: jobs and their states, counts, request ids, queues, dead letters.

Nothing outside this package knows a key, a script or a layout.
"""
