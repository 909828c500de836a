"""The openai package, unchanged, on a socket."""

import asyncio

import pytest

from tests.realexec.server.served import MODEL, served

openai = pytest.importorskip("openai")

ASK = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def server():
    with served(step_ns=500_000, api_key="secret") as it:
        yield it


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as it:
        yield it


def test_completions(client) -> None:
    whole = client.completions.create(model=MODEL, prompt="hello", max_tokens=12, temperature=0, seed=3)
    assert len(whole.choices[0].text) == 12
    assert whole.usage.completion_tokens == 12
    assert whole.usage.prompt_tokens_details.cached_tokens == 0
    events = list(client.completions.create(model=MODEL, prompt="hello", max_tokens=12, stream=True))
    assert "".join(e.choices[0].text for e in events) == whole.choices[0].text
    assert events[-1].choices[0].finish_reason == "length"


def test_chat(client) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=ASK, max_completion_tokens=12)
    assert whole.choices[0].message.role == "assistant"
    events = list(
        client.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
    )
    said = "".join(e.choices[0].delta.content or "" for e in events if e.choices)
    assert said == whole.choices[0].message.content
    assert events[-1].usage.total_tokens == whole.usage.total_tokens


def test_vllms_own_fields(client) -> None:
    body = {"ignore_eos": True, "min_tokens": 3, "repetition_penalty": 1.0, "top_k": -1}
    got = client.completions.create(model=MODEL, prompt=[5, 6, 7], max_tokens=5, extra_body=body)
    assert got.usage.prompt_tokens == 3
    assert got.usage.completion_tokens == 5


def test_errors_arrive_as_the_packages_own(client, server) -> None:
    with pytest.raises(openai.BadRequestError, match="n: 2 is not served here"):
        client.completions.create(model=MODEL, prompt="hello", n=2)
    with pytest.raises(openai.NotFoundError, match="another"):
        client.completions.create(model="another", prompt="hello")
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_models(client) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_many_at_once(server) -> None:
    async def one(client, n: int) -> tuple[int, int]:
        stream = await client.completions.create(model=MODEL, prompt=f"prompt {n}", max_tokens=n, stream=True)
        return n, len([event async for event in stream])

    async def all_of_them() -> list[tuple[int, int]]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0) as client:
            return await asyncio.gather(*[one(client, n) for n in range(1, 31)])

    assert all(asked == got for asked, got in asyncio.run(all_of_them()))
