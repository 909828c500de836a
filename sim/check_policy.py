"""The conformance test for policies: random runs in tight memory, every invariant checked, failures made small.

    from sim.check_policy import check_policy
    check_policy(MyPolicy)

A `Case` is one run, complete in itself: an engine, requests with their hidden output lengths, aborts, step durations.
`draw` makes one from a seeded generator, `play` runs it, `shrink` makes a failing one small.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from serving.errors import InvariantError, PolicyError, RequestError, ServetwinError
from serving.request import Request, Status
from serving.schedule.admission.base import AdmissionControl
from serving.schedule.contract import Idle, Plan
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.base import Policy
from serving.schedule.presets import PRESETS
from serving.schedule.scheduler import Scheduler
from serving.state.eviction.base import Eviction
from serving.state.reservation.base import Reservation
from serving.view import RequestView
from sim.invariants import Watched
from sim.scripted import ScriptedCost

STOP = 2
MAX_MODEL_LEN = 64
COST = ScriptedCost(execute=lambda step: 10 + step.num_tokens, schedule=2, copy=3)

MakePolicy = Callable[[], Policy]


@dataclass(frozen=True)
class Client:
    """A request, and what only the world knows: its output ends after output_len tokens, if max_tokens does not end it
    before; abort_at: when its client leaves, in integer nanoseconds; None: it stays.
    """

    request: Request
    output_len: int
    abort_at: int | None = None

    def __str__(self) -> str:
        r = self.request
        leaves = "" if self.abort_at is None else f", leaves at {self.abort_at} ns"
        return (
            f"{r.request_id}: arrives at {r.arrival_time} ns, prompt {r.prompt_len}, max_tokens {r.max_tokens}, "
            f"output {self.output_len}, priority {r.priority}, tenant {r.tenant!r}, session {r.session_id!r}, "
            f"deadline {r.deadline} ns, predicted {r.predicted_output_len}{leaves}"
        )


@dataclass(frozen=True)
class Case:
    """step_ns: durations of the steps in integer nanoseconds, over and over."""

    preset: str
    settings: Mapping[str, object]
    clients: tuple[Client, ...]
    step_ns: tuple[int, ...]

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        lines = [f"preset {self.preset}; {settings}; step_ns {self.step_ns}", *map(str, self.clients)]
        return "\n".join(f"    {line}" for line in lines)

    def scheduler(
        self,
        policy: Policy,
        reservation: Reservation | None = None,
        eviction: Eviction | None = None,
        admission: AdmissionControl | None = None,
    ) -> Scheduler:
        return build_scheduler(
            self.preset,
            policy,
            self.settings,
            reservation=reservation,
            eviction=eviction if self.settings["enable_prefix_caching"] else None,
            admission=admission,
            cost=COST,
        )

    def watch(self, scheduler: Scheduler, policy: Policy) -> Watched:
        return Watched(
            scheduler,
            work_conserving=_never_holds_back(policy),
            limits_prefill_only=self.preset == "nano-vllm",
        )

    @property
    def most_steps(self) -> int:
        """Schedule calls in which every request must have ended, aborts and late arrivals included.

        A step computes a token at least. In first come, first served under vllm the oldest is never a victim, so each
        request is computed once while it is the oldest: T calls, T being all tokens of all requests, and 10 more a
        request. Under other orders, and where prefill stops decodes, others can be computed again for each token that
        the foremost gains; n times that, for n requests, is beyond what any policy here needs and finite.
        """
        n = len(self.clients)
        tokens = sum(c.request.prompt_len + min(c.output_len, c.request.max_tokens) for c in self.clients)
        return (1 + n) * tokens + 10 * n


def _never_holds_back(policy: Policy) -> bool:
    return type(policy).admit is Policy.admit and type(policy).chunk is Policy.chunk


def draw(rng: random.Random, preset: str | None = None) -> Case:
    """A small engine, short of memory, and a handful of requests, some with a common beginning."""
    preset = preset or rng.choice(list(PRESETS))
    step_ns = (*(rng.choice([0, 1, 10, 10, 10, 100]) for _ in range(5)), 10)  # the last: time goes on
    clients = tuple(_clients(rng))
    settings = _settings(rng, preset, max(c.request.prompt_len + c.request.max_tokens - 1 for c in clients))
    return Case(preset, settings, clients, step_ns)


def _settings(rng: random.Random, preset: str, largest: int) -> dict[str, object]:
    """largest: tokens of KV that the longest request needs; mostly the pool holds little more than that."""
    block_size = rng.choice([1, 2, 3, 4, 8, 16])
    needed = -(-min(largest, MAX_MODEL_LEN - 1) // block_size)
    caches = rng.random() < 0.7
    settings: dict[str, object] = {
        "block_size": block_size,
        "num_blocks": max(1, int(needed * rng.choice([0.7, 1, 1, 1.2, 1.5, 2, 4]))),
        "max_num_seqs": rng.choice([1, 2, 4, 4, 8]),
        "max_num_batched_tokens": rng.choice([1, 3, 8, 20, MAX_MODEL_LEN, MAX_MODEL_LEN]),
        "max_model_len": MAX_MODEL_LEN,
        "enable_prefix_caching": caches,
    }
    if rng.random() < 0.4:
        swaps = not caches or rng.random() < 0.6
        settings |= {"num_host_blocks": rng.randint(1, 12), "preemption": "swap" if swaps else "recompute"}
    settings["async_scheduling"] = rng.choice([True, False])
    settings["long_prefill_token_threshold"] = rng.choice([0, 0, 2, 5])
    settings["enable_chunked_prefill"] = settings["max_num_batched_tokens"] != MAX_MODEL_LEN or rng.choice(
        [True, False]
    )
    return {name: value for name, value in settings.items() if name not in PRESETS[preset].without_effect}


def _clients(rng: random.Random) -> Iterator[Client]:
    """Arrivals and departures lie on a grid that step ends hit too, so ties happen."""
    horizon = rng.choice([0, 50, 400])
    prompt_len = 8
    for i in range(rng.randint(2, 9)):
        prompt_len = rng.choice([prompt_len, rng.randint(1, 30), rng.randint(1, 30)])
        own = rng.choice([0, 0, rng.randint(0, prompt_len)])  # its last tokens are its own, the others are common
        output_len = rng.choice([1, rng.randint(1, 30), rng.randint(1, 30)])
        arrival_time = rng.randrange(0, horizon + 1, 10)
        request = Request(
            request_id=f"r{i}",
            arrival_time=arrival_time,
            prompt_token_ids=(*range(100, 100 + prompt_len - own), *range(1000 * (i + 1), 1000 * (i + 1) + own)),
            max_tokens=rng.choice([output_len, output_len + 3, rng.randint(1, 30)]),
            stop_token_ids=(STOP,),
            priority=rng.randint(0, 2),
            tenant=rng.choice(["", "a", "b"]),
            session_id=rng.choice(["", "s", "t"]),
            deadline=arrival_time + rng.randint(0, 500),
            predicted_output_len=rng.choice([output_len, rng.randint(1, 30)]),
        )
        leaves = rng.random() < 0.25
        yield Client(request, output_len, arrival_time + rng.randrange(0, 300, 5) if leaves else None)


@dataclass
class Run:
    """What happened: plans and idle steps in order, the output of each request, who was turned away and why."""

    steps: list[Plan | Idle] = field(default_factory=list)
    outputs: dict[str, list[int]] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)


class StarvationError(PolicyError):
    """Requests wait, and nothing that is still to come would let them go on; or there is no end in sight."""


def play(case: Case, engine: Scheduler | Watched) -> Run:
    """Drive an engine through a case. Errors: StarvationError, and whatever the engine raises."""
    return _Play(case, engine).run()


class _Play:
    def __init__(self, case: Case, engine: Scheduler | Watched) -> None:
        self._case = case
        self._engine = engine
        self._now = 0
        self._done = Run()
        self._in_flight: deque[tuple[Plan, int]] = deque()
        self._device_free_at = 0
        self._output_len = {c.request.request_id: c.output_len for c in case.clients}
        self._sampled = dict.fromkeys(self._output_len, 0)
        leaving = [(c.abort_at, 0, c.request.request_id, c) for c in case.clients if c.abort_at is not None]
        arriving = [(c.request.arrival_time, 1, c.request.request_id, c) for c in case.clients]
        self._events = deque(sorted([*leaving, *arriving], key=lambda event: event[:3]))

    def run(self) -> Run:
        engine, case = self._engine, self._case
        durations = (case.step_ns[k % len(case.step_ns)] for k in count())
        while True:
            self._tell(self._now)
            if len(self._done.steps) > case.most_steps:
                raise StarvationError(f"no end in sight at step {case.most_steps}; {self._waiting()} not served")
            step = engine.schedule(self._now)
            if isinstance(step, Plan):
                self._done.steps.append(step)
                self._device_free_at = max(self._device_free_at, self._now) + next(durations)
                self._in_flight.append((step, self._device_free_at))
                if len(self._in_flight) < engine.max_in_flight:
                    continue
            elif step.preempted:
                self._done.steps.append(step)
                continue
            elif not self._in_flight:
                self._done.steps.append(step)
                if not self._sleep(step.wake_at):
                    return self._done
                continue
            self._complete(*self._in_flight.popleft())

    def _tell(self, until: int, including: bool = True) -> None:
        """Aborts, then arrivals by id, of each instant."""
        while self._events and (self._events[0][0] < until or (including and self._events[0][0] == until)):
            at, arrives, request_id, client = self._events.popleft()
            self._now = max(self._now, at)
            if not arrives:
                self._engine.abort(request_id, self._now)
                continue
            try:
                self._engine.add(client.request, self._now)
            except RequestError as error:
                self._done.rejected[request_id] = str(error)

    def _sleep(self, wake_at: int | None) -> bool:
        """Whether there is anything to wait for."""
        times = [self._events[0][0]] if self._events else []
        if wake_at is not None:
            times.append(wake_at)
        if not times:
            if self._engine.has_work:
                number = sum(isinstance(step, Plan) for step in self._done.steps)
                raise StarvationError(
                    f"step {number}: nothing arrives any more, and {self._waiting()} held back for ever"
                )
            return False
        self._now = max(self._now, min(times))
        return True

    def _complete(self, plan: Plan, ends_at: int) -> None:
        self._tell(ends_at, including=False)
        self._now = max(self._now, ends_at)
        tokens = [self._token(r) if s else () for r, s in zip(plan.request_ids, plan.samples, strict=True)]
        outcome = self._engine.complete(plan.step_id, tokens, self._now)
        for request_id, new, accepted in zip(plan.request_ids, tokens, outcome.num_accepted, strict=True):
            self._done.outputs.setdefault(request_id, []).extend(new[:accepted])
        self._done.finished += outcome.finished

    def _token(self, request_id: str) -> tuple[int, ...]:
        self._sampled[request_id] += 1
        index = self._sampled[request_id]
        return (STOP,) if index >= self._output_len[request_id] else (500 + index,)

    def _waiting(self) -> str:
        ended = {*self._done.finished, *self._done.rejected}
        names = [c.request.request_id for c in self._case.clients if c.request.request_id not in ended]
        return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


@dataclass(frozen=True)
class Failure:
    """kind: what sort, the same for a failure made small. words: what happened."""

    kind: str
    words: str


def failure_of(case: Case, make_policy: MakePolicy) -> Failure | None:
    """Play it twice, with a fresh policy each."""
    first: Run | Failure = _judge(case, make_policy, watched=True)
    second: Run | Failure = _judge(case, make_policy, watched=False)
    if isinstance(first, Failure):
        return first
    if isinstance(second, Failure):
        return Failure("differs", f"the first run went well, the second one failed: {second.words}")
    for k, (one, other) in enumerate(zip(first.steps, second.steps, strict=False)):
        if one != other:
            words = f"two runs of the same requests differ at step {k}: {_short(one)}, then {_short(other)}"
            return Failure("differs", words)
    return None if len(first.steps) == len(second.steps) else Failure("differs", "two runs differ in length")


def _judge(case: Case, make_policy: MakePolicy, watched: bool) -> Run | Failure:
    policy = make_policy()
    try:
        scheduler = case.scheduler(policy)
        run = play(case, case.watch(scheduler, policy) if watched else scheduler)
        still = kept(policy)
    except StarvationError as error:
        return Failure("stuck", str(error))
    except PolicyError as error:
        return Failure("wrong answer", str(error))
    except InvariantError as error:
        return Failure("invariant", f"an invariant broke: {error}")
    except ServetwinError:
        raise  # the policy cannot be used like this: its options, or what it needs
    except Exception as error:
        return Failure("raised", f"raised {type(error).__name__}: {error}")
    return Failure("keeps", still) if still else run


def kept(policy: Policy) -> str:
    """In words, what a policy still holds of requests that have ended; "": nothing."""
    for name, value in vars(policy).items():
        held = [*value, *value.values()] if isinstance(value, dict) else value
        if name == "engine" or not isinstance(held, list | tuple | set | frozenset | deque):
            continue
        ended = sum(isinstance(v, RequestView) and v.status in (Status.FINISHED, Status.ABORTED) for v in held)
        if ended:
            return f"all requests have ended, but .{name} keeps {ended} of them; drop them in finished() and aborted()"
    return ""


def _short(step: Plan | Idle) -> str:
    if isinstance(step, Idle):
        return "idle"
    return ", ".join(f"{r} {n} tokens" for r, n in zip(step.request_ids, step.num_tokens, strict=True))


def shrink(case: Case, fails: Callable[[Case], bool], most: int = 400) -> Case:
    """Fewer requests, then shorter ones, as long as it still fails. most: runs to spend on it."""
    tries = 0
    progress = True
    while progress:
        progress = False
        for smaller in _smaller(case):
            tries += 1
            if tries > most:
                return case
            if fails(smaller):
                case, progress = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Big steps first."""
    clients = case.clients
    size = len(clients) // 2
    while size:
        for at in range(0, len(clients), size):
            rest = clients[:at] + clients[at + size :]
            if rest:
                yield replace(case, clients=rest)
        size //= 2
    for plain in (
        {"async_scheduling": False},
        {"long_prefill_token_threshold": 0},
        {"enable_chunked_prefill": True},
        {"num_host_blocks": 0, "preemption": "recompute"},
        {"enable_prefix_caching": False},
    ):
        settings = {**case.settings, **{name: value for name, value in plain.items() if name in case.settings}}
        idle_host = settings.get("num_host_blocks") and settings["preemption"] == "recompute"
        if settings != case.settings and not (idle_host and not settings["enable_prefix_caching"]):
            yield replace(case, settings=settings)
    if set(case.step_ns) != {10}:
        yield replace(case, step_ns=(10,))
    for i, client in enumerate(clients):
        for simpler in _simpler(client):
            yield replace(case, clients=(*clients[:i], simpler, *clients[i + 1 :]))


