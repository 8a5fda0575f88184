"""What listens: for now the report page, on loopback."""
