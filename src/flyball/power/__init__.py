"""Watts of domains: sums, budgets, forecasts, levels, and what may run under them. Pure; no clock, no I/O."""
