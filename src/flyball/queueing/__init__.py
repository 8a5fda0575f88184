"""The queue of one replica: arrays in, arrays out.

A replica that batches is a birth-death chain: requests arrive at rate lambda; with n of them in the
batch each stays tau(n) seconds, so they leave at mu(n) = n / tau(n); at most N are in the batch, at most
Q wait. Everything here follows from its state probabilities. Shapes are (C,) over candidates unless
said otherwise. No I/O, no prices, no names of things: only lengths, rates and times.

`curves` says what tau, prefill and token times are in Inferno's models of the iteration, `iteration` in
Flyball's own; `chain` evaluates the probabilities; `analysis` reads latencies off them; `percentiles` their
distributions, with the `laws` of the own form; `sizing` inverts all that; `concurrency` searches for the
batch limit.
"""
