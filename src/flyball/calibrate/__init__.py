"""From what replicas show to the parameters of their model: arrays in, values out.

Belongs here: estimators of alpha, beta and gamma, and when to believe them. Does not belong here: where
observations come from, clocks, documents.
"""
