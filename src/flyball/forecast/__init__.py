"""Forecasts of demand with quantiles and measured coverage. Plain numbers in and out; no clock, no I/O."""
