"""KIND "roofline": a GPU's datasheet and a model's shape, with the efficiency that a measured sibling reached.

PATH is TOML:

    tensor_parallel = 1
    [gpu]                       # of the datasheet, one GPU
    name = "NVIDIA H200"
    tflops = 989                # dense, in the precision of the weights
    memory_gb_per_s = 4800
    memory_gb = 141
    link_gb_per_s = 450         # to its peers, one direction; needed with tensor_parallel above 1
    [model]                     # calibration/sources/dense_shape.py
    [engine]                    # settings; not stated: those of the sibling
    [kv]                        # num_blocks, block_size; not stated: an estimate from memory_gb
    [sibling]
    profile = "h100-qwen3-14b-vllm"     # a shipped name, or a file from the folder of this one on
    tflops = 989                        # of the GPU it was measured on, likewise
    memory_gb_per_s = 3350
    tensor_parallel = 1
    [sibling.model]

What is taken over from the sibling, by asking its cost model what steps of certain shapes take:

    compute    share of the peak at which LONG prompts are computed: the price of their last tokens
    memory     share of the peak at which decodes read KV: the price of one more token of context
    attention  share of the peak of a query-key pair, where its price is known; else as compute
    overhead   what a step of one decode takes beyond reading weights at that share: launches, host
    sequence   what one more decode takes beyond its own compute and KV
    schedule, complete, return, the noise of its steps and how long that lasts: as they are

A step of the wanted GPU is then overhead + sequences + max(compute, weights + KV) + attention, and with tensor_parallel
the two all-reduces a layer over the link. The sibling's draws go the same way. Nothing here was measured on the wanted
GPU: the profile's hull is empty, and every run that uses it says so (Profile.source, "unvalidated").
"""

from dataclasses import astuple, dataclass
from pathlib import Path

import pandas as pd
from pydantic import Field

from calibration.fit import predict
from calibration.shipped import find_profile
from calibration.sources.dense_shape import DenseShape, Pool, pool_of
from calibration.sources.source import Sourced
from calibration.toml import read_toml
from records.cost_terms import CostTerms, Overlap, Term
from records.json_values import Frozen, JsonObject
from records.profile import EngineMeasured, Profile
from serving.cost import StepFeatures
from serving.errors import MeasurementError

LONG = (2048, 4096)
"""Tokens of a prompt, between which the price of one more is the sibling's compute."""
SEATS = (1, 17)
CONTEXT = (1024, 2048)
"""Tokens a sequence: between them the price of one more is the sibling's reading of KV."""


class Gpu(Frozen):
    name: str
    tflops: float = Field(gt=0)
    memory_gb_per_s: float = Field(gt=0)
    memory_gb: float = Field(gt=0)
    link_gb_per_s: float | None = Field(default=None, gt=0)


class Sibling(Frozen):
    profile: str
    tflops: float = Field(gt=0)
    memory_gb_per_s: float = Field(gt=0)
    tensor_parallel: int = Field(default=1, ge=1)
    model: DenseShape


class Wanted(Frozen):
    """The file."""

    tensor_parallel: int = Field(default=1, ge=1)
    gpu: Gpu
    model: DenseShape
    engine: JsonObject = Field(default_factory=dict)
    kv: Pool = Pool()
    sibling: Sibling


@dataclass(frozen=True)
class Efficiency:
    """compute, memory, attention: shares of the peak, at most 1. overhead_ms: a step. sequence_ms: one."""

    compute: float
    memory: float
    attention: float
    overhead_ms: float
    sequence_ms: float


def profile_from(path: Path, name: str, seed: int) -> Sourced:
    """seed: without effect, nothing is drawn. Errors: MeasurementError for the file, ProfileError for the sibling's."""
    wanted = read_toml(
        path, Wanted, "give the TOML with [gpu], [model] and [sibling] (docs/calibrating-from-others.md)"
    )
    if wanted.tensor_parallel > 1 and wanted.gpu.link_gb_per_s is None:
        raise MeasurementError(f"{path}: gpu.link_gb_per_s is missing, and tensor_parallel is {wanted.tensor_parallel}")
    sibling = find_profile(Path(wanted.sibling.profile), path.parent)
    found = efficiency(sibling, wanted.sibling, str(path))
    execute = roofline(wanted, found)
    host = [t.coefficient_ms for duration in sibling.durations[1:] for t in duration.every_term()]
    draws = []
    for k in range(len(sibling.draws)):
        drawn = sibling.drawn(k)
        likely = roofline(wanted, efficiency(drawn, wanted.sibling, str(path)))
        own_host = [t.coefficient_ms for duration in drawn.durations[1:] for t in duration.every_term()]
        draws.append((*(t.coefficient_ms for t in likely.every_term()), *own_host))
    assert all(len(draw) == sum(1 for _ in execute.every_term()) + len(host) for draw in draws)
    unvalidated = (
        f"step times of {wanted.gpu.name} are a datasheet times the efficiency of {sibling.name}: nothing was measured"
    )
    measured = sibling.engine or EngineMeasured(preset="vllm")
    profile = Profile(
        name=name,
        model=wanted.model.identity(),
        hardware={"device": wanted.gpu.name, "count": wanted.tensor_parallel},
        software=sibling.software,
        conditions={},
        execute=execute,
        schedule=sibling.schedule,
        complete=sibling.complete,
        return_=sibling.return_,
        arrive_ms=sibling.arrive_ms,
        wake_ms=sibling.wake_ms,
        draws=tuple(draws),
        residual=sibling.residual,
        residual_persistence=sibling.residual_persistence,
        hull={},
        kv=pool_of(wanted.kv, wanted.model, wanted.gpu.memory_gb * 1e9, wanted.tensor_parallel),
        engine=EngineMeasured(preset=measured.preset, settings={**_portable(measured), **wanted.engine}),
        source={
            "kind": "roofline",
            "datasheet": wanted.gpu.model_dump(mode="json"),
            "sibling": {"name": sibling.name, "sha256": sibling.sha256(), "source": sibling.source},
            "efficiency": dict(zip(Efficiency.__dataclass_fields__, astuple(found), strict=True)),
            "unvalidated": unvalidated,
        },
    )
    shares = ", ".join(f"{what} {getattr(found, what):.0%}" for what in ("compute", "memory", "attention"))
    notes = [
        unvalidated,
        f"shares of the peak, as {sibling.name} has them: {shares}; overhead {found.overhead_ms:.2f} ms",
    ]
    if wanted.kv.num_blocks is None:
        notes.append(f"kv.num_blocks is not stated; {profile.kv.num_blocks} is an estimate from memory and weights")
    return Sourced(profile, None, tuple(notes))


