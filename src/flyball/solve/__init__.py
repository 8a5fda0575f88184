"""The choice: at most one option for each server, within resource rows.

`candidates` turns a fleet into options (the only module here that knows queues and fleets); `problem` is
what solvers see: values, priorities and generic rows `use = fixed per replica + load use, with a limit`,
so that cards, quotas and watts are one thing. `unlimited`, `greedy` and `exact` have the same shape,
problem in, solution out, and do not know of each other; `auto` picks. No I/O, no clock.
"""
