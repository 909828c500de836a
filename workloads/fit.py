"""A synthetic twin of a workload: other requests, drawn from models of its arrivals, lengths, prefixes and sessions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from records.units import EXACT_UNTIL_NS
from serving.errors import ConfigError
from workloads.describe import Description, begin_times, describe
from workloads.fitting.arrivals import Arrivals, fit_arrivals
from workloads.fitting.lengths import Lengths, fit_lengths
from workloads.fitting.marginal import Marginal
from workloads.fitting.prompts import Prompts, fit_prompts, own_length
from workloads.fitting.sessions import Sessions, chains_of, fit_sessions
from workloads.statistics.summary import ks_distance
from workloads.streams import stream
from workloads.workload import Workload, WorkloadRequest

MAX_KS = 0.03
"""A family further than this from the sample gives way to the sample's own quantiles."""


@dataclass(frozen=True)
class Choice:
    """quantity: what was fitted. family: what it is drawn from. ks: of each family that was tried."""

    quantity: str
    family: str
    ks: dict[str, float]


@dataclass(frozen=True)
class Twin:
    """ks_*: two-sample Kolmogorov-Smirnov distances of source and twin; gaps are between arrivals."""

    workload: Workload
    choices: tuple[Choice, ...]
    source: Description
    twin: Description
    ks_prompt: float
    ks_output: float
    ks_gaps: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Model:
    """fresh: requests that repeat no history. later: those that do; None without any. named: sessions have ids."""

    arrivals: Arrivals
    sessions: Sessions | None
    prompts: Prompts
    fresh: Lengths
    later: Lengths | None
    named: bool


def fit(
    workload: Workload, *, name: str, seed: int = 0, num_requests: int | None = None, max_ks: float = MAX_KS
) -> Twin:
    """Fit every part of the workload and draw a twin of num_requests (None: as many as it has).

    max_ks: the Kolmogorov-Smirnov distance up to which a family (exponential, gamma, Weibull for gaps; lognormal, gamma
    for lengths) stands for the sample. Errors: ConfigError; WorkloadError for what cannot be fitted.
    """
    if num_requests is not None and num_requests < 1:
        raise ConfigError(f"requests is {num_requests}; it must be at least 1")
    if not 0 <= max_ks <= 1:
        raise ConfigError(f"max-ks is {max_ks:g}; it is a distance from 0 to 1")
    model = _fit(workload, max_ks)
    twin = Workload(name, tuple(_draw(model, num_requests or len(workload.requests), seed)))
    return Twin(
        workload=twin,
        choices=tuple(_choices(model)),
        source=describe(workload),
        twin=describe(twin),
        ks_prompt=ks_distance(_column(workload, "prompt_len"), _column(twin, "prompt_len")),
        ks_output=ks_distance(_column(workload, "output_len"), _column(twin, "output_len")),
        ks_gaps=ks_distance(_gaps(workload), _gaps(twin)),
        notes=tuple(_not_kept(workload)),
    )


def _fit(workload: Workload, max_ks: float) -> _Model:
    chains = chains_of(workload)
    pairs = [(r, before) for chain in chains for before, r in zip([None, *chain], chain, strict=False)]
    fresh = [(r, b) for r, b in pairs if r.turn == 1]
    later = [(r, b) for r, b in pairs if r.turn > 1]
    in_order = sorted((r for r, _ in fresh), key=lambda r: (r.arrival_time, r.request_id))
    return _Model(
        arrivals=fit_arrivals(begin_times(workload), max_ks),
        sessions=fit_sessions(chains),
        prompts=fit_prompts(in_order),
        fresh=_lengths(fresh, max_ks),
        later=_lengths(later, max_ks) if later else None,
        named=any(r.session_id for r in workload.requests),
    )


def _lengths(pairs: Sequence[tuple[WorkloadRequest, WorkloadRequest | None]], max_ks: float) -> Lengths:
    own = np.array([own_length(r, before) for r, before in pairs], dtype=np.float64)
    return fit_lengths(own, np.array([r.output_len for r, _ in pairs], dtype=np.float64), max_ks)


class _Slot(NamedTuple):
    """A request of the twin before its lengths are drawn. parent: the one before in its session, or ""."""

    request_id: str
    begin: int
    parent: str
    repeats: bool
    session_id: str


