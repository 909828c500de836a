"""Populations of clients: what a spec says is what is drawn, whatever else is in it."""

import json
import re
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from serving.errors import ConfigError, WorkloadError
from workloads.arrivals.registry import ARRIVALS
from workloads.clients import Clients
from workloads.distributions.registry import DISTRIBUTIONS
from workloads.lengths import LENGTHS
from workloads.population import kinds
from workloads.population.compose import client_rates, compose
from workloads.population.spec import Spec, parse_spec, read_spec
from workloads.population.zipf import gini, zipf_shares
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest

SECOND = 1_000_000_000


def spec(*clients: dict[str, Any], horizon: float | None = 20.0) -> Spec:
    """As if written in TOML, whose strings and numbers are those of JSON."""
    lines = [] if horizon is None else [f"horizon = {horizon}"]
    for client in clients:
        lines.append("[[client]]")
        for key, value in client.items():
            inner = ", ".join(f"{k} = {v}" for k, v in value.items()) if isinstance(value, dict) else ""
            lines.append(f"{key} = {{ {inner} }}" if inner else f"{key} = {json.dumps(value)}")
    return parse_spec("\n".join(lines), "s.toml")


def drawn(*clients: dict[str, Any], seed: int = 1, horizon: float | None = 20.0) -> Workload:
    return compose(spec(*clients, horizon=horizon), seed, "w")[0]


def by_id(workload: Workload) -> dict[str, WorkloadRequest]:
    return {request.request_id: request for request in workload.requests}


OPEN = {"rate": 1.0, "arrivals": "poisson", "prompt": 20, "output": 5}
REQUESTS = {"name": "single", "kind": "requests", **OPEN}
CHAT = {"name": "chat", "kind": "chat", "turns": "geometric(mean=3)", "think": "exponential(mean=2)", **OPEN}
RAG = {"name": "rag", "kind": "rag", "documents": 20, "document": 50, "retrieve": 3, "alpha": 1.0, **OPEN}
AGENT = {
    "name": "agent",
    "kind": "agent",
    "steps": "geometric(mean=4)",
    "gap": "exponential(mean=1)",
    "result": 30,
    **OPEN,
}
USERS = {
    "name": "users",
    "kind": "users",
    "think": "exponential(mean=2)",
    "requests_per_user": 5,
    "prompt": 20,
    "output": 5,
}


