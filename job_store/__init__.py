"""What lies in Redis. Nothing outside this package knows a key, a script or a layout.

For ingest: `store` makes jobs durable and reads them, `alert_queue` keeps alerts, `admission` says
what is full. For the worker: `states` is where its jobs stand, `queues` and `dead_letters` are
where its messages are, `counts` is what must add up. For the audit: `snapshot` reads all of it.
Below them: `keys`, `scripts`, `envelope` (the stored message), `request_ids`, `redis_client`.
"""
