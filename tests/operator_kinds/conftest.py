"""The sandbox that these tests share."""

from tests.clusters import namespace, sandbox

__all__ = ["namespace", "sandbox"]
