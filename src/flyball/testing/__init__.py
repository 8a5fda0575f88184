"""For tests, ours and yours: builders that state only what matters. Nothing in the package imports it."""
