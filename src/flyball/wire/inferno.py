"""Inferno's documents in and out, all three generations. See `inferno_in` and `inferno_out`."""

from flyball.wire.inferno_in import fleet_from_documents, fleet_from_system, fleet_of, system_from
from flyball.wire.inferno_out import solution_document, system_document
from flyball.wire.inferno_sections import is_inferno
from flyball.wire.inferno_system import System

__all__ = [
    "System",
    "fleet_from_documents",
    "fleet_from_system",
    "fleet_of",
    "is_inferno",
    "solution_document",
    "system_document",
    "system_from",
]
