"""Small fleets whose story can be told by hand: what becomes of whom, in integer nanoseconds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from serving.metrics.timeline import Timekeeper, Timeline
from serving.request import Request
from serving.route.base import Router
from serving.route.front import Front
from serving.route.registry import ROUTERS
from serving.route.view import ReplicaSpec
from serving.schedule.contract import Joined, QuietSteps, StepReceipt
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.base import Policy
from serving.schedule.scheduler import Scheduler
from serving.schedule.spec import make
from sim.client_clock import Given
from sim.fleet.fleet import Fleet
from sim.fleet.plan import Engine, FleetPlan
from sim.noise import StepNoise
from sim.scripted import ScriptedCost
from workloads.clients import Clients
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, requests_of

both_paths = pytest.mark.parametrize("plain", [True, False], ids=["plain", "fast"])
TEN_A_TOKEN = ScriptedCost(execute=lambda step: 10 * step.num_tokens)
TEN_A_STEP = ScriptedCost(execute=10)


class Machine(NamedTuple):
    """A replica. policy: a name, or what makes one. noise: of a life. watch: gets the scheduler of each life."""

    cost: ScriptedCost = TEN_A_TOKEN
    role: str = "both"
    policy: str | Callable[[], Policy] = "fcfs"
    settings: Mapping[str, object] = {}
    kv_bytes_per_token: int = 1
    noise: Callable[[int], StepNoise | None] = lambda life: None
    watch: Callable[[Scheduler], None] = lambda scheduler: None


class Step(NamedTuple):
    """tokens: request id -> tokens computed."""

    replica: int
    schedule_at: int
    host_at: int
    tokens: dict[str, int]


def requests(*told: tuple[int, int, int], **more: Any) -> Workload:
    """(arrival, prompt tokens, output tokens) each; ids r0, r1, ... more: fields of each."""
    return Workload(
        "test",
        tuple(
            WorkloadRequest(f"r{i}", arrival, prompt, output, max_tokens=output, **more)
            for i, (arrival, prompt, output) in enumerate(told)
        ),
    )


class Told:
    """A fleet's witness, which spells out what is counted.

    story: ("sent", id), ("placed", id, replica), ("lost", id), ("up", replica, life), in order. tokens: when the client
    held each. moves: (replica, id) handed over.
    """

    def __init__(self, load: Workload, story: list[tuple[Any, ...]]) -> None:
        self.fleet: Fleet
        self.steps: list[Step] = []
        self.story = story
        self.tokens: dict[str, list[int]] = {r.request_id: [] for r in load.requests}
        self.moves: list[tuple[int, str]] = []
        self._replicas: list[int] = []
        self._members: list[dict[str, None]] = []
        self._arrivals: dict[str, int] = {}
        self._keeper = Timekeeper()

    def replica_steps(self, replica: int) -> list[tuple[int, int, dict[str, int]]]:
        return [step[1:] for step in self.steps if step.replica == replica]

    def places(self, request_id: str) -> list[int]:
        return [entry[2] for entry in self.story if entry[:2] == ("placed", request_id)]

    def timeline(self, request_id: str) -> Timeline:
        timeline = self._keeper.timeline(request_id, self._arrivals[request_id])
        assert timeline is not None
        return timeline

    def new_engine(self, replica: int, life: int) -> int:
        self.story.append(("up", replica, life))
        self._replicas.append(replica)
        self._members.append({})
        return len(self._replicas) - 1

    def sent(self, request: Request) -> None:
        self.story.append(("sent", request.request_id))
        self._arrivals[request.request_id] = request.arrival_time

    def placed(self, request_id: str, replica: int) -> None:
        self.story.append(("placed", request_id, replica))

    def lost(self, request_id: str) -> None:
        self.story.append(("lost", request_id))
        self._keeper.lost(request_id)

    def step(self, receipt: StepReceipt, engine: int, moved: Sequence[str]) -> None:
        self._keeper.add(receipt, engine, moved)
        plan, outcome = receipt.plan, receipt.outcome
        tokens: dict[str, int] = {}
        if plan.decodes is not None:
            self._change(engine, plan.decodes.left, plan.decodes.joined)
            if plan.decodes.num_seqs:
                tokens = dict.fromkeys(self._members[engine], 1)
                self._deliver(tokens, receipt.delivered_at)
        listed = zip(plan.request_ids, outcome.num_accepted, strict=True)
        self._deliver((r for r, accepted in listed for _ in range(accepted)), receipt.delivered_at)
        tokens |= dict(zip(plan.request_ids, plan.num_tokens, strict=True))
        self._change(engine, outcome.finished, ())
        self.steps.append(Step(self._replicas[engine], receipt.schedule_at, receipt.host_at, tokens))
        self.moves += [(self._replicas[engine], request_id) for request_id in moved]

    def quiet_steps(self, steps: QuietSteps, engine: int) -> None:
        self._keeper.add_quiet(steps, engine)
        self._change(engine, steps.left, steps.joined)
        for schedule_at, host_at, delivered_at in zip(
            steps.schedule_ats, steps.host_ats, steps.delivered_ats, strict=True
        ):
            self._deliver(self._members[engine], delivered_at)
            tokens = dict.fromkeys(self._members[engine], 1)
            self.steps.append(Step(self._replicas[engine], schedule_at, host_at, tokens))

    def _change(self, engine: int, left: Iterable[str], joined: Iterable[Joined]) -> None:
        for request_id in left:
            self._members[engine].pop(request_id, None)
        for entry in joined:
            self._members[engine][entry.request_id] = None

    def _deliver(self, request_ids: Iterable[str], at: int) -> None:
        for request_id in request_ids:
            self.tokens[request_id].append(at)


def play(
    load: Workload,
    machines: Sequence[Machine],
    router: str | Router = "round-robin",
    *,
    plain: bool = False,
    decode_router: str | Router | None = None,
    max_in_flight: int | None = None,
    predicted: Sequence[int] | None = None,
    story: list[tuple[Any, ...]] | None = None,
    **around: Any,
) -> Told:
    """predicted: output lengths, by request. story: filled while it happens. around: what else a FleetPlan is made of.

    Errors: as Fleet has them.
    """
    truth, told = Truth(load), Told(load, [] if story is None else story)

    def scheduler(machine: Machine) -> Scheduler:
        policy = machine.policy if isinstance(machine.policy, str) else machine.policy()
        tokens_of = None if plain else truth.placeholders
        return build_scheduler("vllm", policy, machine.settings, cost=machine.cost, tokens_of=tokens_of)

    def start(machine: Machine) -> Scheduler:
        machine.watch(made := scheduler(machine))
        return made

    def engine(machine: Machine) -> Engine:
        size = int(machine.settings.get("block_size", 16))  # type: ignore[call-overload]
        return Engine(
            lambda: start(machine),
            machine.cost,
            machine.kv_bytes_per_token,
            machine.role,
            machine.noise,
            block_size=size,
        )

    def front(router: str | Router, specs: Sequence[ReplicaSpec]) -> Front:
        return Front(make("router", router, ROUTERS) if isinstance(router, str) else router, specs)

    specs = [
        ReplicaSpec(i, "machine", scheduler(machine).config, machine.role, machine.cost)
        for i, machine in enumerate(machines)
    ]
    decodes = [spec for spec in specs if spec.role == "decode"]
    plan = FleetPlan(
        engines={i: engine(machine) for i, machine in enumerate(machines)},
        first=front(router, [spec for spec in specs if spec.role != "decode"]),
        decode=front(decode_router or "round-robin", decodes) if decodes else None,
        **around,
    )
    closed = load.has_parents or max_in_flight is not None
    output_of = truth.placeholders
    told.fleet = Fleet(
        plan,
        Clients(load, output_of=lambda r: output_of(r, 0), predicted=predicted, max_in_flight=max_in_flight)
        if closed
        else Given(requests_of(load, predicted)),
        truth,
        told,
        plain,
    )
    told.fleet.run()
    return told
