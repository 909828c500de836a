"""Where models are: a shape's name, a folder, or the name of a model that `servetwin model get` put in place."""

import os
import sys
from pathlib import Path

from realexec.shapes import SHAPES
from serving.errors import BlockedError, ConfigError
from serving.names import hint

GETTABLE = ("smollm2-135m",)
"""What `servetwin model get` can get."""


def models_folder() -> Path:
    """SERVETWIN_MODELS, or the folder `servetwin/models` where this system keeps users' data."""
    given = os.environ.get("SERVETWIN_MODELS")
    if given:
        return Path(given)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "servetwin" / "models"


def find_folder(name_or_folder: str) -> Path:
    """The folder of a model that is no named shape.

    Errors: BlockedError for a model that has not been got yet; ConfigError if there is no such model.
    """
    here, got = Path(name_or_folder), models_folder() / name_or_folder
    is_name = here.name == name_or_folder
    if here.is_dir():
        return here
    if is_name and got.is_dir():
        return got
    if name_or_folder in GETTABLE:
        raise BlockedError(f"model {name_or_folder} is not in {models_folder()}: servetwin model get {name_or_folder}")
    if is_name:
        choices = [*SHAPES, *GETTABLE]
        raise ConfigError(f"unknown model {name_or_folder!r}, and no folder; {hint(name_or_folder, choices)}")
    raise ConfigError(
        f"{name_or_folder}: no such folder; a model is a Hugging Face folder, or one of {', '.join(SHAPES)}"
    )
