"""How jobs lie in Redis: keys, records, scripts and counts; the only place that knows."""
