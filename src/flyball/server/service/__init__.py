"""What makes a handful of routes a service: access, limits, measurements, logs, health, a graceful end."""
