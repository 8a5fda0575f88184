"""The shipped models: parameters counted again, KV bytes by hand, and how they are found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.profiles.library import find_model, models
from flyball.profiles.sample import catalogue
from flyball.spec.model import BYTES_PER_PARAMETER, Model, count_active, count_parameters
from flyball.spec.profile import Profile
from flyball.wire.errors import WireError

COUNTED = [m for m in models() if not m.special]


@pytest.mark.parametrize("model", COUNTED, ids=lambda m: m.name)
def test_parameters_come_out_of_the_shape(model: Model) -> None:
    assert model.shape is not None
    counted = count_parameters(model.layers, model.shape, model.experts)
    assert counted == pytest.approx(model.parameters, rel=0.05)
    if model.experts:  # published roughly, and not always with the output embedding
        active = count_active(model.layers, model.shape, model.experts_per_token)
        assert active == pytest.approx(model.active_parameters, rel=0.11)


def test_what_does_not_come_out_says_why() -> None:
    assert [m.name.rpartition("/")[2] for m in models() if m.special] == [
        "Llama-3_3-Nemotron-Super-49B-v1",
        "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    ]


@pytest.mark.parametrize("model", models(), ids=lambda m: m.name)
def test_figures_are_of_one_model(model: Model) -> None:
    assert "/" in model.name
    assert 0 < model.active_parameters <= model.parameters
    assert (model.active_parameters < model.parameters) == (model.experts > 0)
    assert 0 < model.kv_bytes_per_token < 2**21
    assert 2048 <= model.context <= 10 * 2**20
    assert model.attention == "hybrid" or model.shape is not None
    assert all("/" in alias for alias in model.aliases)


# Layers x 2 (K and V) x KV heads x head dim x 2 bytes; MLA: layers x (512 + 64) x 2 bytes.
@pytest.mark.parametrize(
    ("name", "kv_bytes", "attention"),
    [
        ("Llama-2-7b-hf", 32 * 2 * 32 * 128 * 2, "mha"),
        ("Llama-3.1-8B", 131_072, "gqa"),
        ("Llama-3.1-70B", 327_680, "gqa"),
        ("Llama-3.1-405B", 516_096, "gqa"),
        ("Qwen2.5-72B-Instruct", 327_680, "gqa"),
        ("Qwen3-8B", 147_456, "gqa"),
        ("Qwen3-32B", 262_144, "gqa"),
        ("Qwen3-30B-A3B", 98_304, "gqa"),
        ("Mixtral-8x7B-v0.1", 131_072, "gqa"),
        ("gpt-oss-20b", 49_152, "gqa"),
        ("gpt-oss-120b", 73_728, "gqa"),
        ("DeepSeek-V2", 60 * 1152, "mla"),
        ("DeepSeek-V3", 70_272, "mla"),
        ("DeepSeek-R1", 70_272, "mla"),
        ("DeepSeek-V3.2", 70_272 + 61 * 132, "mla"),
        ("Kimi-K2-Instruct", 70_272, "mla"),
        ("falcon-7b", 32 * 2 * 1 * 64 * 2, "mqa"),
        ("Qwen3.5-397B-A17B", 15 * 2 * 2 * 256 * 2, "hybrid"),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 6 * 2 * 2 * 128 * 2, "hybrid"),
        ("Llama-3_3-Nemotron-Super-49B-v1", 49 * 2 * 8 * 128 * 2, "gqa"),
    ],
)
def test_kv_bytes_counted_by_hand(name: str, kv_bytes: int, attention: str) -> None:
    model = find_model(name)
    assert (model.kv_bytes_per_token, model.attention) == (kv_bytes, attention)
    if model.shape and not model.shape.window:
        assert model.kv_bytes(1000) == 1000 * kv_bytes


def test_windows_keep_no_more_than_their_own() -> None:
    model = find_model("gpt-oss-120b")  # 36 layers of 2,048 bytes a token, every second looks back over 128
    assert model.kv_bytes(128) == 128 * 73_728
    assert model.kv_bytes(10_000) == 10_000 * 18 * 2048 + 128 * 18 * 2048
    gemma = find_model("gemma-3-27b-it")  # 62 layers of 8 KiB a token: 10 look back over all
    assert gemma.kv_bytes(131_072) == (131_072 * 10 + 1024 * 52) * 2**13


# ---- what a step reads ---------------------------------------------------------------------------

# Of config.json: layers, hidden, query heads, KV heads, head dim, MLP (gated: three matrices), vocabulary.
DENSE = {
    "Llama-3.1-8B": (32, 4096, 32, 8, 128, 14336, 128256),
    "Llama-3.1-70B": (80, 8192, 64, 8, 128, 28672, 128256),
    "Qwen3-8B": (36, 4096, 32, 8, 128, 12288, 151936),
    "Qwen3-32B": (64, 5120, 64, 8, 128, 25600, 151936),
}
# And of mixtures: layers, hidden, heads, KV heads, head dim, expert MLP, vocabulary, experts, of them per
# token, and layers that look back without a window.
MIXTURES = {
    "Qwen3-30B-A3B": (48, 2048, 32, 4, 128, 768, 151936, 128, 8, 48),
    "Qwen3-235B-A22B": (94, 4096, 64, 4, 128, 1536, 151936, 128, 8, 94),
    "MiniMax-M2.5": (62, 3072, 48, 8, 128, 1536, 200064, 256, 8, 62),
    "gpt-oss-20b": (24, 2880, 64, 8, 64, 2880, 201088, 32, 4, 12),
    "gpt-oss-120b": (36, 2880, 64, 8, 64, 2880, 201088, 128, 4, 18),
}
# MLA: layers, dense ones, hidden, heads, ranks of queries and KV, rope, nope and value dim, dense and expert
# MLP, vocabulary, experts.
LATENT = {
    "DeepSeek-V3": (61, 3, 7168, 128, 1536, 512, 64, 128, 128, 18432, 2048, 129280, 256),
    "Kimi-K2.5": (61, 1, 7168, 64, 1536, 512, 64, 128, 128, 18432, 2048, 163840, 384),
    "GLM-5": (78, 3, 6144, 64, 2048, 512, 64, 192, 256, 12288, 2048, 154880, 256),
}


@pytest.mark.parametrize("name", DENSE)
def test_a_dense_step_reads_all_but_the_input_embedding(name: str) -> None:
    layers, hidden, heads, kv_heads, dim, mlp, vocab = DENSE[name]
    model = find_model(name)
    attention = hidden * heads * dim * 2 + hidden * kv_heads * dim * 2
    assert model.core_parameters == layers * (attention + 3 * hidden * mlp) + vocab * hidden
    assert model.expert_parameters == 0
    assert (model.full_layers, model.full_kv_elements) == (layers, layers * 2 * kv_heads * dim)
    assert (model.query_width, model.kv_heads) == (layers * heads * dim, kv_heads)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_reads_its_core_and_some_experts(name: str) -> None:
    layers, hidden, heads, kv_heads, dim, mlp, vocab, experts, per_token, full = MIXTURES[name]
    model = find_model(name)
    attention = hidden * heads * dim * 2 + hidden * kv_heads * dim * 2
    assert model.core_parameters == layers * attention + vocab * hidden
    assert model.expert_parameters == layers * experts * 3 * hidden * mlp
    assert (model.experts, model.experts_per_token) == (experts, per_token)
    assert (model.full_layers, model.full_kv_elements) == (full, full * 2 * kv_heads * dim)
    assert (model.query_width, model.kv_heads) == (full * heads * dim, kv_heads)


@pytest.mark.parametrize("name", LATENT)
def test_latent_attention_reads_what_is_compressed(name: str) -> None:
    layers, dense, hidden, heads, q, kv, rope, nope, value, mlp, expert, vocab, experts = LATENT[name]
    model = find_model(name)
    down = hidden * (q + kv + rope)
    up = q * heads * (nope + rope) + kv * heads * (nope + value)
    attention = down + up + heads * value * hidden
    shared = (layers - dense) * 3 * hidden * expert
    assert model.core_parameters == layers * attention + dense * 3 * hidden * mlp + shared + vocab * hidden
    assert model.expert_parameters == shared * experts
    assert (model.full_layers, model.full_kv_elements) == (layers, layers * (kv + rope))
    assert (model.query_width, model.kv_heads) == (layers * heads * (nope + rope + value) // 2, 1)


def test_linear_layers_keep_nothing_and_read_their_own_matrices() -> None:
    model = find_model("Qwen3.5-397B-A17B")  # 45 of 60 layers linear: 16 key heads, 64 value heads, of 128
    linear = 4096 * (2 * 2048 + 2 * 8192) + 8192 * 4096 + 4096 * 2 * 64
    full = 4096 * 256 * (3 * 32 + 2 * 2)  # queries with their gate, output, keys and values
    shared = 60 * 3 * 4096 * 1024
    core = 45 * linear + 15 * full + shared + 248320 * 4096
    assert model.core_parameters == pytest.approx(core, rel=1e-3)
    assert model.expert_parameters == shared * 512
    assert (model.full_layers, model.full_kv_elements, model.query_width) == (15, 15 * 1024, 15 * 8192)


def test_what_cannot_be_counted_follows_from_what_is_published() -> None:
    nano = find_model("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")  # 23 layers of 128 experts, of two matrices each
    assert nano.expert_parameters == pytest.approx(23 * 128 * 2 * 2688 * 1856, rel=0.01)
    assert nano.core_parameters + nano.expert_parameters * 6 / 128 == pytest.approx(3.6e9, rel=1e-6)
    bare = Model("us/bare", 7_000_000_000, 7_000_000_000, 32, 131_072, 8000)
    assert (bare.core_parameters, bare.expert_parameters) == (7_000_000_000, 0)
    assert (bare.full_layers, bare.full_kv_elements, bare.kv_heads, bare.query_width) == (32, 65_536, 0, 0)


@pytest.mark.parametrize("model", models(), ids=lambda m: m.name)
def test_a_token_reads_no_more_than_there_is(model: Model) -> None:
    read = model.core_parameters + model.expert_parameters * model.experts_per_token // max(model.experts, 1)
    assert 0 < read <= model.active_parameters * 1.11
    assert 0 < model.full_layers <= model.layers
    assert 0 < 2 * model.full_kv_elements <= model.kv_bytes_per_token
    assert model.query_width % model.full_layers == 0


@given(st.sampled_from(models()), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_tokens_take_more_and_never_more_than_in_all_layers(model: Model, few: int, more: int) -> None:
    few, more = sorted((few, more))
    assert model.kv_bytes(few) <= model.kv_bytes(more) <= more * model.kv_bytes_per_token


# ---- found ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", catalogue().profiles, ids=lambda p: f"{p.model} on {p.accelerator}")
def test_the_catalogues_models_are_here(profile: Profile) -> None:
    model = find_model(profile.model)
    assert model.name == profile.model.replace("nvidia/", "meta-llama/").replace(
        "-Instruct-FP8", ""
    ).removesuffix("-FP8")
    assert any(said in profile.source for said in (model.precision, "measured"))


@pytest.mark.parametrize(
    ("name", "found", "precision"),
    [
        ("nvidia/Llama-3.1-70B-Instruct-FP8", "meta-llama/Llama-3.1-70B", "fp8"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "meta-llama/Llama-3.1-8B", "fp8"),
        ("Qwen/Qwen3-32B-FP8-Static-PerTensor", "Qwen/Qwen3-32B", "fp8"),
        ("nvidia/Qwen3-32B-NVFP4", "Qwen/Qwen3-32B", "nvfp4"),
        ("nvidia/DeepSeek-V3.1-NVFP4", "deepseek-ai/DeepSeek-V3", "nvfp4"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "Qwen/Qwen2.5-72B-Instruct", "int4"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "Qwen/Qwen2.5-7B-Instruct", "int8"),
        ("RedHatAI/Qwen2.5-7B-Instruct-quantized.w4a16", "Qwen/Qwen2.5-7B-Instruct", "int4"),
        ("unsloth/gpt-oss-20b-BF16", "openai/gpt-oss-20b", "bf16"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-20b", "mxfp4"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1", "fp8"),
        ("unsloth/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B", "bf16"),
        ("/models/llama-3.1-8b-instruct/", "meta-llama/Llama-3.1-8B", "bf16"),
        ("gemma-3-27b", "google/gemma-3-27b-it", "bf16"),
        ("KIMI-K2", "moonshotai/Kimi-K2-Instruct", "fp8"),
        ("Qwen_2.5_7B", "Qwen/Qwen2.5-7B-Instruct", "bf16"),
        ("Qwen3-4B", "Qwen/Qwen3-4B", "bf16"),
        ("Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B-Instruct-2507", "bf16"),
    ],
)
def test_a_name_says_the_model_and_the_precision(name: str, found: str, precision: str) -> None:
    model = find_model(name)
    assert (model.name, model.precision) == (found, precision)
    assert model.precision in BYTES_PER_PARAMETER
    assert model.parameters == find_model(found).parameters


# Of whatever end-to-end measurements are public.
MEASURED = (
    "MiniMaxAI/MiniMax-M2.5",
    "Qwen/Qwen3-235B-A22B-FP8",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen3.5-397B-A17B",
    "deepseek-ai/DeepSeek-R1",
    "deepseek-ai/DeepSeek-V3",
    "meta-llama/Llama-3.1-70B",
    "meta-llama/Meta-Llama-3.1-8B",
    "moonshotai/Kimi-K2.5",
    "nvidia/DeepSeek-V3.1-NVFP4",
    "nvidia/Llama-3.1-8B-Instruct-FP8",
    "nvidia/Qwen3-32B-NVFP4",
    "openai/gpt-oss-120b",
    "zhipuai/GLM-5",
)


@pytest.mark.parametrize("name", MEASURED)
def test_what_was_measured_has_a_shape_that_was_compared(name: str) -> None:
    model = find_model(name)
    assert model.shape
    assert not model.special
    assert model.source == "config.json"


def test_a_name_means_one_model() -> None:
    found: dict[str, str] = {}
    for model in models():
        for spelling in (model.name, *model.aliases):
            for short in (spelling, spelling.rpartition("/")[2]):
                assert found.setdefault(short.casefold(), model.name) == model.name, spelling
                assert find_model(short.upper()) is model
            # nor does a name without its ends, which is all that there is of a quantised copy's
            assert find_model(f"us/{short}-FP8-dynamic").name == model.name


def test_models_are_found_with_their_organisation_or_without() -> None:
    assert find_model("meta-llama/Meta-Llama-3.1-8B-Instruct").name == "meta-llama/Llama-3.1-8B"
    assert find_model(" llama-3.3-70b-instruct ").parameters == 70_550_000_000
    assert find_model("zhipuai/GLM-5").name == "zai-org/GLM-5"
    with pytest.raises(
        WireError, match=r'--model is "Lama-3.1-8B": there is no such model. Near: .*Llama-3.1-8B'
    ):
        find_model("Lama-3.1-8B", where="--model")
    with pytest.raises(WireError, match=r"there is no such model. Near: .*Meta-Llama-3.1-8B"):
        find_model("Meta-Lama-3.1-8B-Instruct-FP8")
    for nothing in ("", "/", "Instruct", "FP8", "Qwen"):
        with pytest.raises(WireError, match="there is no such model"):
            find_model(nothing)


def test_own_models_stand_before_those_of_the_library() -> None:
    own = Model("us/Llama-3.1-8B", 1, 1, 1, 1, 1)
    assert find_model("llama-3.1-8b", (own, *models())) is own


@given(st.text())
def test_any_name_is_a_model_or_a_wire_error(name: str) -> None:
    try:
        found = find_model(name)
    except WireError:
        return
    assert found in models()
