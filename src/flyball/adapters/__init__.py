"""The outside world: one module for each thing that is read from or written to.

Belongs here: files, Prometheus, Kubernetes. Does not belong here: the meaning of what they hold
(`wire`) and what follows from it (`decide`).
"""
