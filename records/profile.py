"""A profile: what steps cost on one machine with one model, as calibration measured it. JSON, samples beside it."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError, field_validator, model_validator

from records.atomic import write_file
from records.cost_terms import CostTerms
from records.json_values import Frozen, JsonObject, explain, pretty_json
from serving.cost import StepFeatures
from serving.errors import ProfileError

VERSION: Literal["servetwin.profile/2"] = "servetwin.profile/2"
STEP_KINDS = ("prefill", "decode", "mixed")


RESIDUAL_SHARES = (0.0, 0.01, 0.05, *(n / 10 for n in range(1, 10)), 0.95, 0.99, 1.0)
"""The shares of steps whose residual does not exceed the quantiles of a profile."""


class ResidualNoise(Frozen):
    """Measured / predicted - 1 over so many steps: its standard deviation and quantiles of its absolute value.

    quantiles: its own, at RESIDUAL_SHARES; empty where too few steps were measured.
    """

    steps: int = Field(ge=0)
    relative_std: float = Field(ge=0)
    relative_p50_abs: float = Field(ge=0)
    relative_p90_abs: float = Field(ge=0)
    quantiles: tuple[float, ...] = ()

    @field_validator("quantiles")
    @classmethod
    def _possible(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if quantiles and len(quantiles) != len(RESIDUAL_SHARES):
            raise ValueError(f"{len(quantiles)} quantiles; there are {len(RESIDUAL_SHARES)} shares")
        if list(quantiles) != sorted(quantiles) or (quantiles and quantiles[0] <= -1):
            raise ValueError("quantiles must not decrease, and all be above -1: no step takes less than no time")
        return quantiles


class KVCapacity(Frozen):
    """The pool that the measurement ran with. block_size: tokens. bytes_per_token: of K and V over all layers.

    host_link_bytes_per_s: KV moved between device and host memory, where that was measured.
    """

    num_blocks: int = Field(ge=1)
    block_size: int = Field(ge=1)
    bytes_per_token: int = Field(ge=1)
    host_link_bytes_per_s: float | None = Field(default=None, gt=0)


class SampleFile(Frozen):
    """The raw measurements, a parquet file in the profile's folder."""

    name: str
    sha256: str


class EngineMeasured(Frozen):
    """preset: batching rules. settings: of serving.schedule.config.EngineConfig; what is not named has its default."""

    preset: str
    settings: JsonObject = Field(default_factory=dict)


