"""Inferno's documents in and out, all three generations. See `inferno_in` and `inferno_out`."""

from flyball.wire.inferno_in import fleet_from_documents, fleet_from_system
from flyball.wire.inferno_out import solution_document, system_document
from flyball.wire.inferno_sections import is_inferno

__all__ = ["fleet_from_documents", "fleet_from_system", "is_inferno", "solution_document", "system_document"]
