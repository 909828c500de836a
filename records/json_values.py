"""Pydantic models of files: their base, JSON objects in them, and their errors in one line a person can act on."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from serving.names import hint


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """As a file would give it back: tuples are lists. Errors: ValueError for what JSON cannot hold, nan included."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except TypeError as error:
        raise ValueError(str(error)) from error
    return plain


class Frozen(BaseModel):
    """What a file says: nothing it does not know, nothing that JSON cannot hold, and it stays as it was read."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True
    )


JsonObject = Annotated[dict[str, Any], AfterValidator(_plain)]


def pretty_json(value: object) -> bytes:
    """Sorted keys, two spaces, a newline at the end: the same value gives the same bytes."""
    return (json.dumps(value, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem, where it is, and how many more there are. An unknown key names the nearest known one."""
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
    text = f"{place or 'the whole'}: {_told(first, model)}"
    return text + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def _told(problem: Any, model: type[BaseModel]) -> str:
    if problem["type"] == "missing":
        return "missing"
    if problem["type"] == "extra_forbidden":
        *outer, key = problem["loc"]
        return f"unknown key; {hint(str(key), _names(_model_at(model, outer)))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem["input"]
    simple = isinstance(given, str | int | float | None) and len(str(given)) < 60
    return f"{message[:1].lower()}{message[1:]}" + (f", not {given!r}" if simple else "")


def _names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name


def _model_at(model: type[BaseModel], place: list[str | int]) -> type[BaseModel]:
    for part in place:
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                model = next(_models_in(field.annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
