"""The live page: what the loop did and why, as it happens, and what it would do if."""
