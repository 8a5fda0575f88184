"""What listens, on loopback: the live page of a governed fleet, and the report page."""
