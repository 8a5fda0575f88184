"""Flyball: the governor for LLM inference fleets."""
