"""A Kubernetes cluster behind the ports of the loop."""
