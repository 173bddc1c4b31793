"""The door for log records of OpenTelemetry: each becomes a submission like any other."""
