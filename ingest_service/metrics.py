"""What the ingest service tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SUBMISSIONS = Counter("sluice_submissions", "Submissions that were judged", ["outcome"])
FINDINGS = Counter("sluice_findings", "Submissions in which a detector hit", ["detector"])
ALERTS = Counter("sluice_alerts_raised", "Alerts, told at once or queued for later", ["way"])
COMMIT_SECONDS = Histogram(
    "sluice_commit_seconds",
    "Time until Redis had made a job durable",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
JOB_INTERACTIONS = Histogram(
    "sluice_job_interactions",
    "Interactions that share one job",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000),
)
POLICY_REFUSED = Gauge(
    "sluice_policy_refused",
    "Whether the policy file holds what cannot be used, and an old one holds",
)

# A labelled counter is looked up by its labels at every use; these are used for every submission.
ACCEPTED = SUBMISSIONS.labels("accepted")
REFUSED = SUBMISSIONS.labels("refused")
INVALID = SUBMISSIONS.labels("invalid")
UNCHECKED = SUBMISSIONS.labels("unchecked")