def test_a_small_chat_by_hand() -> None:
    """One session begins at 0.5 s, as the next arrival would be at the horizon."""
    chat = {**CHAT, "rate": 2.0, "arrivals": "constant", "turns": 3, "think": 1.5, "prompt": 10, "output": 5}
    given = {**chat, "system_prompt": 3, "slo": {"ttft": 0.5, "tpot": 0.05}, "priority": 2, "tenant": "gold"}
    common: dict[str, Any] = {"priority": 2, "tenant": "gold", "session_id": "7/chat/0/1"}
    common |= {"ttft_slo": SECOND // 2, "tpot_slo": SECOND // 20}
    half, pause = SECOND // 2, SECOND * 3 // 2
    assert drawn(given, seed=7, horizon=1.0).requests == (
        WorkloadRequest("7/chat/0/1/1", half, 13, 5, 5, prefix=(("7/chat/system", 3),), **common),
        WorkloadRequest("7/chat/0/1/2", half, 28, 5, 5, turn=2, parent=("7/chat/0/1/1",), think_time=pause, **common),
        WorkloadRequest("7/chat/0/1/3", half, 43, 5, 5, turn=3, parent=("7/chat/0/1/2",), think_time=pause, **common),
    )


def test_a_small_program_by_hand() -> None:
    """A planner starts two sub-agents of two calls each; the call behind them repeats the planner's, and reads both."""
    agent = {**AGENT, "rate": 2.0, "arrivals": "constant", "steps": 2, "branching": 2, "sub_steps": 2, "gap": 0.25}
    load = by_id(drawn({**agent, "result": 7, "prompt": 10, "output": 5, "system_prompt": 3}, seed=0, horizon=1.0))
    program = "0/agent/0/1"
    assert set(load) == {f"{program}/{call}" for call in ("1", "1.1/1", "1.1/2", "1.2/1", "1.2/2", "2")}
    task, join = load[f"{program}/1.2/1"], load[f"{program}/2"]
    assert (task.prompt_len, task.parent, task.think_time, task.turn) == (13, (f"{program}/1",), 0, 1)
    assert task.prefix == (("0/agent/system", 3),)
    after_tool = load[f"{program}/1.2/2"]
    assert (after_tool.prompt_len, after_tool.turn) == (13 + 5 + 7, 2)
    assert (after_tool.parent, after_tool.think_time) == ((f"{program}/1.2/1",), SECOND // 4)
    assert (join.prompt_len, join.turn, join.think_time) == (13 + 5 + 2 * 5, 2, 0)
    assert join.parent == (f"{program}/1", f"{program}/1.1/2", f"{program}/1.2/2")
    assert {request.session_id for request in load.values()} == {program}


def test_steps_without_history_begin_anew() -> None:
    load = by_id(drawn({**AGENT, "steps": 3, "result": 30, "history": 0.0, "system_prompt": 4}))
    later = [request for request in load.values() if request.parent]
    assert later
    assert all((r.turn, r.prompt_len, r.prefix[0][1]) == (1, 34, 4) for r in later)


quantities = st.sampled_from([1, 30, "lognormal(mean=40, sigma=1.0)", "geometric(mean=5)", "exponential(mean=20)"])
counts = st.sampled_from([1, 3, "geometric(mean=3)", "uniform(low=1, high=4)"])
pauses = st.sampled_from([0, 0.5, "exponential(mean=2)"])
arrivals = st.sampled_from(
    ["poisson", "gamma(cv=2)", "weibull(cv=0.5)", "constant", "mmpp(rates=(1, 9), holds_s=(5, 1))", "ramp(to=3)"]
)


@st.composite
def entries(draw, kind: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": kind, "kind": kind, "prompt": draw(quantities), "output": draw(quantities)}
    entry["count"] = draw(st.integers(1, 4))
    entry["system_prompt"] = draw(st.sampled_from([0, 17]))
    entry["vary"] = draw(st.sampled_from([0.0, 1.0]))
    entry["max_context"] = draw(st.sampled_from([100, 400, 10_000]))
    entry["priority"] = draw(st.integers(-1, 1))
    if kind != "users":
        entry |= {"rate": draw(st.sampled_from([0.1, 2.0])), "arrivals": draw(arrivals)}
        entry["skew"] = draw(st.sampled_from([0.0, 1.5])) if entry["count"] > 1 else 0.0
    if kind == "chat":
        entry |= {"turns": draw(counts), "think": draw(pauses)}
    if kind == "rag":
        documents = draw(st.integers(1, 9))
        entry |= {"documents": documents, "document": draw(quantities), "alpha": draw(st.sampled_from([0.0, 1.0, 3.0]))}
        entry |= {"retrieve": draw(st.integers(1, documents)), "order": draw(st.sampled_from(["random", "popularity"]))}
    if kind == "agent":
        entry |= {"steps": draw(counts), "gap": draw(pauses), "result": draw(quantities)}
        entry |= {"history": draw(st.sampled_from([0.0, 0.5, 1.0]))}
        if draw(st.booleans()):
            entry |= {"branching": draw(st.sampled_from([2, "choice(values=(0, 1, 3))"])), "sub_steps": draw(counts)}
    if kind == "users":
        entry |= {"think": draw(pauses), "requests_per_user": draw(st.integers(1, 6)), "history": draw(st.booleans())}
    return entry


KINDS = ("requests", "chat", "rag", "agent", "users")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_whatever_is_drawn_is_a_workload_that_can_be_sent_to_its_end(kind: str, data: st.DataObject, seed: int) -> None:
    """Workload itself checks parents, turns and prompt lengths."""
    entry = data.draw(entries(kind))
    population = spec(entry, horizon=None if kind == "users" else 10.0)
    try:
        workload, (part,), _ = compose(population, seed, "w")
    except WorkloadError:  # nobody began in time, or all was too long
        return
    assert workload.to_jsonl() == compose(population, seed, "w")[0].to_jsonl()
    assert part.requests == len(workload.requests)
    assert part.begun == sum(not r.parent for r in workload.requests)
    for request in workload.requests:
        assert request.prompt_len + request.output_len <= entry["max_context"]
        assert request.arrival_time < 10 * SECOND or kind == "users"
        assert request.tenant == kind
    assert sent_to_the_end(workload) == {r.request_id for r in workload.requests}


def sent_to_the_end(workload: Workload, service: int = SECOND // 2, in_flight: Counter[str] | None = None) -> set[str]:
    """Who is sent, in a world where each request takes `service` ns. in_flight: the most at a time, by tenant."""
    truth, sent, now = Truth(workload), set(), Counter[str]()
    clients = Clients(workload, output_of=lambda request_id: truth.placeholders(request_id, 0))
    running: list[tuple[int, str, str]] = []
    while not clients.done or running:
        at = clients.next_at()
        running.sort()
        if running and (at is None or running[0][0] <= at):
            end, request_id, tenant = running.pop(0)
            now[tenant] -= 1
            clients.ended(request_id, end)
            continue
        assert at is not None
        for request in clients.due(at):
            assert request.request_id not in sent
            sent.add(request.request_id)
            running.append((at + service, request.request_id, request.tenant))
            now[request.tenant] += 1
            if in_flight is not None:
                in_flight[request.tenant] = max(in_flight[request.tenant], now[request.tenant])
    assert not clients.unsent()
    return sent


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("other", [REQUESTS, CHAT, RAG, AGENT, USERS])
@pytest.mark.parametrize("one", [CHAT, RAG, AGENT, USERS])
def test_an_entry_more_changes_no_others_requests(one: dict, other: dict, order: tuple[int, int]) -> None:
    other = {**other, "name": "other"}
    both = [one, other]
    together = drawn(*(both[i] for i in order), horizon=None if one is USERS and other["kind"] == "users" else 20.0)
    alone = drawn(one, horizon=None if one is USERS else 20.0)
    assert tuple(r for r in together.requests if r.tenant == one["name"]) == alone.requests


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"output": 50}, "prompt"),
        ({"think": 5}, "prompt"),
        ({"arrivals": "constant"}, "turns"),
        ({"turns": 9}, "begin"),
    ],
)
def test_each_purpose_has_a_stream_of_its_own(change: dict, kept: str) -> None:
    def of(workload: Workload) -> list[int]:
        load = by_id(workload)
        first = [r for r in load.values() if r.turn == 1]
        if kept == "begin":
            return [r.arrival_time for r in first]
        if kept == "turns":
            return [sum(r.session_id == f.session_id for r in load.values()) for f in sorted(first, key=_id)][:10]
        return [r.prompt_len - _history(r, load) for r in sorted(load.values(), key=_id)]

    chat = {**CHAT, "prompt": "lognormal(mean=40, sigma=1)"}
    assert of(drawn(chat)) == of(drawn({**chat, **change}))


