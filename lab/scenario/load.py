"""The requests of a scenario: drawn, or read from a file; at a rate, with a service level."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from records.json_values import Frozen
from records.units import nanoseconds
from workloads.jsonl import read_jsonl
from workloads.retime import at_rate
from workloads.synthesize import MOST_REQUESTS, synthesize
from workloads.workload import Workload


class ServiceLevel(Frozen):
    """Limits in seconds that each request should keep; it takes the place of the workload's own."""

    ttft_s: float | None = Field(default=None, gt=0)
    tpot_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.ttft_s is None and self.tpot_s is None:
            raise ValueError("give ttft_s, tpot_s or both")
        return self


class Load(Frozen):
    """Either a file, or requests, and how they are drawn (workloads/synthesize.py: arrivals, lengths, scale, seed).

    rate: mean arrivals a second; of a file: None keeps its own times.
    """

    file: str | None = None
    requests: int | None = Field(default=None, ge=1, le=MOST_REQUESTS)
    rate: float | None = Field(default=None, gt=0)
    arrivals: str = "poisson"
    lengths: str = "azure-conv"
    scale: float = Field(default=1.0, gt=0)
    seed: int = 0
    slo: ServiceLevel | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.requests is None):
            raise ValueError("give a file, or requests to draw; not both")
        if self.file is None:
            if self.rate is None:
                raise ValueError("requests that are drawn need a rate")
        elif without_effect := self.model_fields_set & {"arrivals", "lengths", "scale", "seed"}:
            raise ValueError(f"{', '.join(sorted(without_effect))} has no effect on a file; leave it out")
        return self

    @property
    def name(self) -> str:
        return Path(self.file).stem if self.file else self.lengths

    def workload(self, folder: Path = Path()) -> Workload:
        """folder: what the file's name counts from. Errors: WorkloadError, ConfigError."""
        if self.file is not None:
            place = (folder / self.file).resolve()
            made = _read(place, place.stat().st_mtime_ns if place.exists() else 0)
            made = made if self.rate is None else at_rate(made, self.rate)
        else:
            assert self.requests is not None
            assert self.rate is not None
            made = synthesize(
                name=self.name,
                rate=self.rate,
                num_requests=self.requests,
                seed=self.seed,
                arrivals=self.arrivals,
                lengths=self.lengths,
                scale=self.scale,
            )
        return made if self.slo is None else with_service_level(made, self.slo)


def with_service_level(workload: Workload, slo: ServiceLevel) -> Workload:
    """Every request with these limits, in place of its own; a deadline gives way to a TTFT limit."""
    ttft = None if slo.ttft_s is None else nanoseconds(slo.ttft_s)
    tpot = None if slo.tpot_s is None else nanoseconds(slo.tpot_s)
    limited = tuple(
        replace(r, ttft_slo=ttft, tpot_slo=tpot, deadline=r.deadline if ttft is None else None)
        for r in workload.requests
    )
    return Workload(workload.name, limited)


@lru_cache(maxsize=4)
def _read(place: Path, changed_ns: int) -> Workload:
    """changed_ns: tells versions of a file apart."""
    return read_jsonl(place)
