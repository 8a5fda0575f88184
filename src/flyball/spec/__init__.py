"""The nouns: frozen values without behaviour beyond validation.

Belongs here: what a fleet, a plan and their parts are. Does not belong here: how they are read or
written (`wire`), computed (`queueing`, `solve`) or shown (`server`). No I/O, no NumPy.
"""
