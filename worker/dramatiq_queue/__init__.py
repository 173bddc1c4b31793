"""The Dramatiq queues, consumed so that no message is lost or stranded."""
