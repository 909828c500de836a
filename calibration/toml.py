"""A TOML file as what it must be."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from records.json_values import explain
from serving.errors import MeasurementError

T = TypeVar("T", bound=BaseModel)


def read_toml(path: Path, kind: type[T], advice: str) -> T:
    """Errors: MeasurementError that says what is wrong with the file, and where in it. advice: what to give instead."""
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror or error}; {advice}") from error
    except ValidationError as error:
        raise MeasurementError(f"{path}: {explain(error, kind)}") from error
    except ValueError as error:
        raise MeasurementError(f"{path}: not TOML ({error}); {advice}") from error