def _draw(model: _Model, num: int, seed: int) -> list[WorkloadRequest]:
    slots = _slots(model, num, seed)
    lengths = _drawn_lengths(model, slots, seed)
    thinks = _think_times(model.sessions, slots, seed)
    alone = [_request(slot, lengths[slot.request_id], think) for slot, think in zip(slots, thinks, strict=True)]
    first = [r for r, slot in zip(alone, slots, strict=True) if not slot.repeats]
    made = {r.request_id: r for r in model.prompts.begin(first, stream(seed, "twin prefixes"))}
    for request, slot in zip(alone, slots, strict=True):
        if slot.repeats:
            before = made[slot.parent]
            history = before.prompt_len + before.output_len
            made[slot.request_id] = replace(request, prompt_len=history + request.prompt_len, turn=before.turn + 1)
    return list(made.values())


def _request(slot: _Slot, lengths: tuple[int, int], think_time: int) -> WorkloadRequest:
    """Its own text alone; one that repeats the one before is not its next turn yet."""
    own, output = lengths
    parent = (slot.parent,) if slot.parent else ()
    return WorkloadRequest(
        slot.request_id,
        slot.begin,
        own,
        output,
        max_tokens=output,
        session_id=slot.session_id,
        parent=parent,
        think_time=think_time,
    )


def _slots(model: _Model, num: int, seed: int) -> list[_Slot]:
    sessions = model.sessions
    sizes = [1] * num if sessions is None else sessions.draw(num, stream(seed, "twin sessions"))
    repeats = [False] * num if sessions is None else sessions.repeats(num, stream(seed, "twin history")).tolist()
    begins = model.arrivals.draw(len(sizes), stream(seed, "twin arrivals")).tolist()
    if begins[-1] > EXACT_UNTIL_NS:
        raise ConfigError(f"{num} requests at the source's rate last longer than 26 days; ask for fewer")
    digits = len(str(num - 1))
    slots: list[_Slot] = []
    for i, (size, begin) in enumerate(zip(sizes, begins, strict=True)):
        session_id = f"{seed}-session-{i}" if sessions is not None and model.named else ""
        for position in range(size):
            parent = slots[-1].request_id if position else ""
            repeating = bool(parent) and repeats[len(slots)]
            slots.append(_Slot(f"{seed}-{len(slots):0{digits}}", begin, parent, repeating, session_id))
    return slots


def _drawn_lengths(model: _Model, slots: list[_Slot], seed: int) -> dict[str, tuple[int, int]]:
    """Own text and output, in tokens, both 1 or more."""
    drawn: dict[str, tuple[int, int]] = {}
    for repeats, lengths, name in ((False, model.fresh, "twin lengths"), (True, model.later, "twin later lengths")):
        ids = [slot.request_id for slot in slots if slot.repeats == repeats]
        if ids and lengths is not None:
            own, output = lengths.draw(len(ids), stream(seed, name))
            drawn.update(zip(ids, zip(np.maximum(own, 1).tolist(), output.tolist(), strict=True), strict=True))
    return drawn


def _think_times(sessions: Sessions | None, slots: list[_Slot], seed: int) -> list[int]:
    if sessions is None:
        return [0] * len(slots)
    drawn = sessions.think_times.quantiles(stream(seed, "twin think times").random(len(slots)))
    return [int(think) if slot.parent else 0 for think, slot in zip(drawn.tolist(), slots, strict=True)]


def _choices(model: _Model) -> Iterator[Choice]:
    yield _choice("gaps", model.arrivals.gaps, model.arrivals.family)
    for lengths, which in ((model.fresh, ""), (model.later, " of later turns")):
        if lengths is not None:
            yield _choice(f"prompt{which}", lengths.prompt, lengths.prompt.family)
            yield _choice(f"output{which}", lengths.output, lengths.output.family)


def _choice(quantity: str, marginal: Marginal, family: str) -> Choice:
    return Choice(quantity, family, dict(marginal.ks))


def _column(workload: Workload, field: str) -> NDArray[np.float64]:
    return np.array([getattr(r, field) for r in workload.requests], dtype=np.float64)


def _gaps(workload: Workload) -> NDArray[np.float64]:
    times = begin_times(workload)
    return np.diff(times).astype(np.float64) if times.size > 1 else np.zeros(1)


def _not_kept(workload: Workload) -> Iterator[str]:
    requests = workload.requests
    waiting = any(r.parent for r in requests)
    for what, which in (
        ("tenants", [r.tenant for r in requests]),
        ("priorities", [r.priority for r in requests]),
        ("deadlines and service levels", [r.deadline or r.ttft_slo or r.tpot_slo for r in requests]),
        ("session ids of requests that wait for none", [] if waiting else [r.session_id for r in requests]),
        ("room in max_tokens above the output", [r.max_tokens > r.output_len for r in requests]),
    ):
        if any(which):
            yield f"not in the twin: {what}, which {sum(map(bool, which))} requests of the source have"