def _portable(measured: EngineMeasured) -> JsonObject:
    """Settings but the size of the pool and of the longest request, which belong to the GPU and the model."""
    own = ("num_blocks", "block_size", "max_model_len")
    return {name: value for name, value in measured.settings.items() if name not in own}


def efficiency(profile: Profile, sibling: Sibling, place: str) -> Efficiency:
    """Errors: MeasurementError where its cost model has no price for what is asked."""
    shape, count = sibling.model, sibling.tensor_parallel
    flops, memory = sibling.tflops * 1e12 * count, sibling.memory_gb_per_s * 1e9 * count
    short, long = LONG
    prompts = [StepFeatures.of_chunk(tokens, 0, 0, 0) for tokens in LONG]
    more_pairs = prompts[0]._replace(prefill_pairs=prompts[1].prefill_pairs)
    few, many = SEATS
    near, far = CONTEXT
    decodes = [StepFeatures.of_decodes(n, n * context) for n in SEATS for context in CONTEXT]
    at_short, at_pairs, at_long, one_near, _, many_near, many_far = _milliseconds(
        profile, [prompts[0], more_pairs, prompts[1], *decodes]
    )
    token_ms = (at_long - at_pairs) / (long - short)
    pair_ms = (at_pairs - at_short) / (prompts[1].prefill_pairs - prompts[0].prefill_pairs)
    context_ms = (many_far - many_near) / (many * (far - near))
    for what, price in (("a prompt's tokens", token_ms), ("a decode's context", context_ms)):
        if price <= 0:
            raise MeasurementError(f"{place}: {profile.name} has no price for {what}; take another sibling")
    compute = _share(2 * shape.layer_parameters / flops, token_ms)
    reads = _share(shape.kv_bytes / memory, context_ms)
    attention = _share(shape.pair_flops / flops, pair_ms) if pair_ms > 0 else compute
    weights_ms = shape.weight_bytes / (memory * reads) * 1e3
    one = one_near - context_ms * near
    each = (many_near - one_near) / (many - few) - context_ms * near
    return Efficiency(compute, reads, attention, max(0.0, one - weights_ms), max(0.0, each))


def _share(ideal_s: float, taken_ms: float) -> float:
    return min(1.0, ideal_s * 1e3 / taken_ms)


def _milliseconds(profile: Profile, steps: list[StepFeatures]) -> list[float]:
    frame = pd.DataFrame(steps, columns=list(StepFeatures.names()))
    return [float(ms) for ms in predict(profile.execute, frame, profile.graph_sizes)]


def roofline(wanted: Wanted, found: Efficiency) -> CostTerms:
    shape, gpu, count = wanted.model, wanted.gpu, wanted.tensor_parallel
    flops, memory = gpu.tflops * 1e12 * count, gpu.memory_gb_per_s * 1e9 * count
    computed, read = flops * found.compute, memory * found.memory
    terms = [
        _term("overhead", "one", found.overhead_ms, "launches and host, as the sibling has them"),
        _term("sequence", "num_seqs", found.sequence_ms, "per sequence, as the sibling has it"),
        _term("attention", "prefill_pairs", shape.pair_flops / (flops * found.attention) * 1e3, "query-key pairs"),
        _term("prefill read", "prefill_context", shape.kv_bytes / read * 1e3, "KV that a later chunk reads"),
    ]
    if count > 1:
        assert gpu.link_gb_per_s is not None
        passed = 2 * shape.layers * shape.hidden * shape.bytes_per_number * 2 * (count - 1) / count
        terms.append(_term("all-reduce", "num_tokens", passed / (gpu.link_gb_per_s * 1e9) * 1e3, "two a layer"))
    compute = (
        _term("layers", "num_tokens", 2 * shape.layer_parameters / computed * 1e3, "linear layers, per token"),
        _term("head", "num_sampled", 2 * shape.head_parameters / computed * 1e3, "LM head, per sampled token"),
    )
    reading = (
        _term("weights", "one", shape.weight_bytes / read * 1e3, "one read of the weights"),
        _term("decode read", "decode_context", shape.kv_bytes / read * 1e3, "KV that decodes read"),
    )
    overlap = Overlap(
        name="roof",
        of=(CostTerms(terms=compute), CostTerms(terms=reading)),
        meaning="arithmetic and reading at the same time",
    )
    return CostTerms(terms=tuple(terms), overlaps=(overlap,))


def _term(name: str, feature: str, milliseconds: float, meaning: str) -> Term:
    return Term(name=name, feature=feature, coefficient_ms=milliseconds, meaning=meaning)
