"""Chat templates: Jinja in a sandbox, with a bound on what one conversation may cost.

A template comes with the model, never with a request. In Jinja's immutable sandbox it reaches nothing of Python's; so
that it also ends, it is rewritten before it is compiled: each turn of a loop, and each piece of text that it writes,
joins or gets from a filter or call, is charged to a budget (`_Metered`). What transformers offers templates is here
too, except strftime_now: a prompt must not depend on the day.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from realexec.text import Message
from serving.errors import ConfigError, RequestError

BUDGET = 1 << 20
BUDGET_PER_CHARACTER = 64
CALL = 20
"""Units a conversation may cost, and how many more for each of its characters; a turn is one, so is a character, a call
is CALL. What is refused has taken less than a second."""

FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "indent", "int"),
    *("items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace"),
    *("reverse", "round", "safe", "select", "selectattr", "sort", "string", "sum", "title", "trim", "unique", "upper"),
)
"""Of Jinja's own. Others, such as center and batch, make much of a large number."""
GLOBALS = ("range", "dict", "namespace", "joiner", "cycler")
METER = "the meter"  # no name that a template could spell


class ChatTemplate:
    """variables: what templates read besides messages, such as bos_token. where: names the file in errors.

    Errors: ConfigError for a template that cannot be compiled, or loops recursively.
    """

    def __init__(self, source: str, variables: Mapping[str, str], where: str) -> None:
        environment = _environment()
        try:
            tree = _Metered().visit(environment.parse(source))
            code = environment.compile(tree)
        except (TemplateError, RecursionError, SyntaxError) as error:
            raise ConfigError(f"{where}: no template that can be used: {error}") from error
        self._template = environment.template_class.from_code(environment, code, environment.make_globals(None))
        self._variables = variables

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation, up to where the assistant goes on. Errors: RequestError in the template's own words, or
        where the budget is spent."""
        size = sum(len(message.content) for message in messages)
        given: dict[str, Any] = {
            **self._variables,
            METER: _Meter(BUDGET + BUDGET_PER_CHARACTER * size),
            "messages": [message._asdict() for message in messages],
            "add_generation_prompt": True,
            "tools": None,
            "documents": None,
        }
        try:
            return self._template.render(given)
        except Exception as error:  # whatever a template does wrong, it is this conversation that cannot be rendered
            raise RequestError(f"the model's chat template refuses the conversation: {error}") from error


class _Meter:
    def __init__(self, budget: int) -> None:
        self._left = budget

    def charge(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise SecurityError("it costs too much")


@pass_context
def _charged(context: Context, value: Any) -> Any:
    context.parent[METER].charge(1 + _size(value))
    return value


@pass_context
def _called(context: Context, value: Any) -> Any:
    context.parent[METER].charge(CALL + _size(value))
    return value


@pass_context
def _turns(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        context.parent[METER].charge(1)
        yield item


@pass_context
def _times(context: Context, left: Any, right: Any) -> Any:
    """left * right, charged before there is so much of it."""
    for text, number in ((left, right), (right, left)):
        if isinstance(number, int) and not isinstance(text, int | float):
            context.parent[METER].charge(_size(text) * max(0, number))
    context.parent[METER].charge(_size(left) + _size(right))
    return left * right


def _size(value: Any) -> int:
    """Characters of a text, items of a container, bytes of a number."""
    if isinstance(value, int):
        return value.bit_length() // 8
    return len(value) if isinstance(value, str | list | tuple | dict) else 0


class _Metered(NodeTransformer):
    """Sends through a filter what costs time or memory. Filters that take the context are not computed when the
    template is compiled."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (Jinja calls it by the node's name)
        if node.recursive:
            raise SecurityError(f"line {node.lineno}: a recursive loop")
        self.generic_visit(node)
        node.iter = _through("turns", node.iter)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.nodes = [_through("charged", child) for child in node.nodes]
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        raise SecurityError(f"line {node.lineno}: a call block")

    def visit_Pow(self, node: nodes.Pow) -> nodes.Node:  # noqa: N802
        raise SecurityError(f"line {node.lineno}: a power")

    def visit_Mul(self, node: nodes.Mul) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("times", node.left, node.right)

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("called", node)

    def _result(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _through("charged", node)

    visit_Add = visit_Concat = visit_Filter = visit_Mod = _result  # noqa: N815


def _through(name: str, value: nodes.Node, *arguments: nodes.Node) -> nodes.Filter:
    return nodes.Filter(value, name, list(arguments), [], None, None, lineno=value.lineno)


class _Generation(Extension):
    """{% generation %} marks what transformers trains on; here it is its content."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own attribute)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation]
    )
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    environment.filters |= {
        "tojson": _to_json,
        "charged": _charged,
        "called": _called,
        "turns": _turns,
        "times": _times,
    }
    environment.globals = {name: environment.globals[name] for name in GLOBALS}
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without Jinja's escapes for HTML, as in transformers."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
