"""The same server over a transformer: its own tokens, sampling by request, ends by token; tiny random weights."""

import pytest

pytest.importorskip("torch")

from realexec.build import build_runner
from realexec.compute import Compute
from serving.errors import ConfigError
from serving.schedule.config import EngineConfig
from tests.realexec.server.served import Served, served, tiny_model, tiny_world
from tests.realexec.server.test_disconnects import crowd_and_check


@pytest.fixture(scope="module")
def server():
    with served(tiny_world(512), settings={"max_num_batched_tokens": 256}) as it:
        yield it


def said(server: Served, **body: object) -> str:
    response = server.post(**{"prompt": "hello", "max_tokens": 12, "ignore_eos": True, **body})
    assert response.status_code == 200, response.text
    assert response.json()["usage"]["completion_tokens"] == body.get("max_tokens", 12)
    return response.json()["choices"][0]["text"]


def test_greedy_tokens_are_the_same_every_time(server: Served) -> None:
    assert said(server, temperature=0) == said(server, temperature=0)


def test_a_seed_repeats_a_draw_whoever_asks(server: Served) -> None:
    assert said(server, seed=1) == said(server, seed=1)
    assert len({said(server, seed=n) for n in range(5)}) > 1
    assert len({said(server) for _ in range(5)}) > 1, "without a seed each request draws its own"
    assert said(server, seed=-(1 << 63)) == said(server, seed=-(1 << 63))


def test_one_token_to_choose_from_is_greedy(server: Served) -> None:
    greedy = said(server, temperature=0)
    assert said(server, top_k=1, temperature=2) == greedy
    assert said(server, top_p=1e-9, temperature=2) == greedy


def test_min_tokens_hold_back_what_would_end_the_output(server: Served) -> None:
    def ask(**more: object) -> dict:
        body = {"prompt": "hello", "max_tokens": 30, "temperature": 0, "stop_token_ids": list(range(236, 300))}
        return server.post(**body, **more).json()

    early = ask()
    assert early["choices"][0]["finish_reason"] == "stop"
    assert early["usage"]["completion_tokens"] < 10
    late = ask(min_tokens=20)
    assert late["usage"]["completion_tokens"] >= 20


def test_disconnects_among_others(server: Served) -> None:
    crowd_and_check(server, num_of_each=10)


def test_more_positions_than_the_model_has_are_refused() -> None:
    with pytest.raises(ConfigError, match="1024"):
        build_runner(tiny_model(), Compute(dtype="float32"), EngineConfig(max_model_len=1025), 1)
