"""Numbers that a person typed, checked where they are used."""

import math

from serving.errors import ConfigError


def number(name: str, value: object, least: float, most: float, unit: str) -> float:
    """A finite number from least to most. name: of the option. Errors: ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} is {value!r}; it must be a number ({unit})")
    if not least <= value <= most:  # nan is in no range
        raise ConfigError(f"{name} is {value:g}; it must be from {least:g} to {most:g} ({unit})")
    return float(value)


def positive(name: str, value: object, unit: str) -> float:
    """A finite number above 0. Errors: ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} is {value!r}; it must be a number ({unit})")
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} is {value:g}; it must be a number above 0 ({unit})")
    return float(value)


def numbers(name: str, values: object, unit: str) -> tuple[float, ...]:
    """One or more finite numbers from 0 up, as a tuple. Errors: ConfigError."""
    if not isinstance(values, tuple | list) or not values:
        raise ConfigError(f"{name} is {values!r}; it must be a list of numbers, as (1.0, 8.0) ({unit})")
    return tuple(number(f"{name}[{i}]", value, 0.0, 1e15, unit) for i, value in enumerate(values))
