"""Physics of hardware: power curves, rooflines. Arrays in, arrays out; no fleets, no prices."""
