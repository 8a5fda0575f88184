"""Cards: the devices that accelerators are made of, with what vendors say of them and what they rent for."""

from __future__ import annotations

import msgspec

from flyball.units import DollarsPerHour, Watts


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device as sold: figures of the vendor's datasheet, dense (without sparsity), and a dated price."""

    name: str
    """What capacity counts: the `type` of the accelerators that are made of it."""
    vendor: str = ""
    generation: str = ""
    """The architecture, in small letters: ampere, hopper, cdna3."""
    memory_gb: float = 0.0
    """As sold."""
    memory_mib: int = 0
    """As the driver shows it, with ECC on; 0: not known."""
    bandwidth_gbs: float = 0.0
    """Of the memory, GB/s."""
    tflops: float = 0.0
    """bf16; fp16 where there is no bf16."""
    tflops_fp8: float = 0.0
    """0: computes no fp8."""
    tflops_fp4: float = 0.0
    """0: computes no fp4 (nvfp4, mxfp4)."""
    link_gbs: float = 0.0
    """GB/s to the other cards of a unit, both directions together: NVLink, xGMI, Ethernet, else PCIe."""
    tdp: Watts = 0.0
    idle: Watts = 0.0
    """With a model resident and nothing to do; 0: not measured, reckoned from the TDP."""
    price: DollarsPerHour = 0.0
    """Of one card, on demand: a default to override."""
    priced: str = ""
    """When: `2026-11` or `2026-11-21`."""
    price_source: str = ""
    """Which price list, in words."""
    source: str = ""
    """Where the figures come from, in words."""
    unverified: tuple[str, ...] = ()
    """Fields of this card that no second source confirms."""
    labels: tuple[str, ...] = ()
    """Values of node labels that mean it: `nvidia.com/gpu.product`, `amd.com/gpu.product-name` and
    `.device-id`, `cloud.google.com/gke-accelerator`."""
    aliases: tuple[str, ...] = ()
    """Other names that people use."""

    @property
    def memory_bytes(self) -> float:
        """Bytes that programs can have: as the driver shows, else as sold."""
        return self.memory_mib * 2**20 or self.memory_gb * 1e9

    @property
    def link_one_way_gbs(self) -> float:
        """GB/s to the other cards of a unit, in one direction."""
        return self.link_gbs / 2
