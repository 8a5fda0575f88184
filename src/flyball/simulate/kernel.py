"""The inner loop: one server's replicas from event to event, batching as vLLM V1 does.

Numba compiles it, and Python runs it as it stands: its state lies in flat containers (`layout`).

Each iteration gives one token to every decoding sequence, then prompt tokens to the one partial prefill,
then to waiting requests in order, within the token budget. While there is nothing to prefill, all iterations
up to the next completion are one segment: iteration i of it lasts `F_FIRST` + i `F_GROW`, because the KV
cache grows by one token for each sequence. Times within a segment are always computed from its start, so that
where a run is paused changes no bit of it. An iteration that has begun is never changed; the KV cache that
counts for its time is the one it finds when it begins.

A sequence's KV tokens plus a constant are the replica's iteration counter. So the heap of completions holds
counters, and `counts` holds how many sequences have which constant modulo the block size: both stand still
while the counter runs.
"""

from __future__ import annotations

import math

from flyball.simulate import layout as k


def bucket(value: float) -> int:
    """The histogram's bucket of a time in seconds."""
    if value <= k.SHORTEST:
        return 0
    b = int(math.log(value / k.SHORTEST) / k.WIDTH) + 1
    return b if b < k.BUCKETS else k.BUCKETS - 1


def passed(r: int, t: float, state: k.State) -> int:
    """Iterations of a replica's segment that have ended by `t`, which lies before the segment's end."""
    ri, rf = state.ri, state.rf
    q = r * k.F_FIELDS
    start, first, grow = rf[q + k.F_START], rf[q + k.F_FIRST], rf[q + k.F_GROW]
    most = ri[r * k.R_FIELDS + k.R_LENGTH] - 1
    if t < start + first:
        return 0
    b = first - 0.5 * grow
    x = t - start
    j = int(2.0 * x / (b + math.sqrt(b * b + 2.0 * grow * x)))
    j = min(j, most)
    while j < most and start + (j + 1) * first + grow * (0.5 * j * (j + 1)) <= t:
        j += 1
    while j > 0 and start + j * first + grow * (0.5 * j * (j - 1)) > t:
        j -= 1
    return j


def count(r: int, upto: int, state: k.State) -> None:
    """Take the segment's iterations before `upto` into the counters."""
    ri, rf, hist = state.ri, state.rf, state.hist
    p, q = r * k.R_FIELDS, r * k.F_FIELDS
    i = ri[p + k.R_DONE]
    n = ri[p + k.R_DECODING]
    if upto <= i:
        return
    ri[p + k.R_DONE] = upto
    if n == 0:
        return
    first, grow = rf[q + k.F_FIRST], rf[q + k.F_GROW]
    ri[p + k.R_TOKENS] += n * (upto - i)
    rf[q + k.F_ITL_SUM] += n * ((upto - i) * first + grow * (0.5 * (upto * (upto - 1) - i * (i - 1))))
    base = (k.HISTOGRAMS * r + k.H_ITL) * k.BUCKETS
    while i < upto:
        b = bucket(first + grow * i)
        j = upto
        if grow > 0.0 and upto - i > 1 and b < k.BUCKETS - 1:
            j = int(min((k.SHORTEST * math.exp(b * k.WIDTH) - first) / grow, 1e15)) + 1
            j = min(max(j, i + 1), upto)
        hist[base + b] += n * (j - i)
        i = j


def note(r: int, which: int, time: float, state: k.State) -> None:
    """Take a time into one of a replica's histograms."""
    state.rf[r * k.F_FIELDS + k.F_TTFT_SUM + which] += time
    state.hist[(k.HISTOGRAMS * r + which) * k.BUCKETS + bucket(time)] += 1


def heap_push(base: int, size: int, entry: int, state: k.State) -> None:
    """Put an entry into the heap of `size` entries that begins at `base`."""
    heap = state.heap
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if heap[base + up] <= entry:
            break
        heap[base + i] = heap[base + up]
        i = up
    heap[base + i] = entry


