"""The original Inferno algorithm in plain Python floats, one pair and one state at a time.

What it is: the parity oracle of the tests and the speed baseline of the benchmarks. It takes the original's
steps (an O(K) state recursion, one bisection for each target, a greedy solver that never looks back) and
keeps the original's defects, each marked by a comment that begins with "Defect:".

What it is not: part of the product, which neither imports it nor shares code with it; a bit-for-bit port (the
original rounds to 32 bits, so flat curves, where rounding decides, may come out otherwise); or a place for a
better or faster idea. It has no mixed-integer solver, no tuner and no server.

`queue` holds the performance models, `optimizer` the allocation, `selfcheck` the comparison with recordings
of the original. Only the standard library is used.
"""