def _id(request: WorkloadRequest) -> str:
    return request.request_id


def _history(request: WorkloadRequest, load: dict[str, WorkloadRequest]) -> int:
    if request.turn == 1:
        return 0
    before = load[request.parent[0]]
    return before.prompt_len + before.output_len


def test_seeds_share_nothing() -> None:
    one, two = by_id(drawn(RAG, seed=1)), by_id(drawn(RAG, seed=2))
    assert not set(one) & set(two)
    names = [{name for r in load.values() for name, _ in r.prefix} for load in (one, two)]
    assert not names[0] & names[1]


def test_documents_are_retrieved_by_zipf_and_have_one_length_each() -> None:
    """Chi-square of 8000 retrievals; fails by chance in one of a thousand seeds, and this seed is fixed."""
    rag = {**RAG, "retrieve": 1, "rate": 400.0, "document": "lognormal(mean=50, sigma=1)"}
    load = drawn(rag).requests
    found = Counter(request.prefix[0] for request in load)
    assert len({name for name, _ in found}) == len(found) == 20
    by_rank = np.array([found[key] for key in sorted(found, key=lambda key: int(key[0].split()[-1]))])
    assert chisquare(by_rank, zipf_shares(20, 1.0) * len(load)).pvalue > 1e-3


def test_several_documents_are_drawn_one_after_the_other_without_the_ones_before() -> None:
    rag = {**RAG, "retrieve": 2, "documents": 5, "rate": 400.0, "order": "popularity"}
    load = drawn(rag).requests
    found = Counter(tuple(int(name.split()[-1]) for name, _ in request.prefix) for request in load)
    share = dict(enumerate(zipf_shares(5, 1.0), 1))
    pairs = list(combinations(range(1, 6), 2))
    expected = [share[i] * share[j] / (1 - share[i]) + share[j] * share[i] / (1 - share[j]) for i, j in pairs]
    assert set(found) <= set(pairs)  # the most popular first, never the same twice
    assert chisquare([found[pair] for pair in pairs], np.array(expected) * len(load)).pvalue > 1e-3


def test_documents_as_retrieved_are_in_any_order() -> None:
    load = drawn({**RAG, "retrieve": 2, "documents": 5, "rate": 400.0}).requests
    falling = np.mean([r.prefix[0][0] > r.prefix[1][0] for r in load])
    assert falling == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(load)))


def test_popular_documents_first_make_prompts_begin_alike_more_often() -> None:
    def met_before(order: str) -> float:
        seen, again = set(), 0
        load = drawn({**RAG, "order": order, "rate": 50.0}).requests
        for request in load:
            again += sum(request.prefix[:n] in seen for n in (1, 2, 3))
            seen |= {request.prefix[:n] for n in (1, 2, 3)}
        return again / len(load)

    assert met_before("popularity") > met_before("random") + 0.1


