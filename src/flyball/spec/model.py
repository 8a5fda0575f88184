"""Models: what the weights and the KV cache of a language model weigh, and the shape that it follows from."""

from __future__ import annotations

from typing import Literal

import msgspec

Attention = Literal["mha", "gqa", "mqa", "mla", "hybrid"]
"""hybrid: layers without a KV cache (Mamba, linear attention) beside such that have one."""
Precision = Literal["bf16", "fp8", "int8", "int4", "mxfp4", "nvfp4"]

BF16_BYTES = 2
BYTES_PER_PARAMETER: dict[Precision, float] = {
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.53,
    "mxfp4": 0.53125,
    "nvfp4": 0.5625,
}
"""With scales: mxfp4 has one byte for 32 weights, nvfp4 one for 16, int4 about two for 64."""


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of a published config.json that weights and KV cache follow from."""

    hidden: int
    heads: int
    vocab: int
    kv_heads: int = 0
    """0: MLA, which has none of its own."""
    head_dim: int = 0
    ffn: int = 0
    """Inner width of a dense layer; 0: there is none."""
    gated: bool = True
    """The MLP has three matrices (SwiGLU, GeGLU) and not two."""
    tied: bool = False
    """Input and output embedding are one matrix."""
    dense_layers: int = 0
    """Of a mixture of experts: layers that are dense all the same."""
    expert_ffn: int = 0
    shared_ffn: int = 0
    """Inner width of all shared experts of a layer together."""
    kv_layers: int = 0
    """Layers that keep keys and values; 0: all."""
    window_layers: int = 0
    """Of these, layers that look back over `window` tokens only (sliding or chunked attention)."""
    window: int = 0
    linear: int = 0
    """Parameters of what a layer without a KV cache has in place of attention (Mamba, linear attention)."""
    gated_query: bool = False
    """The query projection yields a gate of the same width too."""
    kv_rank: int = 0
    """MLA: width of the compressed keys and values."""
    q_rank: int = 0
    """MLA: width of the compressed queries; 0: they are not compressed."""
    rope_dim: int = 0
    nope_dim: int = 0
    value_dim: int = 0
    index_bytes: int = 0
    """What the indexer of sparse attention keeps, per token and layer."""
    other: int = 0
    """Parameters outside the language model: a vision tower."""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A language model as published."""

    name: str
    """On Hugging Face, with its organisation."""
    parameters: int
    active_parameters: int
    """What one token is computed with, as published; all of them in a dense model."""
    layers: int
    kv_bytes_per_token: int
    """At bf16, over all layers and cards: layers x 2 (K and V) x KV heads x head dim x 2 bytes; MLA: layers x
    (compressed width + rope dim) x 2 bytes (DeepSeek-V2, section 2.1). For windows see `kv_bytes`."""
    context: int
    """Tokens, as in config.json: without stretching (YaRN)."""
    experts: int = 0
    """Routed experts of a layer; 0: dense."""
    experts_per_token: int = 0
    attention: Attention = "gqa"
    precision: Precision = "bf16"
    """Of the published weights; of most of them where mixed."""
    shape: Shape | None = None
    special: str = ""
    """Why the parameters cannot be counted from the shape; empty where they can."""
    source: str = ""
    aliases: tuple[str, ...] = ()
    """Other names of this model, its base, and fine-tunes of the same shape."""

    @property
    def core_parameters(self) -> int:
        """Parameters that every token reads: attention, dense and shared MLPs, output embedding."""
        if self.shape is None or self.special:
            return self.active_parameters - round(self._active_share * self.expert_parameters)
        return count_core(self.layers, self.shape, self.experts)

    @property
    def expert_parameters(self) -> int:
        """Parameters of all routed experts; a token reads experts_per_token / experts of them."""
        if self.shape is None or self.special:
            # What one token does not read are the other experts.
            idle = self.parameters - self.active_parameters
            return round(idle / (1 - self._active_share)) if self.experts else 0
        return count_experts(self.layers, self.shape, self.experts)

    @property
    def _active_share(self) -> float:
        return self.experts_per_token / self.experts if self.experts else 0.0

    @property
    def full_layers(self) -> int:
        """Layers that read the whole KV cache: not the linear ones, nor those with a window."""
        return self.layers if self.shape is None else full_layers(self.layers, self.shape)

    @property
    def full_kv_elements(self) -> int:
        """Elements of the KV cache that a decoding step reads per token of context, in the full layers."""
        if self.shape is None:
            return self.kv_bytes_per_token // BF16_BYTES
        return self.full_layers * kv_width(self.shape)

    @property
    def kv_heads(self) -> int:
        """Over so many cards the KV cache can be split; MLA: 1; 0: not known, without a shape."""
        return 0 if self.shape is None else self.shape.kv_heads or 1

    @property
    def query_width(self) -> int:
        """Heads x head dim, summed over the full layers: attention over n tokens costs 4 n x this, in FLOP.

        MLA: the mean of what a score (nope + rope) and a value take. 0: not known, without a shape.
        """
        if self.shape is None:
            return 0
        mla = (self.shape.nope_dim + self.shape.rope_dim + self.shape.value_dim) // 2
        return self.full_layers * self.shape.heads * (mla if self.shape.kv_rank else self.shape.head_dim)

    def kv_bytes(self, tokens: int) -> int:
        """Bytes of KV cache of a request of so many tokens, at bf16; a window keeps no more than its own."""
        shape = self.shape
        if shape is None or not shape.window_layers:
            return self.kv_bytes_per_token * tokens
        per_layer = self.kv_bytes_per_token // (shape.kv_layers or self.layers)
        beyond = max(0, tokens - shape.window)
        return self.kv_bytes_per_token * tokens - per_layer * shape.window_layers * beyond


