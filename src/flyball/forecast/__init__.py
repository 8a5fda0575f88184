"""Forecasts of demand with quantiles and measured coverage. Arrays in, arrays out; no clock, no I/O."""
