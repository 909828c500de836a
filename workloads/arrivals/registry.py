"""The arrival processes by name."""

from collections.abc import Mapping

from serving.schedule.spec import make
from workloads.arrivals.base import ArrivalProcess
from workloads.arrivals.constant import Constant
from workloads.arrivals.diurnal import Diurnal
from workloads.arrivals.gamma import Gamma
from workloads.arrivals.mmpp import MMPP
from workloads.arrivals.poisson import Poisson
from workloads.arrivals.ramp import Ramp
from workloads.arrivals.weibull import Weibull

ARRIVALS: Mapping[str, type[ArrivalProcess]] = {
    "poisson": Poisson,
    "gamma": Gamma,
    "weibull": Weibull,
    "mmpp": MMPP,
    "diurnal": Diurnal,
    "ramp": Ramp,
    "constant": Constant,
}


def arrival_process(text: str) -> ArrivalProcess:
    """text: as in `gamma(cv=2)`. Errors: ConfigError naming the unknown process or option."""
    return make("arrival process", text, ARRIVALS)
