"""Whatever happens to a fleet: each request ends once, and each token comes once, in order, on both paths alike."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ServetwinError
from sim.fleet.autoscale import Autoscale
from sim.fleet.plan import Failure, LinkSpec, Slowdown
from sim.scripted import ScriptedCost
from tests.sim.fleet.test_autoscale import Wishes
from tests.sim.fleet.world import Machine, Told, play
from workloads.workload import Workload, WorkloadRequest

instants = st.integers(0, 250)
ROUTERS = ("round-robin", "join-shortest-queue", "power-of-two", "least-kv", "predicted-ttft", "central-queue(limit=2)")


@st.composite
def loads(draw: st.DrawFn) -> Workload:
    requests: list[WorkloadRequest] = []
    for i in range(draw(st.integers(1, 8))):
        output = draw(st.integers(1, 12))
        parent: tuple[str, ...] = ()
        if requests and draw(st.integers(0, 3)) == 0:
            parent = (draw(st.sampled_from(requests)).request_id,)
        think_time = draw(st.sampled_from([0, 15])) if parent else 0
        requests.append(
            WorkloadRequest(
                f"r{i}",
                draw(instants),
                draw(st.integers(1, 40)),
                output,
                output + draw(st.sampled_from([0, 3])),
                parent=parent,
                think_time=think_time,
            )
        )
    return Workload("drawn", tuple(requests))


@st.composite
def machines(draw: st.DrawFn, role: str, return_: int) -> list[Machine]:
    cost = ScriptedCost(
        execute=draw(st.sampled_from([7, 10, lambda step: 5 + step.num_tokens])),
        schedule=draw(st.sampled_from([0, 1])),
        return_=return_,
        complete=draw(st.sampled_from([0, 2])),
    )
    chosen: dict[str, object] = {
        "max_num_seqs": draw(st.sampled_from([1, 3, 8])),
        "max_num_batched_tokens": draw(st.sampled_from([3, 16, 64])),
        "block_size": draw(st.sampled_from([1, 4])),
        "num_blocks": draw(st.sampled_from([16, 60, 200])),
        "async_scheduling": draw(st.integers(0, 4)) == 0,
    }
    return [Machine(cost, role, settings=chosen, kv_bytes_per_token=2)] * draw(st.integers(1, 3))


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Machine], dict[str, Any]]:
    """One return time for all: no token overtakes another on its way to the client."""
    return_ = draw(st.sampled_from([0, 4, 30]))
    around: dict[str, Any] = {
        "router": draw(st.sampled_from(ROUTERS)),
        "retries": draw(st.integers(0, 3)),
        "metrics_every": draw(st.sampled_from([0, 20])),
    }
    if around["metrics_every"]:
        around["metrics_delay"] = draw(st.sampled_from([0, 7, 50]))
    if draw(st.booleans()):
        fleet = draw(machines("prefill", return_)) + draw(machines("decode", return_))
        around["link"] = LinkSpec(
            draw(st.sampled_from([1e9, 1e10])), draw(st.integers(0, 3)), draw(st.sampled_from([1, 2]))
        )
        around["decode_router"] = draw(st.sampled_from(ROUTERS))
    else:
        fleet = draw(machines("both", return_)) + draw(machines("both", return_))
        if draw(st.booleans()):
            wanted = draw(st.lists(st.integers(0, 6), min_size=1, max_size=8))
            start_up = draw(st.sampled_from([0, 10, 55]))
            around["autoscale"] = (tuple(wanted), draw(st.integers(1, len(fleet))), len(fleet), 25, start_up)
    replicas = st.integers(0, len(fleet) - 1)
    failures = st.tuples(replicas, instants, st.none() | st.integers(0, 60))
    around["failures"] = [
        Failure(replica, at, None if down is None else at + down)
        for replica, at, down in draw(st.lists(failures, max_size=4))
    ]
    slowdowns = st.tuples(replicas, instants, st.sampled_from([0.5, 3.0]), st.none() | st.integers(0, 60))
    around["slowdowns"] = [
        Slowdown(replica, at, factor, None if lasts is None else at + lasts)
        for replica, at, factor, lasts in draw(st.lists(slowdowns, max_size=2))
    ]
    return fleet, around


def run(load: Workload, fleet: list[Machine], around: dict[str, Any], plain: bool) -> Told | str:
    """What was told, or the error that it ended with."""
    if "autoscale" in around:
        wanted, *rest = around["autoscale"]
        around = {**around, "autoscale": Autoscale(Wishes(wanted), *rest)}
    try:
        return play(load, fleet, plain=plain, predicted=[r.output_len for r in load.requests], **around)
    except ServetwinError as error:
        return str(error)


@given(loads(), fleets(), st.none() | st.integers(1, 3))
@settings(max_examples=250, derandomize=True)
def test_each_request_ends_once_and_each_token_comes_once(
    load: Workload, drawn: tuple[list[Machine], dict[str, Any]], max_in_flight: int | None
) -> None:
    fleet, around = drawn
    told = run(load, fleet, {**around, "max_in_flight": max_in_flight}, plain=False)
    plain = run(load, fleet, {**around, "max_in_flight": max_in_flight}, plain=True)
    if isinstance(told, str) or isinstance(plain, str):
        assert told == plain
        assert "none of" in str(told), told  # nobody is up any more, and nobody comes back
        return
    assert told.story == plain.story
    assert told.tokens == plain.tokens
    assert sorted(told.steps) == sorted(plain.steps)
    assert told.fleet.replicas.uptimes == plain.fleet.replicas.uptimes

    sent = [entry[1] for entry in told.story if entry[0] == "sent"]
    assert len(sent) == len(set(sent))
    for request in load.requests:
        times, request_id = told.tokens[request.request_id], request.request_id
        assert times == sorted(times)
        if request_id in told.fleet.rejected:
            assert len(times) < request.output_len
        elif request_id in sent:
            assert len(times) == request.output_len
        else:
            assert not times
            assert request.parent
        lost = told.story.count(("lost", request_id))
        assert lost <= around["retries"] + (request_id in told.fleet.rejected)
        assert (len(told.places(request_id)) > 0) or request_id not in sent or request_id in told.fleet.rejected
    spans = sorted((u.replica, u.since, u.to) for u in told.fleet.replicas.uptimes if u.to is not None)
    assert all(since <= to for _, since, to in spans)
    assert all(a[0] != b[0] or a[2] <= b[1] for a, b in pairwise(spans))