def test_few_clients_bring_most_requests() -> None:
    skewed = {**REQUESTS, "count": 10, "rate": 300.0, "skew": 1.5}
    rates = client_rates(spec(skewed).entries[0])
    assert sum(rates) == pytest.approx(300)
    assert rates == sorted(rates, reverse=True)
    brought = Counter(int(r.request_id.split("/")[2]) for r in drawn(skewed).requests)
    for number, rate in enumerate(rates):
        assert brought[number] == pytest.approx(rate * 20, abs=4 * np.sqrt(rate * 20))


def test_gini() -> None:
    assert gini(np.array([0.25, 0.75])) == pytest.approx(0.25)
    assert gini(np.ones(7)) == pytest.approx(0)
    assert gini(zipf_shares(1000, 0.0)) == pytest.approx(0)


def test_skew_of_the_docs_gives_the_inequality_of_a_cloud_service() -> None:
    """The rate Gini of ServeGen's four pools, of 43 to 162 clients, is from 0.75 to 0.87."""
    for num in (43, 73, 109, 162):
        assert 0.75 <= gini(zipf_shares(num, 1.4)) <= 0.87


def test_clients_that_vary_have_lengths_and_burstiness_of_their_own() -> None:
    same = {
        **REQUESTS,
        "count": 40,
        "rate": 400.0,
        "arrivals": "gamma(cv=1)",
        "prompt": "lognormal(mean=200, sigma=0.1)",
    }

    def of_each(entry: dict) -> tuple[list[float], list[float]]:
        lengths, times = defaultdict(list), defaultdict(list)
        for request in drawn(entry).requests:
            client = request.request_id.split("/")[2]
            lengths[client].append(request.prompt_len)
            times[client].append(request.arrival_time)
        cvs = [np.diff(t).std() / np.diff(t).mean() for t in times.values()]
        return [float(np.mean(x)) for x in lengths.values()], cvs

    means, cvs = of_each(same)
    assert max(means) < 1.1 * min(means)
    assert max(cvs) < 1.5 * min(cvs)
    varied, varied_cvs = of_each({**same, "vary": 0.5})
    assert np.std(np.log(varied)) == pytest.approx(0.5, rel=4 / np.sqrt(2 * 40))
    assert max(varied_cvs) > 3 * min(varied_cvs)


def test_users_wait_for_their_answers() -> None:
    users = {**USERS, "count": 3, "think": 1.0}
    load = drawn(users, horizon=None)
    chains = defaultdict(list)
    for request in load.requests:
        chains[request.session_id].append(request)
    assert len(chains) == 3
    for chain in chains.values():
        assert [r.parent for r in chain] == [(), *((r.request_id,) for r in chain[:-1])]
        assert [r.think_time for r in chain] == [0] + [SECOND] * 4
        assert {(r.turn, r.prompt_len) for r in chain} == {(1, 20)}
        assert chain[0].arrival_time == SECOND  # they begin by thinking
    most = Counter[str]()
    sent_to_the_end(load, in_flight=most)
    assert most["users"] == 3


def test_users_with_history_begin_anew_when_the_context_is_full() -> None:
    users = {**USERS, "count": 1, "history": True, "max_context": 60}
    workload, _, notes = compose(spec(users, horizon=None), 1, "w")
    # 20 + 5, then 45 + 5, then 70 + 5 would be too long
    assert [(r.turn, r.prompt_len) for r in workload.requests] == [(1, 20), (2, 45), (1, 20), (2, 45), (1, 20)]
    assert [len(r.parent) for r in workload.requests] == [0, 1, 1, 1, 1]
    assert notes == ["client users: 2 chats begun anew at max_context"]


def test_max_context_ends_sessions_and_says_so() -> None:
    chat = {**CHAT, "rate": 2.0, "arrivals": "constant", "turns": 4, "prompt": 10, "output": 5}
    workload, _, notes = compose(spec({**chat, "max_context": 45}, horizon=1.0), 1, "w")
    assert [r.prompt_len for r in workload.requests] == [10, 25, 40]
    assert notes == ["client chat: 1 sessions ended by max_context"]
    with pytest.raises(WorkloadError, match="no requests"):
        drawn({**chat, "max_context": 14}, horizon=1.0)


EXAMPLES = ("chat", "rag", "agents", "mixed-tenants")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(repo: Path, name: str) -> None:
    read = read_spec(repo / "docs" / "examples" / f"{name}.toml")
    workload, parts, _ = compose(read, 1, name)
    assert len(workload.requests) > 50
    assert all(part.requests for part in parts)
    assert max(r.prompt_len + r.output_len for r in workload.requests) <= 2048
    assert len(sent_to_the_end(workload)) == len(workload.requests)


