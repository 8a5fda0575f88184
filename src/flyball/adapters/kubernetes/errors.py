"""What can go wrong with a cluster."""

from __future__ import annotations

PASSING = frozenset({429, 500, 502, 503, 504})
"""Statuses of an API server that is busy, or is missing something itself."""


class ClusterError(Exception):
    """Something that a cluster does not give."""

    passing = False
    """Whether the same may well succeed soon."""


class NoCluster(ClusterError):
    """There is no kubeconfig that can be used."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            f"no cluster: {where}: {problem}. Set KUBECONFIG or give --kubeconfig; `flyball sandbox up` "
            "starts a cluster on this machine"
        )


class Unreachable(ClusterError):
    """The API server does not answer."""

    passing = True

    def __init__(self, address: str, method: str, path: str, problem: str) -> None:
        super().__init__(f"{method} {path}: the API server at {address} does not answer: {problem}")


class ApiError(ClusterError):
    """The API server refuses."""

    def __init__(
        self, method: str, path: str, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{method} {path}: {status} {reason}: {message}".rstrip(": "))
        self.status, self.reason, self.message = status, reason, message
        self.passing = status in PASSING
        self.retry_after = retry_after
        """Seconds after which it wants to be asked again, where it says so."""


class NotFound(ApiError):
    """It is not there."""


class Conflict(ApiError):
    """Somebody wrote since, or it exists."""


class Gone(ApiError):
    """The list is too old to go on with."""
