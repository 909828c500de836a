"""Values of a spec: distributions and arrival processes written as text."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import PlainValidator

from serving.errors import ConfigError
from workloads.arrivals.base import ArrivalProcess
from workloads.arrivals.registry import arrival_process
from workloads.distributions.base import Distribution
from workloads.distributions.families import Constant
from workloads.distributions.registry import distribution

T = TypeVar("T")


def _as_pydantic_wants(part: Callable[[], T]) -> T:
    try:
        return part()
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _quantity(value: object) -> Distribution:
    if isinstance(value, str):
        return _as_pydantic_wants(lambda: distribution(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _as_pydantic_wants(lambda: Constant(value))
    raise ValueError('must be a number, or a distribution in quotes, as "lognormal(mean=200, sigma=1)"')


def _process(value: object) -> ArrivalProcess:
    if isinstance(value, str):
        return _as_pydantic_wants(lambda: arrival_process(value))
    raise ValueError('must be an arrival process in quotes, as "gamma(cv=2)"')


Quantity = Annotated[Distribution, PlainValidator(_quantity)]
"""A distribution; a number stands for itself."""

Process = Annotated[ArrivalProcess, PlainValidator(_process)]
