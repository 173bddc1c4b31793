"""Accepting: checks a submission, refuses it with an alert or makes it durable."""
