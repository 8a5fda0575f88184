"""The real cluster that some of these tests run against."""

from tests.clusters import namespace, sandbox

__all__ = ["namespace", "sandbox"]
