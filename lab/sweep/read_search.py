"""How a sweep file says which points are run, and how often: the keys search and seeds."""

from collections.abc import Collection, Mapping
from typing import Any

from lab.run_figures import FIGURES
from lab.sweep.spec import Bound, Grid, Latin, Seeds, Study, Until
from lab.sweep.yaml_file import Node

DEFAULT_SEEDS = Seeds(fixed=(1,))
SEARCHES = ("grid", "latin-hypercube", "optuna")
_STUDY_KEYS = ("trials", "seed", "batch", "sampler", "objectives", "constraints", "ranges")


def read_seeds(node: Node | None) -> Seeds:
    """A list, a count (1 and so on), or a rule."""
    if node is None:
        return DEFAULT_SEEDS
    if node.is_list:
        return Seeds(fixed=tuple(item.integer(0) for item in node.choices()))
    if not node.is_mapping:
        return Seeds(fixed=tuple(range(1, node.integer(1) + 1)))
    given = node.mapping(("first", "least", "most", "until"))
    _need(node, given, ("most", "until"))
    first = given["first"].integer(0) if "first" in given else 1
    least = given["least"].integer(2) if "least" in given else 3
    most = given["most"].integer(least)
    until = given["until"].mapping(("figure", "half_width", "of"))
    _need(given["until"], until, ("figure", "half_width"))
    figure = until["figure"].one_of(FIGURES)
    of_all = "of" in until and until["of"].one_of(("contenders", "all")) == "all"
    return Seeds(first=first, least=least, most=most, until=_until(figure, until["half_width"], of_all))


def _until(figure: str, node: Node, of_all: bool) -> Until:
    if isinstance(node.value, str) and node.value.strip().endswith("%"):
        try:
            share = float(node.value.strip().removesuffix("%")) / 100
        except ValueError:
            raise node.fail(f"{node.value!r} is no percentage; write it like 2 %") from None
        if not 0 < share < float("inf"):
            raise node.fail("must be above 0 %")
        return Until(figure, share, True, of_all)
    if isinstance(node.value, str):
        raise node.fail("write 2 % (of the best mean), or a number in the figure's unit: seconds for times")
    return Until(figure, float(node.number(above=0)), False, of_all)


def read_search(node: Node | None) -> Grid | Latin | Study:
    if node is None:
        return Grid()
    if not node.is_mapping:
        kind = node.one_of(SEARCHES)
        if kind != "grid":
            raise node.fail(f"{kind} needs to be told more: docs/sweeps.md")
        return Grid()
    given = node.mapping(SEARCHES)
    if len(given) != 1:
        raise node.fail(f"give one of {', '.join(SEARCHES)}")
    kind, inside = next(iter(given.items()))
    if kind == "grid":
        raise inside.fail("a grid has no options; write search: grid")
    return _latin(inside) if kind == "latin-hypercube" else _study(inside)


def _latin(node: Node) -> Latin:
    given = node.mapping(("points", "seed", "ranges"))
    _need(node, given, ("points", "ranges"))
    return Latin(given["points"].integer(1), given["seed"].integer(0) if "seed" in given else 0)


def _study(node: Node) -> Study:
    given = node.mapping(_STUDY_KEYS)
    _need(node, given, ("trials", "objectives"))
    sampler = given["sampler"].one_of(("tpe", "random")) if "sampler" in given else "tpe"
    objectives = {
        name: way.one_of(("maximize", "minimize")) == "maximize"
        for name, way in given["objectives"].mapping(FIGURES).items()
    }
    if not objectives:
        raise given["objectives"].fail("name at least one figure")
    bounds = []
    for name, bound in given["constraints"].mapping(FIGURES).items() if "constraints" in given else ():
        sides = bound.mapping(("most", "least"))
        if not sides:
            raise bound.fail("give most, least or both")
        bounds += [Bound(name, "most" if side == "most" else "least", float(v.number())) for side, v in sides.items()]
    if bounds and sampler == "random":
        raise given["constraints"].fail("the random sampler obeys no constraints; leave them out, or take tpe")
    return Study(
        trials=given["trials"].integer(1),
        seed=given["seed"].integer(0) if "seed" in given else 0,
        batch=given["batch"].integer(1) if "batch" in given else 4,
        sampler="random" if sampler == "random" else "tpe",
        objectives=objectives,
        constraints=tuple(bounds),
    )


def _need(node: Node, given: Mapping[str, Any], keys: Collection[str]) -> None:
    for key in keys:
        if key not in given:
            raise node.fail(f"the key {key} is missing")
