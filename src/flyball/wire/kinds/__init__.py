"""Kinds of Kubernetes objects: their fields, the definitions made of them, and how they are read."""