def kv_width(shape: Shape) -> int:
    """Elements of keys and values that a layer keeps of one token."""
    return shape.kv_rank + shape.rope_dim if shape.kv_rank else 2 * shape.kv_heads * shape.head_dim


def full_layers(layers: int, shape: Shape) -> int:
    """Layers with a KV cache that no window bounds."""
    return (shape.kv_layers or layers) - shape.window_layers


def kv_bytes_per_token(layers: int, shape: Shape) -> int:
    """Bytes that one token takes in the KV cache of a model of this shape, at bf16, over all layers."""
    return (shape.kv_layers or layers) * (kv_width(shape) * BF16_BYTES + shape.index_bytes)


def attention_of(shape: Shape) -> Attention:
    """The kind of attention of a shape: what is stored for how many heads."""
    if shape.kv_layers:
        return "hybrid"
    if shape.kv_rank:
        return "mla"
    return {shape.heads: "mha", 1: "mqa"}.get(shape.kv_heads, "gqa")  # type: ignore[return-value]


def count_core(layers: int, shape: Shape, experts: int = 0) -> int:
    """Parameters that every token is multiplied with, but for norms, biases, routers and convolutions."""
    dense = shape.dense_layers if experts else layers
    width = dense * shape.ffn + (layers - dense) * shape.shared_ffn
    with_kv = shape.kv_layers or layers
    mixers = with_kv * _attention_parameters(shape) + (layers - with_kv) * shape.linear
    return mixers + _matrices(shape) * shape.hidden * width + shape.vocab * shape.hidden


def count_experts(layers: int, shape: Shape, experts: int) -> int:
    """Parameters of so many routed experts in each layer that is not dense."""
    return (layers - shape.dense_layers) * experts * _matrices(shape) * shape.hidden * shape.expert_ffn


def count_parameters(layers: int, shape: Shape, experts: int = 0) -> int:
    """All parameters: the core, so many routed experts a layer, the input embedding and `other`."""
    looked_up = 0 if shape.tied else shape.vocab * shape.hidden
    core = count_core(layers, shape, experts)
    return core + count_experts(layers, shape, experts) + looked_up + shape.other


def count_active(layers: int, shape: Shape, experts_per_token: int) -> int:
    """Of these, what one token is multiplied with: not an input embedding that is looked up, nor `other`."""
    core = count_core(layers, shape, experts_per_token)
    return core + count_experts(layers, shape, experts_per_token)


def _matrices(shape: Shape) -> int:
    return 3 if shape.gated else 2


def _attention_parameters(shape: Shape) -> int:
    """Of one layer: projections to queries, keys and values, and back."""
    h, n = shape.hidden, shape.heads
    if not shape.kv_rank:
        gate = n if shape.gated_query else 0
        return h * shape.head_dim * (2 * n + gate + 2 * shape.kv_heads)
    query = n * (shape.nope_dim + shape.rope_dim)
    down = h * (shape.kv_rank + shape.rope_dim) + (h * shape.q_rank if shape.q_rank else 0)
    up = (shape.q_rank or h) * query + shape.kv_rank * n * (shape.nope_dim + shape.value_dim)
    return down + up + n * shape.value_dim * h
