"""Why another run of the same requests differs: parts of the two engines are exchanged, in all orders (Shapley 1953).

rules    preset, reservation, eviction, admission, and the settings that are no number of something
policy   who is first, who gives way
limits   seats and token budget
KV       blocks, and their size
steps    step times: profile, speed, link
clients  what they are told to wait for
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from calibration.substitution.shapley import shapley
from lab.counterfactual.again import Again
from lab.counterfactual.outcome import Outcome
from lab.counterfactual.setup import Setup
from lab.counterfactual.simulate import simulate
from serving.errors import ConfigError
from serving.schedule.presets import PRESETS

LIMITS = ("max_num_seqs", "max_num_batched_tokens")
POOL = ("num_blocks", "block_size")
PARTS = ("rules", "policy", "limits", "KV", "steps", "clients")
FIGURES: Mapping[str, Callable[[Outcome], float]] = {
    "TTFT mean": lambda o: float(o.finished["ttft"].mean()),
    "TTFT p99": lambda o: float(o.finished["ttft"].quantile(0.99)),
    "TPOT mean": lambda o: float(o.finished["tpot"].mean()),
    "E2E mean": lambda o: float(o.finished["e2e"].mean()),
}


@dataclass(frozen=True)
class Difference:
    """parts: those that differ. figures: name -> (this run, the other, part -> its share of other - this); seconds."""

    parts: Mapping[str, str]
    figures: Mapping[str, tuple[float, float, Mapping[str, float]]]
    simulations: int

    def dominant(self, figure: str) -> str:
        """The part with most of the difference, in its own direction. "": nothing differs."""
        before, after, shares = self.figures[figure]
        sign = 1 if after >= before else -1
        return max(shares, key=lambda part: sign * shares[part], default="")


def against(this: Again, other: Again) -> Difference:
    """Errors: ConfigError where the runs are not of the same requests, or do not differ."""
    a, b = this.setup, other.setup
    if a.workload.sha256 != b.workload.sha256:
        raise ConfigError(
            f"{this.record.folder} and {other.record.folder}: not of the same requests; give two runs of one workload"
        )
    parts = {part: told for part in PARTS if (told := _differs(part, a, b))}
    if not parts:
        raise ConfigError(f"{this.record.folder} and {other.record.folder}: the same engine on the same steps")
    known: dict[frozenset[str], dict[str, Fraction]] = {}

    def figures(exchanged: frozenset[str]) -> dict[str, Fraction]:
        if exchanged not in known:
            setup = a
            for part in PARTS:
                if part in exchanged:
                    setup = _with(part, setup, b)
            found = simulate(_settled(setup), this.chance)
            known[exchanged] = {name: Fraction(figure(found)) for name, figure in FIGURES.items()}
        return known[exchanged]

    everything = frozenset(parts)
    shown: dict[str, tuple[float, float, Mapping[str, float]]] = {}
    for name in FIGURES:
        shares = shapley(list(parts), lambda exchanged, name=name: figures(exchanged)[name])  # type: ignore[misc]
        before, after = figures(frozenset())[name], figures(everything)[name]
        shown[name] = (float(before), float(after), {part: float(share) for part, share in shares.items()})
    return Difference(parts, shown, len(known))


def _with(part: str, to: Setup, of: Setup) -> Setup:
    """to, with this part as the other has it."""
    mine, theirs = to.engine, of.engine

    def settings(names: tuple[str, ...]) -> dict[str, object]:
        kept = {name: value for name, value in mine.settings.items() if name not in names}
        return {**kept, **{name: theirs.settings[name] for name in names if name in theirs.settings}}

    match part:
        case "rules":
            own = {name: value for name, value in mine.settings.items() if name in (*LIMITS, *POOL)}
            rest = {name: value for name, value in theirs.settings.items() if name not in (*LIMITS, *POOL)}
            rules = replace(
                mine,
                preset=theirs.preset,
                reservation=theirs.reservation,
                eviction=theirs.eviction,
                admission=theirs.admission,
                settings={**rest, **own},
            )
            return replace(to, engine=rules)
        case "policy":
            return replace(to, engine=replace(mine, policy=theirs.policy), predictor=of.predictor)
        case "limits":
            return replace(to, engine=replace(mine, settings=settings(LIMITS)))
        case "KV":
            return replace(to, engine=replace(mine, settings=settings(POOL)))
        case "steps":
            return replace(to, profile=of.profile, speed=of.speed, host_link=of.host_link, durations=of.durations)
        case _:
            return replace(to, max_in_flight=of.max_in_flight)


def _settled(setup: Setup) -> Setup:
    """Without settings that have no effect under its preset."""
    left = PRESETS[setup.engine.preset].without_effect
    settings = {name: value for name, value in setup.engine.settings.items() if name not in left}
    return replace(setup, engine=replace(setup.engine, settings=settings))


def _differs(part: str, a: Setup, b: Setup) -> str:
    """What differs, for a person; "": nothing."""
    if _settled(_with(part, a, b)) == _settled(a):
        return ""
    match part:
        case "rules":
            return f"{_rules(a)} -> {_rules(b)}"
        case "policy":
            return f"{a.engine.policy} -> {b.engine.policy}"
        case "limits":
            return _numbers(LIMITS, a, b)
        case "KV":
            return _numbers(POOL, a, b)
        case "steps":
            return f"{a.profile.name} x {a.speed.scale.execute:.3g} -> {b.profile.name} x {b.speed.scale.execute:.3g}"
        case _:
            return f"{a.max_in_flight} -> {b.max_in_flight} in flight"


def _rules(setup: Setup) -> str:
    engine = setup.engine
    return "/".join([engine.preset, *(p for p in (engine.reservation, engine.eviction, engine.admission) if p)])


def _numbers(names: tuple[str, ...], a: Setup, b: Setup) -> str:
    pairs = [(name, a.engine.settings.get(name), b.engine.settings.get(name)) for name in names]
    return ", ".join(f"{name} {before} -> {after}" for name, before, after in pairs if before != after)