def _simpler(client: Client) -> Iterator[Client]:
    request, n = client.request, client.request.prompt_len
    if client.abort_at is not None:
        yield replace(client, abort_at=None)
    for fewer in {1: None, n // 2: None, n - 1: None}:
        if 0 < fewer < n:
            yield replace(client, request=replace(request, prompt_token_ids=request.prompt_token_ids[:fewer]))
    for fewer in {1: None, client.output_len // 2: None, client.output_len - 1: None}:
        if 0 < fewer < client.output_len:
            yield replace(client, output_len=fewer)
    if request.max_tokens > client.output_len:
        yield replace(client, request=replace(request, max_tokens=client.output_len))
    plainer = (
        replace(request, arrival_time=0),
        replace(request, priority=0),
        replace(request, tenant=""),
        replace(request, session_id=""),
    )
    for simpler in plainer:
        if simpler != request:
            yield replace(client, request=simpler)


def check_policy(policy: type[Policy] | MakePolicy, runs: int = 200, seed: int = 0) -> None:
    """Whether a policy keeps the contract (docs/policies.md), in `runs` random runs under every preset.

    policy: the class, or a function without arguments that makes one. Errors: PolicyError that says what went wrong, in
    which step, and the few requests that show it; ConfigError if it cannot be made.
    """
    rng = random.Random(seed)
    presets = list(PRESETS)
    for number in range(runs):
        case = draw(rng, presets[number % len(presets)])
        failure = failure_of(case, policy)
        if failure is None:
            continue
        kind = failure.kind

        def fails(smaller: Case, kind: str = kind) -> bool:
            found = failure_of(smaller, policy)
            return found is not None and found.kind == kind

        case = shrink(case, fails)
        failure = failure_of(case, policy) or failure
        raise PolicyError(
            f"{type(policy()).__name__}: {failure.words}\n  in run {number} of seed {seed}, made small:\n{case}"
        )
