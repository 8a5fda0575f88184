"""Measurements of Flyball against a reference; nothing in here is installed or shipped."""
