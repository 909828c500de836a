"""What a step takes beside its kernels: priors, each with the range in which it may lie.

The kernels were timed alone. Between two kernels of a step, and around the step, there is time that no table holds.
Each number here is an assumption with a reason (docs/decisions/62-kernel-profiles.md), not a fit; the draws of a
profile vary it over its range.
"""

from random import Random

from pydantic import Field, model_validator

from records.json_values import Frozen


class Prior(Frozen):
    """Least, expected and greatest value."""

    low: float = Field(ge=0)
    value: float = Field(ge=0)
    high: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "Prior":
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value ({self.value:g}) must be between low ({self.low:g}) and high ({self.high:g})")
        return self


class Host(Frozen):
    """kernels: how many times as long kernels take in a run as they did alone (clocks under load, caches).
    kernel_gap_us: from one kernel to the next. launch_us: of a kernel that the host launches one by one, as in steps
    with a prefill; a captured step is one launch. step_ms: inputs to the device, tokens to the host.
    schedule_*, complete_*: host work of a step, which async scheduling hides behind the step before.
    link_gb_per_s, link_latency_us: of an exchange between GPUs over PCIe.
    """

    kernels: Prior = Prior(low=0.97, value=1.0, high=1.05)
    kernel_gap_us: Prior = Prior(low=0.8, value=1.3, high=2.0)
    launch_us: Prior = Prior(low=4, value=10, high=15)
    step_ms: Prior = Prior(low=0.1, value=0.3, high=0.8)
    schedule_ms: Prior = Prior(low=0.5, value=1.0, high=2.0)
    schedule_us_per_seq: Prior = Prior(low=5, value=10, high=25)
    complete_ms: Prior = Prior(low=0.1, value=0.2, high=0.4)
    complete_us_per_seq: Prior = Prior(low=2, value=5, high=15)
    link_gb_per_s: Prior = Prior(low=20, value=40, high=50)
    link_latency_us: Prior = Prior(low=8, value=15, high=30)

    def expected(self) -> "HostTimes":
        return HostTimes(**{name: prior.value for name, prior in self})

    def drawn(self, random: Random) -> "HostTimes":
        """Each from a triangle over its range, highest at what is expected."""
        return HostTimes(**{name: random.triangular(prior.low, prior.high, prior.value) for name, prior in self})


class HostTimes(Frozen):
    """One value for each of Host."""

    kernels: float
    kernel_gap_us: float
    launch_us: float
    step_ms: float
    schedule_ms: float
    schedule_us_per_seq: float
    complete_ms: float
    complete_us_per_seq: float
    link_gb_per_s: float
    link_latency_us: float
