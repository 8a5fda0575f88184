"""The decision: a fleet in, a plan with its reasons out. Pure: no clock in the result, no I/O, no chance."""
