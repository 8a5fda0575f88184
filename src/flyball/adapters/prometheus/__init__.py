"""Metrics of a fleet of engines from Prometheus: as many queries for 5 workloads as for 5,000."""
