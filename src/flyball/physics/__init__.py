"""Physics of hardware: power curves. Arrays in, arrays out; no fleets, no prices."""
