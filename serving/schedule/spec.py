"""How an exchangeable part is written where it is chosen: `mlfq`, or `mlfq(levels=4, quantum_tokens=16)`.

Options are the fields of the part's dataclass, values are Python literals; so an option without effect cannot be
spelled.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar

from serving.errors import ConfigError
from serving.names import known

T = TypeVar("T")


def split(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options. Errors: ConfigError that shows how to write it."""
    name, parenthesis, rest = text.strip().partition("(")
    if not parenthesis:
        return name.strip(), {}
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("options are written as name=value")
        options = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                raise ValueError("options are written as name=value")
            options[keyword.arg] = ast.literal_eval(keyword.value)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{text!r} cannot be read ({error}); write it like mlfq(levels=4)") from error
    return name.strip(), options


def make(kind: str, text: str, classes: Mapping[str, type[T]]) -> T:
    """The part that the text describes. Errors: ConfigError naming part and option."""
    name, options = split(text)
    return construct(name, classes[known(kind, name, classes)], options)


def part(
    kind: str, text: str, classes: Mapping[str, type[T]], load: Callable[[str], type | None], base: type | None = None
) -> T:
    """As make(), or of a class that load() finds. Errors: ConfigError, also for a class that is no `base`."""
    name, options = split(text)
    loaded = load(name)
    if loaded is None:
        return make(kind, text, classes)
    if base is not None and not issubclass(loaded, base):
        raise ConfigError(f"{name} is no {base.__name__}; let the class inherit from it")
    return construct(name, loaded, options)


def construct(name: str, part: type[T], options: Mapping[str, Any]) -> T:
    """part: a dataclass, or a class without options. name: what the user calls it."""
    choices = options_of(part)
    for option, value in options.items():
        if option not in choices:
            has = f"it has: {', '.join(choices)}" if choices else "it has none"
            raise ConfigError(f"{name} has no option {option!r}; {has}")
        _check_type(name, choices[option], value)
    missing = [f.name for f in choices.values() if _required(f) and f.name not in options]
    if missing:
        raise ConfigError(f"{name} needs {missing[0]}: write {name}({', '.join(f'{m}=...' for m in missing)})")
    return part(**options)


def options_of(part: type) -> dict[str, Field[Any]]:
    """Its options by name."""
    return {f.name: f for f in fields(part) if f.init} if is_dataclass(part) else {}


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _check_type(name: str, field: Field[Any], value: Any) -> None:
    """Against the default's type; a whole number will do for a float."""
    if field.default_factory is not MISSING:
        default = field.default_factory()
    elif field.default is MISSING or field.default is None:
        return
    else:
        default = field.default
    wanted = type(default)
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        raise ConfigError(f"{name}: {field.name} is {value!r}; it must be of type {wanted.__name__}, as {default!r}")
