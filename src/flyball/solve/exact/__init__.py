"""Exact choice by linear and integer programming; the only place that sees HiGHS.

Lexicographic: first as many servers of priority 1 as can be, then of priority 2, and so on; then the
least value among all plans that serve as many. Each stage is a 0-1 program. Its linear relaxation has at
most as many fractional servers as there are binding resource rows, so that it is a tight certified bound,
and a small program over the servers on its edge (a core) nearly always reaches it.
`single`: one option for each server; `mix`: the load is divided over accelerators.
Solvers stop by counted work; the clock is an outer guard only, and marks the solution.
"""

from flyball.solve.exact.mix import solve_mix
from flyball.solve.exact.single import Effort, solve

__all__ = ["Effort", "solve", "solve_mix"]
