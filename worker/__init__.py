"""What happens later, and possibly twice: writing to InfluxDB, delivering alerts."""
