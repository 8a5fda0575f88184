"""What Flyball ships of the world: a catalogue of accelerators, prices and latency profiles, a sample fleet.

Belongs here: figures with their provenance, and how to get a fleet from them. Does not belong here: how
documents are written (`wire`), what follows from the figures (`queueing`, `solve`). Figures are estimates
to start with: a document's own replace them.
"""