def heap_remove(base: int, size: int, at: int, state: k.State) -> None:
    """Take out the entry at place `at` of a heap of `size` entries."""
    heap = state.heap
    size, i = size - 1, at
    entry = heap[base + size]
    while i > 0:
        up = (i - 1) >> 1
        if heap[base + up] <= entry:
            break
        heap[base + i] = heap[base + up]
        i = up
    while True:
        down = 2 * i + 1
        if down >= size:
            break
        if down + 1 < size and heap[base + down + 1] < heap[base + down]:
            down += 1
        if heap[base + down] >= entry:
            break
        heap[base + i] = heap[base + down]
        i = down
    heap[base + i] = entry


def unlink(r: int, s: int, state: k.State) -> None:
    """Take a sequence out of its replica's running ones."""
    ri, si = state.ri, state.si
    p = r * k.R_FIELDS
    before, after = si[s * k.S_FIELDS + k.S_PREVIOUS], si[s * k.S_FIELDS + k.S_NEXT]
    if before >= 0:
        si[before * k.S_FIELDS + k.S_NEXT] = after
    else:
        ri[p + k.R_FIRST] = after
    if after >= 0:
        si[after * k.S_FIELDS + k.S_PREVIOUS] = before
    else:
        ri[p + k.R_LAST] = before
    ri[p + k.R_RUNNING] -= 1


def write(s: int, r: int, first: float, t: float, state: k.State) -> None:
    """Write a request that is over to the output block and free its place; first < 0: it was refused."""
    si, sf, out_f, out_i, g = state.si, state.sf, state.out_f, state.out_i, state.g
    row = g[k.G_OUT]
    g[k.G_OUT] = row + 1
    out_f[row * k.O_REALS + k.O_ARRIVAL] = sf[s * k.T_FIELDS + k.T_ARRIVAL]
    out_f[row * k.O_REALS + k.O_FIRST] = first
    out_f[row * k.O_REALS + k.O_FINISH] = t
    out_i[row * k.O_WHOLES + k.O_IN] = si[s * k.S_FIELDS + k.S_IN]
    out_i[row * k.O_WHOLES + k.O_OUT] = si[s * k.S_FIELDS + k.S_OUT]
    out_i[row * k.O_WHOLES + k.O_REPLICA] = r
    si[s * k.S_FIELDS + k.S_NEXT] = g[k.G_FREE]
    g[k.G_FREE] = s


def finish(r: int, s: int, t: float, state: k.State) -> None:
    """A sequence has all its tokens."""
    ri, si, sf = state.ri, state.si, state.sf
    p = r * k.R_FIELDS
    tokens_in, tokens_out = si[s * k.S_FIELDS + k.S_IN], si[s * k.S_FIELDS + k.S_OUT]
    held = tokens_in + tokens_out - 1
    unlink(r, s, state)
    ri[p + k.R_KV] -= held
    ri[p + k.R_USED] -= (held + ri[p + k.R_BLOCK] - 1) // ri[p + k.R_BLOCK]
    ri[p + k.R_FINISHED] += 1
    ri[p + k.R_IN_SUM] += tokens_in
    ri[p + k.R_OUT_SUM] += tokens_out
    first = sf[s * k.T_FIELDS + k.T_FIRST]
    if tokens_out > 1:
        note(r, k.H_TPOT, (t - first) / (tokens_out - 1), state)
    write(s, r, first, t, state)


