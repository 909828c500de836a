"""JSON objects of a checkpoint: whole, and of a size that such files have."""

import json
from pathlib import Path
from typing import Any

from serving.errors import ConfigError

MOST_BYTES = 1 << 27  # a tokenizer.json with a quarter of a million tokens takes 35 MB


def read_object(path: Path) -> dict[str, Any]:
    """Errors: ConfigError naming the file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size:,} bytes; more than {MOST_BYTES:,} are not read")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file, which a model's folder must have") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a JSON object was expected, not {type(value).__name__}")
    return value


def read_optional(path: Path) -> dict[str, Any]:
    """Empty where there is no such file. Errors: ConfigError."""
    return read_object(path) if path.exists() else {}
