"""The estimators of Inferno's model tuner: an extended Kalman filter, and a sliding window of fits.

Belongs here: how it learns, pair by pair. Does not belong here: what Flyball itself believes of a profile.
"""