class Profile(Frozen):
    """A calibrated cost model.

    model, hardware, software, conditions: what was measured, on what, and how.
    execute, schedule, complete, return: the four durations of a step, as serving.cost.CostModel defines them.
    arrive_ms: from the instant at which a request is sent until the engine has it. wake_ms: from then to the next call
    of schedule(), where the engine was idle.
    graph_sizes: the sizes a batch is padded to, ascending: those that the engine captured its steps for, or makes its
    products with; terms say who is.
    draws: coefficients as likely as those fitted (bootstrap), each with those of the four durations in this order.
    residual: noise around execute, by kind of step. residual_persistence: the share of steps whose residual is that of
    the step before. hull: least and greatest value of each feature that was measured.
    capacity: requests per second of a stated traffic. held_out: errors on steps the fit did not see. probe: time
    of a reference batch, to tell later whether the machine is as it was, and by how much steps follow it
    (calibration/speed.py).
    engine: preset and settings that were measured, the defaults of a simulation. source: who measured, for profiles
    from the measurements of others, and how far they predict what those measured besides.
    """

    format: Literal["servetwin.profile/2"] = VERSION
    name: str
    model: JsonObject
    hardware: JsonObject
    software: JsonObject
    conditions: JsonObject
    execute: CostTerms
    schedule: CostTerms
    complete: CostTerms
    return_: Annotated[CostTerms, Field(alias="return")]
    arrive_ms: float = Field(default=0.0, ge=0)
    wake_ms: float = Field(default=0.0, ge=0)
    graph_sizes: tuple[int, ...] = ()
    draws: tuple[tuple[float, ...], ...] = ()
    residual: dict[str, ResidualNoise]
    residual_persistence: float = Field(default=0.0, ge=0, lt=1)
    hull: dict[str, tuple[float, float]]
    kv: KVCapacity
    capacity: JsonObject | None = None
    held_out: JsonObject | None = None
    probe: JsonObject | None = None
    engine: EngineMeasured | None = None
    source: JsonObject | None = None
    samples: SampleFile | None = None

    @field_validator("residual")
    @classmethod
    def _residual_of_kinds(cls, residual: dict[str, ResidualNoise]) -> dict[str, ResidualNoise]:
        for kind in residual:
            if kind not in STEP_KINDS:
                raise ValueError(f"{kind} is no kind of step; kinds: {', '.join(STEP_KINDS)}")
        return residual

    @field_validator("hull")
    @classmethod
    def _hull_of_features(cls, hull: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (least, greatest) in hull.items():
            if name not in StepFeatures.names():
                raise ValueError(f"{name} is no feature; features: {', '.join(StepFeatures.names())}")
            if least > greatest:
                raise ValueError(f"{name} has its least value {least:g} above its greatest {greatest:g}")
        return hull

    @field_validator("graph_sizes")
    @classmethod
    def _ascending(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if list(sizes) != sorted(set(sizes)) or (sizes and sizes[0] < 1):
            raise ValueError("graph_sizes must ascend, from 1 or more")
        return sizes

    @model_validator(mode="after")
    def _draws_fit(self) -> "Profile":
        count = sum(1 for duration in self.durations for _ in duration.every_term())
        for draw in self.draws:
            if len(draw) != count or min(draw, default=0.0) < 0:
                raise ValueError(f"each of draws must hold {count} coefficients, one a term, none below 0")
        return self

    @property
    def durations(self) -> tuple[CostTerms, CostTerms, CostTerms, CostTerms]:
        """execute, schedule, complete, return"""
        return self.execute, self.schedule, self.complete, self.return_

    def with_durations(self, durations: Sequence[CostTerms]) -> "Profile":
        """In the order of durations. The draws, which belong to the fitted coefficients, are left out."""
        execute, schedule, complete, return_ = durations
        changed = {"execute": execute, "schedule": schedule, "complete": complete, "return_": return_, "draws": ()}
        return self.model_copy(update=changed)

    def times(self, execute: float, own: float | None = None) -> "Profile":
        """Every duration so many times as long, in the draws too. own: all but execution; None: alike."""
        own = execute if own is None else own
        scaled = self.with_durations([self.execute.times(execute), *(d.times(own) for d in self.durations[1:])])
        count = sum(1 for _ in self.execute.every_term())
        draws = tuple(tuple(c * (execute if i < count else own) for i, c in enumerate(draw)) for draw in self.draws)
        own_times = {"arrive_ms": self.arrive_ms * own, "wake_ms": self.wake_ms * own}
        return scaled.model_copy(update={"draws": draws, **own_times})

    def drawn(self, k: int) -> "Profile":
        """With the coefficients of draw k in place of the fitted ones."""
        rest, priced = list(self.draws[k]), []
        for duration in self.durations:
            count = sum(1 for _ in duration.every_term())
            priced.append(duration.with_coefficients(rest[:count]))
            rest = rest[count:]
        return self.with_durations(priced)

    def to_json(self) -> bytes:
        return pretty_json(self.model_dump(mode="json", by_alias=True))

    def sha256(self) -> str:
        """Of the file that write_profile writes."""
        return sha256(self.to_json()).hexdigest()


def write_profile(path: Path, profile: Profile, samples: pd.DataFrame | None = None) -> Profile:
    """Write a profile, and its samples beside it as NAME.samples.parquet. Returns the profile as written.

    Errors: RecordError where the place cannot be written.
    """
    if samples is not None:
        profile = profile.model_copy(update={"samples": write_samples(path, samples)})
    write_file(path, profile.to_json())
    return profile


def write_samples(path: Path, samples: pd.DataFrame) -> SampleFile:
    """Beside a profile of this path. Errors: RecordError where the place cannot be written."""
    buffer = BytesIO()
    pq.write_table(pa.Table.from_pandas(samples, preserve_index=False), buffer, compression="zstd")
    data = buffer.getvalue()
    place = path.with_name(f"{path.stem}.samples.parquet")
    write_file(place, data)
    return SampleFile(name=place.name, sha256=sha256(data).hexdigest())


def read_profile(path: Path) -> Profile:
    """Errors: ProfileError that says what is wrong with the file, and where in it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ProfileError(f"{path}: no such profile; make one with servetwin calibrate --out {path}") from error
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        raw: Any = json.loads(data)
    except ValueError as error:
        raise ProfileError(f"{path}: not JSON ({error}); give the file that servetwin calibrate wrote") from error
    version = raw.get("format") if isinstance(raw, Mapping) else None
    if version != VERSION:
        raise ProfileError(
            f"{path}: its format is {version!r}, this version reads {VERSION!r}; calibrate again"
            if version is not None
            else f"{path}: not a profile (no key format); give the file that servetwin calibrate wrote"
        )
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        raise ProfileError(f"{path}: {explain(error, Profile)}") from error


def read_samples(path: Path, profile: Profile) -> pd.DataFrame:
    """The raw measurements of the profile that was read from path.

    Errors: ProfileError where there are none, or they are not those that the profile was fitted to.
    """
    if profile.samples is None:
        raise ProfileError(f"{path}: this profile names no sample file")
    place = path.with_name(profile.samples.name)
    try:
        data = place.read_bytes()
    except OSError as error:
        raise ProfileError(f"{place}: the samples of {path} cannot be read: {error.strerror or error}") from error
    if sha256(data).hexdigest() != profile.samples.sha256:
        raise ProfileError(f"{place}: not the samples that {path} was fitted to (sha256 differs); calibrate again")
    samples: pd.DataFrame = pq.read_table(BytesIO(data)).to_pandas()
    return samples
