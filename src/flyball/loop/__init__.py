"""The loop: observe, decide, act, record; again. Its ports, its runner, its ledger."""
