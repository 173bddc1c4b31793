"""Whether what was accepted is accounted for: job state in Redis against the sink, job by job."""
