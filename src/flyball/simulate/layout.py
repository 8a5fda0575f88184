"""The layout of the plant's containers: which field of a row is what.

All are flat: arrays when the kernel is compiled, lists when it is interpreted (which index faster).
Field f of row r lies at r * FIELDS + f.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import NamedTuple, TypeAlias

Ints: TypeAlias = MutableSequence[int]
Floats: TypeAlias = MutableSequence[float]


class Arrivals(NamedTuple):
    """Requests to come, in order of time."""

    times: Floats
    in_tokens: Ints
    out_tokens: Ints
    cached_tokens: Ints
    uniforms: Floats


class State(NamedTuple):
    """The containers: rows of a replica, of a request, of a finished request."""

    ri: Ints
    rf: Floats
    si: Ints
    sf: Floats
    heap: Ints
    """Completions by replica: the counter at which a sequence ends, and the sequence, in one number."""
    counts: Ints
    """Decoding sequences by replica and block offset."""
    hist: Ints
    """Histograms by replica: `H_TTFT` and so on, in the order of the sums of their times."""
    out_f: Floats
    out_i: Ints
    g: Ints
    """Of the server."""


# Replica, whole numbers.
R_ITERATION = 0  # iterations completed before the segment
R_LENGTH = 1  # iterations of the segment
R_DONE = 2  # those of them that are in the counters already
R_RUNNING = 3
R_DECODING = 4
R_WAITING = 5
R_KV = 6  # tokens held at the segment's start
R_USED = 7  # blocks held at the segment's start
R_COMPUTED = 8  # prompt tokens that the segment computes
R_LEFT = 9  # prompt tokens of the last sequence that it leaves
R_PREFILLING = 10  # first running sequence that has no token yet, or -1; all after it have none either
R_FIRST = 11  # of the running sequences, in order of admission
R_LAST = 12
R_HEAD = 13  # of the waiting requests
R_TAIL = 14
R_BLOCKS = 15  # blocks there are; 0: no limit
R_MAX = 16
R_BUDGET = 17
R_BLOCK = 18
R_PROMPT_TOKENS = 19  # counters from here on
R_TOKENS = 20
R_FINISHED = 21
R_IN_SUM = 22
R_OUT_SUM = 23
R_PREEMPTIONS = 24
R_QUERIES = 25
R_HITS = 26
R_FIELDS = 27

# Replica, real numbers.
F_START = 0  # of the segment
F_END = 1  # inf: nothing runs
F_FIRST = 2  # seconds of its first iteration
F_GROW = 3  # seconds by which each next one is longer
F_ALPHA = 4
F_BETA = 5
F_KAPPA = 6
F_DELTA = 7
F_EPSILON = 8
F_UNTOUCHED = 9  # share of the experts that one sequence leaves alone
F_BUSY = 10  # counters from here on: seconds up to the segment's start
F_PREFILL = 11
F_TTFT_SUM = 12
F_ITL_SUM = 13
F_TPOT_SUM = 14
F_FIELDS = 15

# Request.
S_IN = 0
S_OUT = 1
S_CACHED = 2
S_GIVEN = 3  # tokens given when it was last admitted or preempted
S_TODO = 4  # prompt tokens still to compute
S_NEXT = 5
S_PREVIOUS = 6
S_FIELDS = 7
T_ARRIVAL = 0
T_FIRST = 1
T_LAST = 2  # last token before it was preempted
T_UNIFORM = 3  # for the random router
T_FIELDS = 4

# Server.
G_HEAP = 0  # room for sequences of a replica in the heap
G_COUNTS = 1  # room for block offsets of a replica
G_FREE = 2  # first free request
G_OUT = 3  # rows in the output block
G_ROOM = 4  # rows that fit
G_ROUTER = 5
G_TURN = 6
G_HEAD = 7  # of the gateway's queue
G_TAIL = 8
G_QUEUED = 9
G_ARRIVED = 10
G_REFUSED = 11
G_HOLD = 12  # requests that a replica takes at most
G_OPEN = 13  # whether the gateway hands on what waits there; without a limit always
G_FIELDS = 14

ROUND_ROBIN, LEAST_LOADED, RANDOM = 0, 1, 2

SLOT_BITS = 24
SLOT_MASK = (1 << SLOT_BITS) - 1

H_TTFT = 0  # requests by time to first token
H_ITL = 1  # tokens by time since the one before
H_TPOT = 2  # finished requests by mean time between their tokens
HISTOGRAMS = 3

SHORTEST = 1e-4
WIDTH = 0.02
"""Buckets of the histograms: the first ends at SHORTEST, each next one is exp(WIDTH) times as long."""
BUCKETS = 923

O_ARRIVAL, O_FIRST, O_FINISH, O_REALS = 0, 1, 2, 3
O_IN, O_OUT, O_REPLICA, O_WHOLES = 0, 1, 2, 3
