"""KIND "aiconfigurator": NVIDIA's measured operator times (package aiconfigurator-core, Apache-2.0), put together.

PATH is TOML:

    system = "h100_sxm"             # a GPU of the package
    backend = "vllm"                # whose kernels
    version = "0.24.0"              # not stated: the newest
    precision = "bfloat16"          # of the linear layers: bfloat16, fp8, fp8_block
    data = "systems"                # a copy of the package's folder, from this file on; not stated: the package
    tensor_parallel = 1
    [model]                         # calibration/sources/dense_shape.py
    [engine]                        # settings of the engine to simulate
    [kv]                            # num_blocks, block_size; not stated: an estimate
    [host]                          # milliseconds; not in the data, not stated: 0
    step = 0.0                      # a step: launches, preparing inputs
    sequence = 0.0                  # one more in it
    return = 0.0                    # from the engine to the client

Each of these is fitted to its table, and they add up to a step:

    linear layers     four matrices a layer, by num_tokens: constant and ramps
    LM head           by num_sampled
    all-reduce        two a layer with tensor_parallel above 1, of num_tokens x hidden numbers
    between them      norms, rotation and activation: bytes over the bandwidth that the package states, and a latency
    decode attention  a constant, per sequence and per token of context
    prefill attention per prompt, token and query-key pair, beyond that constant; a later chunk's stored tokens are in
                      its pairs

What kernels do not show, gaps between them and the engine's own time, is [host]; nothing of the profile was checked
against a whole step.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from calibration.fit import Basis, fit, predict, ramps
from calibration.sources.dense_shape import DenseShape, Pool, pool_of
from calibration.sources.operator_tables import OperatorTables, installed
from calibration.sources.source import Sourced
from calibration.toml import read_toml
from records.cost_terms import CostTerms, Term
from records.json_values import Frozen, JsonObject
from records.profile import EngineMeasured, Profile
from serving.errors import MeasurementError
from serving.schedule.config import EngineConfig

MOST_TOKENS = 16384
LINEAR_KNOTS = (0, 64, 128, 256, 512, 1024, 2048, 4096)
HEAD_KNOTS = (0, 64, 128, 256)
SMALL_OPERATIONS = 4
"""Between the matrices of a layer: two norms with their residuals, rotation, activation."""
LONGEST = 8192
"""Tokens of the prompts, and of the contexts, that attention is fitted to."""


class HostTimes(Frozen):
    step: float = Field(default=0.0, ge=0)
    sequence: float = Field(default=0.0, ge=0)
    return_: float = Field(default=0.0, ge=0, alias="return")


class Wanted(Frozen):
    """The file."""

    system: str
    backend: str = "vllm"
    version: str | None = None
    precision: str = "bfloat16"
    data: str | None = None
    tensor_parallel: int = Field(default=1, ge=1)
    model: DenseShape
    engine: JsonObject = Field(default_factory=dict)
    kv: Pool = Pool()
    host: HostTimes = HostTimes()


def profile_from(path: Path, name: str, seed: int) -> Sourced:
    """seed: without effect, nothing is drawn.

    Errors: MeasurementError for the file, or what was not measured; BlockedError where the package is absent.
    """
    wanted = read_toml(path, Wanted, "give TOML that names system and model (docs/calibrating-from-others.md)")
    tables = OperatorTables(
        installed() if wanted.data is None else path.parent / wanted.data, wanted.system, wanted.backend, wanted.version
    )
    shape, count = wanted.model, wanted.tensor_parallel
    for what, number in (("heads", shape.heads), ("kv_heads", shape.kv_heads), ("intermediate", shape.intermediate)):
        if number % count:
            raise MeasurementError(f"{path}: model.{what} is {number}, which {count} GPUs cannot share evenly")
    parts = {
        "linear layers": linear(wanted, tables),
        "LM head": head(wanted, tables),
        "decode attention": decode_attention(wanted, tables),
        "prefill attention": prefill_attention(wanted, tables),
    }
    execute = [term for fitted, _ in parts.values() for term in fitted.terms]
    execute += [t for t in _host(wanted.host) if t.coefficient_ms > 0]
    errors = {part: error for part, (_, error) in parts.items()}
    most = EngineConfig()
    tokens = int(str(wanted.engine.get("max_num_batched_tokens", most.max_num_batched_tokens)))
    seats = int(str(wanted.engine.get("max_num_seqs", most.max_num_seqs)))
    profile = Profile(
        name=name,
        model=shape.identity(),
        hardware={"device": tables.device, "count": count},
        software={wanted.backend: tables.versions["gemm"], "tables": dict(tables.versions)},
        conditions={},
        execute=CostTerms(terms=tuple(execute)),
        schedule=CostTerms(terms=()),
        complete=CostTerms(terms=()),
        return_=CostTerms(
            terms=(Term(name="return", feature="one", coefficient_ms=wanted.host.return_, meaning="to the client"),)
        ),
        residual={},
        hull={"num_tokens": (1, min(MOST_TOKENS, tokens)), "num_seqs": (1, seats)},
        kv=pool_of(wanted.kv, shape, tables.memory["mem_capacity"], count),
        engine=EngineMeasured(preset="vllm", settings=wanted.engine),
        source={
            "kind": "aiconfigurator",
            "measured_by": "NVIDIA (ai-dynamo/aiconfigurator)",
            "licence": "Apache-2.0",
            "system": wanted.system,
            "median_error_on_tables": errors,
            "unvalidated": "steps are sums of operator times: no whole step was measured",
        },
    )
    told = ", ".join(f"{part} {error:.1%}" for part, error in errors.items())
    notes = [f"median error of the form on its tables: {told}"]
    if not any((wanted.host.step, wanted.host.sequence, wanted.host.return_)):
        notes.append("[host] is not stated: the engine's own time and gaps between kernels count as 0")
    if wanted.kv.num_blocks is None:
        notes.append(f"kv.num_blocks is not stated; {profile.kv.num_blocks} is an estimate from memory and weights")
    return Sourced(profile, None, tuple(notes))


def linear(wanted: Wanted, tables: OperatorTables) -> tuple[CostTerms, float]:
    """Matrices, what is between them, and all-reduces, of all layers."""
    shape, count = wanted.model, wanted.tensor_parallel
    matrices = []
    for name, columns, rows in shape.matrices:
        if name in ("output", "down"):
            rows //= count
        else:
            columns //= count
        matrices.append(tables.gemm(wanted.precision, columns, rows).set_index("m")["latency_ms"])
    multiplied = pd.concat(matrices, axis=1).sum(axis=1, skipna=False).dropna()
    tokens = multiplied.index.to_numpy(dtype=float)
    time_ms = multiplied.to_numpy(dtype=float) + _between(shape, count, tables, tokens)
    if count > 1:
        passed = tables.all_reduce(count)
        numbers = np.log(passed["numbers"].to_numpy(dtype=float))
        time_ms = time_ms + 2 * np.exp(
            np.interp(np.log(tokens * shape.hidden), numbers, np.log(passed["latency_ms"].to_numpy()))
        )
    samples = pd.DataFrame({"num_tokens": tokens, "ms": shape.layers * time_ms})
    basis = [
        Basis("layers", "one", "linear layers: one read of the weights, and launches"),
        *ramps("linear", "num_tokens", "linear layers, per token", LINEAR_KNOTS),
    ]
    return _fitted(basis, samples[samples["num_tokens"] <= MOST_TOKENS])


def _between(shape: DenseShape, count: int, tables: OperatorTables, tokens: np.ndarray) -> np.ndarray:
    """Of one layer [ms]. A norm reads and writes the state and its residual; other parts are shared among the GPUs."""
    rotated = 2 * (shape.heads + shape.kv_heads) * shape.head_dim
    activated = 3 * shape.intermediate
    numbers = 2 * 4 * shape.hidden + (rotated + activated) / count
    speed = tables.memory["mem_bw"] * tables.memory.get("mem_bw_empirical_scaling_factor", 1.0)
    latency_s = SMALL_OPERATIONS * tables.memory.get("mem_empirical_constant_latency", 0.0)
    return np.asarray((tokens * numbers * shape.bytes_per_number / speed + latency_s) * 1e3)


def head(wanted: Wanted, tables: OperatorTables) -> tuple[CostTerms, float]:
    found = tables.gemm("bfloat16", -(-wanted.model.vocab // wanted.tensor_parallel), wanted.model.hidden)
    samples = pd.DataFrame({"num_sampled": found["m"].astype(float), "ms": found["latency_ms"]})
    basis = [
        Basis("head", "one", "LM head: one read of its weights"),
        *ramps("head", "num_sampled", "LM head, per sampled token", HEAD_KNOTS),
    ]
    return _fitted(basis, samples[samples["num_sampled"] <= 1024])


def decode_attention(wanted: Wanted, tables: OperatorTables) -> tuple[CostTerms, float]:
    shape, count = wanted.model, wanted.tensor_parallel
    found = tables.decode(shape.heads // count, shape.kv_heads // count, shape.head_dim)
    found = found[found["context"] <= LONGEST]
    samples = pd.DataFrame(
        {
            "num_seqs": found["batch_size"].astype(float),
            "decode_context": (found["batch_size"] * found["context"]).astype(float),
            "ms": shape.layers * found["latency_ms"],
        }
    )
    basis = [
        Basis("attention", "one", "attention: launches"),
        Basis("decode", "num_seqs", "attention, per sequence"),
        Basis("decode read", "decode_context", "per stored token that a decode reads"),
    ]
    return _fitted(basis, samples)


def prefill_attention(wanted: Wanted, tables: OperatorTables) -> tuple[CostTerms, float]:
    """Without the constant, which decode_attention has; the error is with it."""
    shape, count = wanted.model, wanted.tensor_parallel
    found = tables.prefill(shape.heads // count, shape.kv_heads // count, shape.head_dim)
    rows = found["batch_size"] * found["tokens"]
    found = found[(found["tokens"] > 1) & (found["tokens"] <= LONGEST) & (rows <= MOST_TOKENS)]
    batch, tokens = (found[column].astype(float) for column in ("batch_size", "tokens"))
    samples = pd.DataFrame(
        {
            "num_prefill_seqs": batch,
            "prefill_tokens": batch * tokens,
            "prefill_pairs": batch * tokens * (tokens + 1) / 2,
            "ms": shape.layers * found["latency_ms"],
        }
    )
    basis = [
        Basis("attention", "one", "attention: launches"),
        Basis("prefill", "num_prefill_seqs", "attention, per prompt"),
        Basis("prefill token", "prefill_tokens", "attention, per prompt token"),
        Basis("prefill pairs", "prefill_pairs", "attention, per query-key pair"),
    ]
    fitted, error = _fitted(basis, samples)
    return CostTerms(terms=tuple(t for t in fitted.terms if t.feature != "one")), error


def _fitted(basis: list[Basis], samples: pd.DataFrame) -> tuple[CostTerms, float]:
    """And its median relative error on the samples."""
    found = fit(basis, samples, "ms", relative=True)
    return found, float(np.median(np.abs(predict(found, samples) / samples["ms"].to_numpy() - 1)))


def _host(host: HostTimes) -> list[Term]:
    return [
        Term(name="host step", feature="one", coefficient_ms=host.step, meaning="as stated: launches, inputs"),
        Term(name="host sequence", feature="num_seqs", coefficient_ms=host.sequence, meaning="as stated, per sequence"),
    ]
