"""What listens: the REST services, the live page of a governed fleet, the report page."""