def preempt(r: int, t: float, state: k.State) -> None:
    """Put the sequence that was admitted last back to the front of the queue; its KV is freed."""
    ri, si, sf, heap, counts, g = state.ri, state.si, state.sf, state.heap, state.counts, state.g
    p = r * k.R_FIELDS
    s = ri[p + k.R_LAST]
    x = s * k.S_FIELDS
    size = ri[p + k.R_BLOCK]
    if si[x + k.S_TODO] > 0:
        whole = si[x + k.S_IN] + si[x + k.S_GIVEN]
        ri[p + k.R_KV] -= whole - si[x + k.S_TODO]
        ri[p + k.R_USED] -= (whole + size - 1) // size
        ri[p + k.R_PREFILLING] = -1
    else:
        base = r * g[k.G_HEAP]
        at = 0
        while heap[base + at] & k.SLOT_MASK != s:
            at += 1
        end = heap[base + at] >> k.SLOT_BITS
        heap_remove(base, ri[p + k.R_DECODING], at, state)
        ri[p + k.R_DECODING] -= 1
        to_come = end - ri[p + k.R_ITERATION]
        last = si[x + k.S_IN] + si[x + k.S_OUT] - 1
        counts[r * g[k.G_COUNTS] + (last - end) % size] -= 1
        ri[p + k.R_KV] -= last - to_come
        ri[p + k.R_USED] -= (last - to_come + size - 1) // size
        si[x + k.S_GIVEN] = si[x + k.S_OUT] - to_come
        sf[s * k.T_FIELDS + k.T_LAST] = t
    unlink(r, s, state)
    si[x + k.S_NEXT] = ri[p + k.R_HEAD]
    ri[p + k.R_HEAD] = s
    if ri[p + k.R_TAIL] < 0:
        ri[p + k.R_TAIL] = s
    ri[p + k.R_WAITING] += 1
    ri[p + k.R_PREEMPTIONS] += 1


