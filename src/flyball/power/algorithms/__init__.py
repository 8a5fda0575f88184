"""Algorithms: which servers get how many replicas where watts are short.

An algorithm is a function of a `flyball.power.view.View`, with its parameters by keyword:

    def mine(view: View, *, margin: float = 0.0) -> dict[str, int]

It returns replicas at most by server; a server that it does not name gets what it wants. It must be pure: no
clock, no I/O, no randomness, and it has no cluster to talk to. Whatever it returns goes through
`flyball.power.filter`, so it can neither break a bound nor the budget. A package offers one as an entry point
of the group `flyball.power_algorithms`, under the name by which policies ask for it.
"""
