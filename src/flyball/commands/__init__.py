"""One module a command: where reading, deciding and showing are put together, and nowhere else."""
