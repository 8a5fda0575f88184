"""The plant: a simulated fleet behind the ports of the loop. It shares no code with what decides."""
