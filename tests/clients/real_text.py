"""A trained model behind the openai package: what `LLM` says greedily, the server says too, streaming and not.

    .venv/bin/servetwin model get smollm2-135m
    .venv/bin/python -m pytest -s -o timeout=600 tests/clients/real_text.py

The test process loads the model too: about 1 GiB in all.
"""

import openai
import pytest

from tests.clients.process import Server, serving

MODEL = "smollm2-135m"
MESSAGES = [{"role": "user", "content": "Name the four seasons of the year."}]
TOKENS = 48


@pytest.fixture(scope="module")
def expected() -> tuple[str, int, int]:
    """The text, its number of tokens, and that of the prompt's."""
    from realexec.llm import LLM, SamplingParams
    from realexec.loaded import load_tokenizer
    from realexec.text import Message

    prompt = load_tokenizer(MODEL).encode_chat([Message(m["role"], m["content"]) for m in MESSAGES])
    (output,) = LLM(MODEL).generate([prompt], SamplingParams(temperature=0, max_tokens=TOKENS), use_tqdm=False)
    return output["text"], len(output["token_ids"]), len(prompt)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with serving("real", tmp_path_factory.mktemp("server"), model=MODEL) as it:
        yield it


@pytest.fixture(scope="module")
def client(server: Server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as it:
        yield it


def test_a_chat_is_answered_as_llm_does(client: openai.OpenAI, expected: tuple[str, int, int]) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=TOKENS, temperature=0)
    text, num_tokens, prompt_len = expected
    print(f"\n{MODEL}: {text!r}")
    assert answer.choices[0].message.content == text
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt_len, num_tokens)


def test_a_streamed_chat_is_the_same_text(client: openai.OpenAI, expected: tuple[str, int, int]) -> None:
    *events, last = client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, num_tokens, prompt_len = expected
    assert "".join(event.choices[0].delta.content for event in events) == text
    assert len(events) == num_tokens == last.usage.completion_tokens
    assert last.usage.prompt_tokens == prompt_len


def test_a_stop_string_ends_before_it(client: openai.OpenAI, expected: tuple[str, int, int]) -> None:
    word = expected[0].split()[3]
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=TOKENS, temperature=0, stop=[word]
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == expected[0].partition(word)[0]
    assert answer.usage.completion_tokens < expected[1]