def test_the_docs_name_all_that_a_spec_can_say(repo: Path) -> None:
    text = (repo / "docs" / "workloads.md").read_text()
    keys = {key for kind in kinds.KINDS.values() for key in kind.model_fields} - {"kind"}
    named = {*kinds.KINDS, *keys, *DISTRIBUTIONS, *ARRIVALS, *LENGTHS}
    assert {name for name in named if not re.search(rf"[`\"]{re.escape(name)}\b", text)} == set()


def test_every_example_is_tried_here(repo: Path) -> None:
    assert {place.stem for place in (repo / "docs" / "examples").glob("*.toml")} >= set(EXAMPLES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("horizon = 60\nclient = 3", "s.toml: client: "),
        ("horizon = 60", "s.toml: client: missing"),
        ("horizon = 60\nclinet = []\nclient = [{}]", "clinet: unknown key; did you mean client"),
        ("horizon = 1\nclient =", "s.toml: not TOML: .*end of document"),
        ("horizon = -1\n[[client]]\nname = 'a'", "s.toml: horizon: .*greater than 0, not -1"),
        ("horizon = 60\n[[client]]\nname = 'a'", "client a: kind: missing; it is one of requests, chat, rag"),
        ("horizon = 60\n[[client]]\nname = 'a'\nkind = 'chatt'", "client a: unknown kind 'chatt'; did you mean chat"),
        ("horizon = 60\n[[client]]\nkind = 'requests'", r"client 1: name: missing \(and 4 more\)"),
    ],
)
def test_specs_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        parse_spec(text, "s.toml")


@pytest.mark.parametrize(
    ("client", "message"),
    [
        ({**CHAT, "thinks": 3}, "client chat: thinks: unknown key; did you mean think"),
        ({**CHAT, "slo": {"tfft": 3}}, "client chat: slo.tfft: unknown key; did you mean ttft"),
        ({**CHAT, "slo": {"ttft": 0}}, "slo.ttft: .*greater than 0"),
        ({**CHAT, "prompt": "lognorm(mean=3)"}, "prompt: unknown distribution 'lognorm'; did you mean lognormal"),
        ({**CHAT, "prompt": "lognormal(mean=3)"}, "prompt: lognormal needs sigma"),
        ({**CHAT, "prompt": -1}, "prompt: value is -1"),
        ({**CHAT, "prompt": True}, "prompt: must be a number, or a distribution in quotes"),
        ({**CHAT, "arrivals": "gamma(cv=0)"}, "arrivals: cv is 0"),
        ({**CHAT, "arrivals": 3}, "arrivals: must be an arrival process in quotes"),
        ({**CHAT, "rate": "2"}, "rate: .*valid number"),
        ({**CHAT, "count": 0}, "count: "),
        ({**CHAT, "skew": 1.0}, "skew has no effect with one client"),
        ({**CHAT, "name": "a/b"}, "name: "),
        ({**RAG, "retrieve": 21}, "retrieve is 21, but there are 20 documents"),
        ({**RAG, "order": "best"}, "order: input should be 'random' or 'popularity'"),
        ({**AGENT, "sub_steps": 2}, "sub_steps has no effect without branching"),
        ({**USERS, "rate": 2.0}, "client users: rate: unknown key"),
    ],
)
def test_clients_that_make_no_sense(client: dict, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        spec(client)


def test_horizons_that_make_no_sense() -> None:
    with pytest.raises(WorkloadError, match="horizon: missing"):
        spec(CHAT, horizon=None)
    with pytest.raises(WorkloadError, match="horizon has no effect where all clients are users"):
        spec(USERS)
    with pytest.raises(WorkloadError, match="name 'chat' comes twice"):
        spec(CHAT, CHAT)


def test_more_than_can_be_drawn() -> None:
    with pytest.raises(ConfigError, match=r"client single: rate 1e.06 for 20 s"):
        drawn({**REQUESTS, "rate": 1e6})
    with pytest.raises(ConfigError, match=r"client chat: a pause of 1e.07 s was drawn"):
        drawn({**CHAT, "think": 1e7})
    with pytest.raises(ConfigError, match="client single: a length of"):
        drawn({**REQUESTS, "prompt": "lognormal(mean=1e7, sigma=3)"})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"none.toml: cannot be read: No such file"):
        read_spec(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(WorkloadError, match=r"b.toml: not text in UTF-8"):
        read_spec(tmp_path / "b.toml")
