"""A model by name or folder: its sizes, and all that is needed to run it. `import realexec.loaded` needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from realexec.checkpoint.config import positions_beyond_window as beyond_window
from realexec.checkpoint.config import read_shape
from realexec.checkpoint.home import find_folder
from realexec.requires import blocked
from realexec.shapes import SHAPES, ModelShape
from realexec.text import Tokenizer
from realexec.tokenizer.bytewise import ByteTokenizer
from realexec.tokenizer.folder import FolderTokenizer
from serving.errors import ConfigError

if TYPE_CHECKING:
    from realexec.weights import Weights


@dataclass(frozen=True)
class LoadedModel:
    """weights: float32, on the CPU."""

    name: str
    shape: ModelShape
    weights: Weights
    tokenizer: Tokenizer


def model_shape(name_or_folder: str) -> ModelShape:
    """The sizes alone; of a folder, config.json is all that is read.

    name_or_folder: 15m, 110m, 600m; a model that `servetwin model get` got; or a Hugging Face folder, which is read
    before a named shape if the name has a slash. Errors: ConfigError; BlockedError for a model not yet got.
    """
    return SHAPES[name_or_folder] if name_or_folder in SHAPES else read_shape(find_folder(name_or_folder))


def positions_beyond_window(name_or_folder: str) -> int:
    """Of the positions that a model's config.json states, how many its sliding window keeps from being offered."""
    return 0 if name_or_folder in SHAPES else beyond_window(find_folder(name_or_folder))


def load_tokenizer(name_or_folder: str) -> ByteTokenizer | FolderTokenizer:
    """Errors: as load_model."""
    return ByteTokenizer() if name_or_folder in SHAPES else FolderTokenizer(find_folder(name_or_folder))


def load_model(name_or_folder: str, seed: int = 0) -> LoadedModel:
    """A named shape gets random weights, drawn from seed, and the byte tokenizer; a folder has both.

    Errors: as model_shape; ConfigError naming file and field where a folder cannot be used; BlockedError without the
    libraries of the real world.
    """
    shape = model_shape(name_or_folder)
    try:
        from realexec.checkpoint.tensors import load_weights
        from realexec.weights import random_weights
    except ImportError as error:
        raise blocked(error) from error
    tokenizer = load_tokenizer(name_or_folder)
    if name_or_folder in SHAPES:
        return LoadedModel(shape.name, shape, random_weights(shape, seed), tokenizer)
    folder = find_folder(name_or_folder)
    if tokenizer.vocab_size > shape.vocab_size:
        raise ConfigError(
            f"{folder}: tokenizer.json has {tokenizer.vocab_size} ids, but config.json gives the model a vocab_size "
            f"of {shape.vocab_size}"
        )
    return LoadedModel(shape.name, shape, load_weights(folder, shape), tokenizer)
