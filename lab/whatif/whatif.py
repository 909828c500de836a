"""A run, and the same run with one thing otherwise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.counterfactual.again import Again
from lab.counterfactual.changes import Change, Gpu
from lab.counterfactual.steer import Steering
from lab.reasons import most_frequent
from lab.whatif.decisions import Decision
from lab.whatif.effect import Effect
from lab.whatif.repeats import Chances, Repeats, chances, repeat
from serving.errors import ConfigError


@dataclass(frozen=True)
class WhatIf:
    """told: what is otherwise, in words. decision: what was taken otherwise, where it is one. effect: in the run
    itself, under its own chance. repeats: the same under others, where chance has a hand.
    """

    again: Again
    told: str
    changes: tuple[Change, ...]
    decision: Decision | None
    effect: Effect
    repeats: Repeats | None


def with_changes(
    again: Again,
    changes: Sequence[Change],
    repeated: Chances | None,
    advance: Callable[[float], None] = lambda done: None,
) -> WhatIf:
    """repeated: of planned(). advance: told how many of its pairs are done.

    Errors: ConfigError for a change that leaves the run as it was, and where no request finishes any more.
    """
    setup = again.setup
    for change in changes:
        changed = change.apply(setup)
        if changed == setup:
            raise ConfigError(
                f"--set {change.name} has no effect: the run has it so; leave it out, or give another value"
            )
        setup = changed
    effect = Effect(again.baseline, again.run(*changes))
    _check_some_finish(effect, f"--set {' '.join(change.name for change in changes)}")
    repeats = None if repeated is None else repeat(again, changes, repeated, advance)
    if effect.is_none and (repeats is None or all(one.is_none for one in repeats.effects)):
        names = ", ".join(change.name for change in changes)
        raise ConfigError(
            f"--set {names} changes nothing in this run: every time of every request stays as it was"
            f"{'' if repeats is None else f', in {len(repeats.effects)} repeats too'}"
        )
    told = ", ".join(change.told for change in changes)
    return WhatIf(again, told, tuple(changes), None, effect, repeats)


def planned(again: Again, changes: Sequence[Change], count: int | None) -> Chances | None:
    """What with_changes() is to repeat under; count: as of repeats.chances(), and so are errors."""
    profiles = [again.setup.profile, *(change.profile for change in changes if isinstance(change, Gpu))]
    return chances(again, profiles, count)


def with_decision(again: Again, decision: Decision) -> WhatIf:
    """Errors: ConfigError where the alternative is what was decided, or cannot be taken."""
    steering = decision.steering
    after = again.run(steering=steering)
    effect = Effect(again.baseline, after)
    if not steering.num_used:
        raise ConfigError(
            f"--take {steering.take}: {decision.decided}; the alternative is what was decided, or cannot be taken "
            f"(who is to give way did not run): nothing changes"
        )
    if effect.is_none:
        raise ConfigError(
            f"--take {steering.take}: {decision.decided}; with the alternative ({decision.instead}) every time of "
            f"every request stays as it was"
        )
    _check_some_finish(effect, f"--take {steering.take}")
    told = f"{steering.request_id}: {decision.instead}"
    return WhatIf(again, told, (), decision, effect, None)


def fresh(steering: Steering) -> Steering:
    """The same alternative, for another simulation."""
    return Steering(steering.request_id, steering.take, steering.step, steering.victim)


def _check_some_finish(effect: Effect, what: str) -> None:
    if len(effect.ids):
        return
    reasons = [reason for reason in effect.after.requests["reason"] if isinstance(reason, str)]
    if not reasons:
        raise ConfigError(f"{what}: no request finishes both ways, so there is nothing to compare")
    why = most_frequent(reasons)
    raise ConfigError(f"{what}: no request finishes any more; {why.alike} were turned away, as: {why.first}")
