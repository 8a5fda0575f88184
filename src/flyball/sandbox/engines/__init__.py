"""What a real cluster's fake pods would do: one process serves the metrics of every engine, under load.

`engines` is the simulation, without Kubernetes; `watch` tells it what runs; `service` is the process.
"""
