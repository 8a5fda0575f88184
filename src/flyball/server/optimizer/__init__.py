"""Inferno's optimizer over HTTP: one request with everything in it, or a system kept between requests."""
