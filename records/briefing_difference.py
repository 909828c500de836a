"""How what two schedulers were told before the same plan differs, in words."""

from collections.abc import Mapping
from itertools import zip_longest

from records.decision import Finding
from records.run import RunRecord
from records.step_columns import short
from records.told import Briefing, Told, briefings

_RULES = {"add": "arrival", "abort": "abort", "complete": "completion"}
Key = tuple[str, str | int]


def briefing_difference(a: RunRecord, b: RunRecord, place: int, x: Briefing, y: Briefing) -> Finding | None:
    """None where they are equal. x, y: of a and b, each the one before plan number `place`, counted from 0."""
    for i, (told_a, told_b) in enumerate(zip_longest(x.told, y.told)):
        if told_a != told_b:
            return _idle(i, x, y) or _input(a, b, place, x, y, told_a, told_b)
        if told_a is not None and told_b is not None and (told_a.refused is None) != (told_b.refused is None):
            words = f"A {_answer(told_a)}, B {_answer(told_b)}"
            return Finding("decision", "admission control", str(told_a.about), words)
    return None


def _answer(told: Told) -> str:
    return "takes it" if told.refused is None else f"refuses it ({told.refused})"


def _idle(i: int, x: Briefing, y: Briefing) -> Finding | None:
    """After the same i inputs one side planned, and the other was asked and answered idle."""
    for idler, idle, planner, plans in (("A", x, "B", y), ("B", y, "A", x)):
        if plans.step_id is not None and i == len(plans.told) and i in idle.idle_after:
            return Finding("decision", "idle", None, f"{planner} plans a step where {idler} answers idle")
    return None


def _input(
    a: RunRecord, b: RunRecord, place: int, x: Briefing, y: Briefing, told_a: Told | None, told_b: Told | None
) -> Finding:
    if told_a is not None and told_b is not None and _key(told_a) == _key(told_b):
        return _finding(told_a, _otherwise(told_a, told_b))
    if told_a is not None and _key(told_a) not in map(_key, y.told):
        return _finding(told_a, _earlier("A", told_a, "B", b, place))
    if told_b is not None and _key(told_b) not in map(_key, x.told):
        return _finding(told_b, _earlier("B", told_b, "A", a, place))
    first = told_a or told_b
    assert first is not None
    words = " and ".join(f"{name} is told first of {_what(t)}" for name, t in (("A", told_a), ("B", told_b)) if t)
    return _finding(first, f"{words}; both are told of both before this step")


def _earlier(name: str, told: Told, other: str, record: RunRecord, place: int) -> str:
    words = f"{name} is told of {_event(told)} at {told.at:.6f} s, before this step; {other}"
    for i, briefing in enumerate(briefings(record)):
        for later in briefing.told if i > place else ():
            if _key(later) == _key(told):
                when = "after its last step" if briefing.step_id is None else f"before step {briefing.step_id}"
                return f"{words} at {later.at:.6f} s, {when}"
    return f"{words} never"


def _otherwise(a: Told, b: Told) -> str:
    if isinstance(a.what, Mapping) and isinstance(b.what, Mapping):
        names = [name for name in dict.fromkeys([*a.what, *b.what]) if a.what.get(name) != b.what.get(name)]
        return f"stated otherwise: {'; '.join(_value(name, a.what, b.what) for name in names)}"
    counts = [[len(tokens) for tokens in told.tokens] for told in (a, b)]
    return f"tokens per request of step {a.about}: A {short(counts[0])}, B {short(counts[1])}"


def _value(name: str, a: Mapping[str, object], b: Mapping[str, object]) -> str:
    if name == "prompt_token_ids":
        return "other prompt tokens"
    return f"{name} {a.get(name)} in A, {b.get(name)} in B"


def _finding(told: Told, words: str) -> Finding:
    request_id = told.about if isinstance(told.about, str) else None
    return Finding("input", _RULES.get(told.type, told.type), request_id, words)


def _event(told: Told) -> str:
    if told.type == "add":
        return f"it (arrived {told.arrival:.6f} s)"
    return "its abort" if told.type == "abort" else _what(told)


def _what(told: Told) -> str:
    return (
        f"the {_RULES.get(told.type, told.type)} of {'step' if isinstance(told.about, int) else 'request'} {told.about}"
    )


def _key(told: Told) -> Key:
    return told.type, told.about