def schedule(r: int, t: float, state: k.State) -> None:
    """Compose the iteration that begins at `t`, and see how many like it follow."""
    ri, rf, si, sf = state.ri, state.rf, state.si, state.sf
    heap, counts, g = state.heap, state.counts, state.g
    p, q = r * k.R_FIELDS, r * k.F_FIELDS
    n, size, blocks = ri[p + k.R_ITERATION], ri[p + k.R_BLOCK], ri[p + k.R_BLOCKS]
    offsets = r * g[k.G_COUNTS]
    need = 0
    if blocks > 0:
        need = counts[offsets + (-n) % size]
        while need > blocks - ri[p + k.R_USED]:
            # vLLM admits none beside a preemption. Here none could be: the first in the queue is now the one
            # preempted last, which needs at least the blocks that were too few.
            preempt(r, t, state)
            need = counts[offsets + (-n) % size]
    decoding = ri[p + k.R_DECODING]
    budget = ri[p + k.R_BUDGET] - decoding
    computed = 0
    left = 0
    s = ri[p + k.R_PREFILLING]
    if s >= 0:
        todo = si[s * k.S_FIELDS + k.S_TODO]
        computed = todo if todo < budget else budget
        left = todo - computed
        budget -= computed
    while ri[p + k.R_WAITING] > 0 and budget > 0 and ri[p + k.R_RUNNING] < ri[p + k.R_MAX]:
        s = ri[p + k.R_HEAD]
        x = s * k.S_FIELDS
        whole = si[x + k.S_IN] + si[x + k.S_GIVEN]
        place = (whole + size - 1) // size
        if blocks > 0 and place > blocks - ri[p + k.R_USED] - need:
            break
        ri[p + k.R_HEAD] = si[x + k.S_NEXT]
        if ri[p + k.R_HEAD] < 0:
            ri[p + k.R_TAIL] = -1
        ri[p + k.R_WAITING] -= 1
        last = ri[p + k.R_LAST]
        si[x + k.S_PREVIOUS] = last
        si[x + k.S_NEXT] = -1
        if last >= 0:
            si[last * k.S_FIELDS + k.S_NEXT] = s
        else:
            ri[p + k.R_FIRST] = s
        ri[p + k.R_LAST] = s
        ri[p + k.R_RUNNING] += 1
        if ri[p + k.R_PREFILLING] < 0:
            ri[p + k.R_PREFILLING] = s
        ri[p + k.R_USED] += place
        ri[p + k.R_KV] += si[x + k.S_CACHED]
        todo = whole - si[x + k.S_CACHED]
        si[x + k.S_TODO] = todo
        if sf[s * k.T_FIELDS + k.T_LAST] < 0.0:
            sf[s * k.T_FIELDS + k.T_LAST] = t
            ri[p + k.R_QUERIES] += si[x + k.S_IN]
            ri[p + k.R_HITS] += si[x + k.S_CACHED]
        part = todo if todo < budget else budget
        left = todo - part
        computed += part
        budget -= part
    running = ri[p + k.R_RUNNING]
    ri[p + k.R_DONE] = 0
    ri[p + k.R_COMPUTED] = computed
    ri[p + k.R_LEFT] = left
    rf[q + k.F_START] = t
    if running == 0:
        ri[p + k.R_LENGTH] = 0
        rf[q + k.F_END] = math.inf
        return
    first = rf[q + k.F_ALPHA] + rf[q + k.F_BETA] * running + rf[q + k.F_KAPPA] * ri[p + k.R_KV]
    first += rf[q + k.F_EPSILON] * (rf[q + k.F_UNTOUCHED] - rf[q + k.F_UNTOUCHED] ** running)
    rf[q + k.F_FIRST] = first = first + rf[q + k.F_DELTA] * computed
    if computed > 0:
        ri[p + k.R_LENGTH] = 1
        rf[q + k.F_GROW] = 0.0
        rf[q + k.F_END] = t + first
        return
    length = (heap[r * g[k.G_HEAP]] >> k.SLOT_BITS) - n
    if blocks > 0:
        free = blocks - ri[p + k.R_USED]
        if decoding * ((length + size - 1) // size) > free:
            cycles = free // decoding
            free -= cycles * decoding
            i = cycles * size
            while i < length:
                need = counts[offsets + (-n - i) % size]
                if need > free:
                    break
                free -= need
                i += 1
            if i < length:
                length = i
    grow = rf[q + k.F_KAPPA] * decoding
    ri[p + k.R_LENGTH] = length
    rf[q + k.F_GROW] = grow
    rf[q + k.F_END] = t + length * first + grow * (0.5 * (length - 1) * length)


def complete(r: int, state: k.State) -> None:
    """End a replica's segment, and begin the next."""
    ri, rf, si, sf = state.ri, state.rf, state.si, state.sf
    heap, counts, g = state.heap, state.counts, state.g
    p, q = r * k.R_FIELDS, r * k.F_FIELDS
    t, length, size = rf[q + k.F_END], ri[p + k.R_LENGTH], ri[p + k.R_BLOCK]
    n, decoding = ri[p + k.R_ITERATION], ri[p + k.R_DECODING]
    base, offsets = r * g[k.G_HEAP], r * g[k.G_COUNTS]
    count(r, length, state)
    rf[q + k.F_BUSY] += t - rf[q + k.F_START]
    ri[p + k.R_KV] += decoding * length + ri[p + k.R_COMPUTED]
    if decoding > 0:
        used = decoding * (length // size)
        for i in range(length % size):
            used += counts[offsets + (-n - i) % size]
        ri[p + k.R_USED] += used
    n += length
    ri[p + k.R_ITERATION] = n
    while decoding > 0 and heap[base] >> k.SLOT_BITS == n:
        s = heap[base] & k.SLOT_MASK
        heap_remove(base, decoding, 0, state)
        decoding -= 1
        counts[offsets + (si[s * k.S_FIELDS + k.S_IN] + si[s * k.S_FIELDS + k.S_OUT] - 1 - n) % size] -= 1
        finish(r, s, t, state)
    if ri[p + k.R_COMPUTED] > 0:
        rf[q + k.F_PREFILL] += rf[q + k.F_DELTA] * ri[p + k.R_COMPUTED]
        s = ri[p + k.R_PREFILLING]
        while s >= 0:
            x = s * k.S_FIELDS
            after = si[x + k.S_NEXT]
            if after < 0 and ri[p + k.R_LEFT] > 0:
                si[x + k.S_TODO] = ri[p + k.R_LEFT]
                break
            given = si[x + k.S_GIVEN] + 1
            si[x + k.S_GIVEN] = given
            si[x + k.S_TODO] = 0
            ri[p + k.R_TOKENS] += 1
            if given == 1:
                sf[s * k.T_FIELDS + k.T_FIRST] = t
                ri[p + k.R_PROMPT_TOKENS] += si[x + k.S_IN]
                note(r, k.H_TTFT, t - sf[s * k.T_FIELDS + k.T_ARRIVAL], state)
            else:
                note(r, k.H_ITL, t - sf[s * k.T_FIELDS + k.T_LAST], state)
            to_come = si[x + k.S_OUT] - given
            if to_come == 0:
                finish(r, s, t, state)
            else:
                heap_push(base, decoding, ((n + to_come) << k.SLOT_BITS) | s, state)
                decoding += 1
                counts[offsets + (si[x + k.S_IN] + given - 1 - n) % size] += 1
            s = after
        ri[p + k.R_PREFILLING] = s
    ri[p + k.R_DECODING] = decoding
    schedule(r, t, state)


def advance(r: int, t: float, state: k.State) -> bool:
    """Carry out all that ends on a replica by `t`; False where the output block has no room left.

    One row is kept for a request that is refused.
    """
    ri, rf, g = state.ri, state.rf, state.g
    while rf[r * k.F_FIELDS + k.F_END] <= t:
        if g[k.G_OUT] + ri[r * k.R_FIELDS + k.R_MAX] >= g[k.G_ROOM]:
            return False
        complete(r, state)
    return True


def cut(r: int, t: float, state: k.State) -> None:
    """Let a replica's segment end with the iteration under way at `t`, to which it was advanced."""
    ri, rf = state.ri, state.rf
    p, q = r * k.R_FIELDS, r * k.F_FIELDS
    if ri[p + k.R_RUNNING] > 0 and ri[p + k.R_LENGTH] > 1:
        length = passed(r, t, state) + 1
        ri[p + k.R_LENGTH] = length
        rf[q + k.F_END] = (
            rf[q + k.F_START] + length * rf[q + k.F_FIRST] + rf[q + k.F_GROW] * (0.5 * (length - 1) * length)
        )


def push(r: int, s: int, t: float, state: k.State) -> None:
    """Queue a request at a replica, which was advanced to `t`; refuse it where it can never fit."""
    ri, si, g = state.ri, state.si, state.g
    p = r * k.R_FIELDS
    x = s * k.S_FIELDS
    size = ri[p + k.R_BLOCK]
    if ri[p + k.R_BLOCKS] > 0 and (si[x + k.S_IN] + si[x + k.S_OUT] - 2 + size) // size > ri[p + k.R_BLOCKS]:
        g[k.G_REFUSED] += 1
        write(s, r, -1.0, t, state)
        return
    si[x + k.S_NEXT] = -1
    if ri[p + k.R_TAIL] >= 0:
        si[ri[p + k.R_TAIL] * k.S_FIELDS + k.S_NEXT] = s
    else:
        ri[p + k.R_HEAD] = s
    ri[p + k.R_TAIL] = s
    ri[p + k.R_WAITING] += 1
    if ri[p + k.R_RUNNING] == 0:
        schedule(r, t, state)
    elif ri[p + k.R_WAITING] == 1 and ri[p + k.R_RUNNING] < ri[p + k.R_MAX]:
        cut(r, t, state)


def choose(t: float, uniform: float, route: k.Ints, routable: int, state: k.State) -> int:
    """The replica for a request, advanced to `t`; -1 where the output block has no room left."""
    ri, rf, g = state.ri, state.rf, state.g
    turn, tries = g[k.G_TURN] % routable, 1
    if g[k.G_ROUTER] == k.LEAST_LOADED:
        tries = routable  # from the turn on, so that ties go round
    elif g[k.G_ROUTER] == k.RANDOM:
        turn = min(int(uniform * routable), routable - 1)
    best, least = turn, -1
    for i in range(tries):
        at = turn + i
        if at >= routable:
            at -= routable
        r = route[at]
        if rf[r * k.F_FIELDS + k.F_END] <= t and not advance(r, t, state):
            return -1
        load = ri[r * k.R_FIELDS + k.R_RUNNING] + ri[r * k.R_FIELDS + k.R_WAITING]
        if least < 0 or load < least:
            best, least = at, load
    g[k.G_TURN] = best + 1
    return route[best]


def simulate(
    begin: float,
    end: float,
    at: int,
    upto: int,
    arrivals: k.Arrivals,
    route: k.Ints,
    routable: int,
    active: k.Ints,
    actives: int,
    state: k.State,
) -> int:
    """Run a server from `begin` to `end` with the arrivals from `at` to before `upto`.

    `route` has the replicas that take requests, `active` all that compute. Answers with -1 when `end` is
    reached; otherwise the output block is full: empty it and call again from the arrival that is answered.
    """
    ri, si, sf, g = state.ri, state.si, state.sf, state.g
    times, tokens_in, tokens_out, cached, uniforms = arrivals
    while True:
        waited = routable > 0 and g[k.G_QUEUED] > 0 and g[k.G_OPEN] > 0
        if waited:
            s, t = g[k.G_HEAD], begin
            uniform = sf[s * k.T_FIELDS + k.T_UNIFORM]
        elif at < upto:
            s, t = -1, times[at]
            uniform = uniforms[at]
        else:
            break
        r = -1
        if routable > 0:
            if g[k.G_OUT] >= g[k.G_ROOM]:
                return at
            r = choose(t, uniform, route, routable, state)
            if r < 0:
                return at
            full = ri[r * k.R_FIELDS + k.R_RUNNING] + ri[r * k.R_FIELDS + k.R_WAITING] >= g[k.G_HOLD]
            if full and waited:
                g[k.G_OPEN] = 0
                continue
            if full or (g[k.G_QUEUED] > 0 and not waited):
                r = -1
        if not waited:
            s = g[k.G_FREE]
        x = s * k.S_FIELDS
        if waited:
            g[k.G_HEAD] = si[x + k.S_NEXT]
            if g[k.G_HEAD] < 0:
                g[k.G_TAIL] = -1
            g[k.G_QUEUED] -= 1
        else:
            g[k.G_FREE] = si[x + k.S_NEXT]
            si[x + k.S_IN] = tokens_in[at]
            si[x + k.S_OUT] = tokens_out[at]
            si[x + k.S_CACHED] = min(cached[at], tokens_in[at] - 1)
            si[x + k.S_GIVEN] = 0
            si[x + k.S_TODO] = 0
            sf[s * k.T_FIELDS + k.T_ARRIVAL] = t
            sf[s * k.T_FIELDS + k.T_FIRST] = -1.0
            sf[s * k.T_FIELDS + k.T_LAST] = -1.0
            sf[s * k.T_FIELDS + k.T_UNIFORM] = uniform
            g[k.G_ARRIVED] += 1
            at += 1
        if r >= 0:
            push(r, s, t, state)
        else:
            si[x + k.S_NEXT] = -1
            if g[k.G_TAIL] >= 0:
                si[g[k.G_TAIL] * k.S_FIELDS + k.S_NEXT] = s
            else:
                g[k.G_HEAD] = s
            g[k.G_TAIL] = s
            g[k.G_QUEUED] += 1
    for i in range(actives):
        r = active[i]
        if not advance(r, end, state):
            return at
        if ri[r * k.R_FIELDS + k.R_RUNNING] > 0:
            count(r, passed(r, end, state), state)
    return -1
