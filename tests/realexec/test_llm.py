"""LLM: nano-vLLM's interface over the scheduler and the runner."""

import importlib.util
from dataclasses import replace
from random import Random

import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")

import realexec.llm as llm_module
from realexec.llm import LLM, SamplingParams
from realexec.loaded import LoadedModel
from realexec.tokenizer import EOS_ID, encode
from realexec.tokenizer.bytewise import ByteTokenizer
from realexec.weights import random_weights
from serving.errors import ConfigError, RequestError
from tests.realexec.reference import logits, tiny

SHAPE = replace(tiny(max_position=200), vocab_size=300)
WEIGHTS = random_weights(SHAPE, seed=4)
NEAR_TIE = 1e-4
GREEDY = SamplingParams(temperature=0, max_tokens=8)
ASYNC = {"preset": "vllm", "async_scheduling": True}


@pytest.fixture
def make(monkeypatch):
    """An LLM of a tiny model."""
    model = LoadedModel("tiny", SHAPE, WEIGHTS, ByteTokenizer())
    monkeypatch.setattr(llm_module, "load_model", lambda name, seed: model)
    return lambda **settings: LLM("tiny", **settings)


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    rng = Random(seed)
    return [[rng.randrange(3, 300) for _ in range(rng.randint(1, 60))] for _ in range(count)]


@pytest.mark.parametrize("preset", ["nano-vllm", "vllm", "orca"])
def test_greedy_tokens_are_those_of_the_model(make, preset) -> None:
    asked = prompts(6)
    for prompt, output in zip(asked, make(preset=preset).generate(asked, GREEDY, use_tqdm=False), strict=True):
        context = list(prompt)
        for token in output["token_ids"]:
            expected = logits(SHAPE, WEIGHTS, context)
            assert expected.max() - expected[token] < NEAR_TIE
            context.append(token)
        assert len(output["token_ids"]) == 8 or output["token_ids"][-1] == EOS_ID


def test_outputs_have_the_order_of_the_prompts_and_their_text(make) -> None:
    """Short outputs end first; texts and token ids are one thing."""
    texts = ["one", "two words", "ä third", "4"]
    each = [SamplingParams(max_tokens=n, seed=n, ignore_eos=True) for n in (20, 3, 11, 1)]
    outputs = make().generate(texts, each, use_tqdm=False)
    assert [len(output["token_ids"]) for output in outputs] == [20, 3, 11, 1]
    assert make().generate([encode(text) for text in texts], each, use_tqdm=False) == outputs
    assert [output["text"] for output in outputs] == [ByteTokenizer().decode(o["token_ids"]) for o in outputs]


def sampled(count: int) -> list[SamplingParams]:
    return [
        SamplingParams((0.0, 0.8, 1.3)[i % 3], 5 + i % 17, True, top_k=(0, 20)[i % 2], top_p=(1.0, 0.9)[i % 5 == 0])
        for i in range(count)
    ]


def test_tokens_do_not_depend_on_what_is_served_beside_them_or_how(make) -> None:
    """A pool that holds two requests, one that holds all; whole prompts, chunks; every preset's own decisions."""
    asked, each = prompts(24), sampled(24)
    expected = make().generate(asked, each, use_tqdm=False)
    for settings in (
        {"num_kvcache_blocks": 12, "kvcache_block_size": 8, "max_model_len": 96},
        {"preset": "vllm", "max_num_batched_tokens": 16, "max_num_seqs": 5, "kvcache_block_size": 4},
        {"preset": "vllm", "num_kvcache_blocks": 24, "kvcache_block_size": 4, "max_model_len": 96, "policy": "sjf"},
        {**ASYNC, "num_kvcache_blocks": 24, "kvcache_block_size": 4, "max_model_len": 96, "max_num_batched_tokens": 16},
    ):
        assert make(**settings).generate(asked, each, use_tqdm=False) == expected


def test_a_seed_decides(make) -> None:
    asked, params = prompts(3), SamplingParams(max_tokens=6, ignore_eos=True)
    one, again, other = (make(seed=s).generate(asked, params, use_tqdm=False) for s in (1, 1, 2))
    assert one == again != other
    first = make(seed=1)
    assert first.generate(asked, params, use_tqdm=False) != first.generate(asked, params, use_tqdm=False)
    own = replace(params, seed=5)
    assert first.generate(asked, own, use_tqdm=False) == make(seed=2).generate(asked, own, use_tqdm=False)


@pytest.mark.parametrize("settings", [{}, ASYNC], ids=["nano-vllm", "async"])
def test_what_ends_an_output(make, settings) -> None:
    llm, prompt = make(**settings), list(range(7, 27))
    free = SamplingParams(max_tokens=30, seed=3, ignore_eos=True)
    tokens = llm.generate([prompt], free, use_tqdm=False)[0]["token_ids"]
    stop = tokens[5]
    (short,) = llm.generate([prompt], replace(free, stop_token_ids=(299, stop)), use_tqdm=False)
    assert short["token_ids"] == tokens[: tokens.index(stop) + 1]
    (later,) = llm.generate([prompt], replace(free, stop_token_ids=[stop], min_tokens=9), use_tqdm=False)
    assert stop not in later["token_ids"][:9]
    assert len(later["token_ids"]) >= 9
    (whole,) = llm.generate([[5] * 190], replace(free, max_tokens=64), use_tqdm=False)
    assert len(whole["token_ids"]) == 10, "max_model_len is 200"


def test_the_models_own_end_ends_unless_ignored(make, monkeypatch) -> None:
    llm, prompt = make(), [7, 8, 9]
    tokens = llm.generate([prompt], replace(GREEDY, ignore_eos=True), use_tqdm=False)[0]["token_ids"]
    monkeypatch.setattr(ByteTokenizer, "eos_token_ids", (299, tokens[2]))
    assert llm.generate([prompt], GREEDY, use_tqdm=False)[0]["token_ids"] == tokens[: tokens.index(tokens[2]) + 1]
    assert llm.generate([prompt], replace(GREEDY, ignore_eos=True), use_tqdm=False)[0]["token_ids"] == tokens


@pytest.mark.parametrize("preset", ["nano-vllm", "vllm"])
def test_step_by_step(make, preset) -> None:
    llm = make(preset=preset)
    numbers = [llm.add_request("abc", replace(GREEDY, max_tokens=n, ignore_eos=True)) for n in (1, 3)]
    assert not llm.is_finished()
    assert numbers == [0, 1]
    steps = []
    while not llm.is_finished():
        steps.append(llm.step())
    assert [num_tokens for _, num_tokens in steps] == [6, -1, -1]
    assert [[number for number, _ in ended] for ended, _ in steps] == [[0], [], [1]]
    assert [len(tokens) for ended, _ in steps for _, tokens in ended] == [1, 3]
    assert llm.step() == ([], 0)


def test_steps_in_flight_are_completed_before_all_is_finished(make) -> None:
    """The next step is launched before it is known that the request ends; it is a step like others, of no use."""
    llm = make(**ASYNC)
    llm.add_request("abc", replace(GREEDY, max_tokens=9, stop_token_ids=range(300)))
    steps = []
    while not llm.is_finished():
        steps.append(llm.step())
    assert [num_tokens for _, num_tokens in steps] == [3, -1]
    assert [[len(tokens) for _, tokens in ended] for ended, _ in steps] == [[1], []]
    assert llm.step() == ([], 0)


def test_a_prompt_that_can_never_be_served_names_its_place_and_leaves_nothing_behind(make) -> None:
    llm = make(num_kvcache_blocks=10, kvcache_block_size=4)
    for bad, message in (
        ([1] * 200, "200 tokens, but max_model_len is 200"),
        ([1] * 60, "the pool has 10"),
        ([], "0 prompt tokens"),
        ([3, 300], r"token 300 is unknown to the model, which has 0 \.\. 299"),
        ([-1], "token -1"),
        ([2.0], "a list of token ids"),
        ("\ud800", "surrogate"),
    ):
        with pytest.raises(RequestError, match=f"^prompt 2: .*{message}"):
            llm.generate([[5], [6], bad], GREEDY, use_tqdm=False)
        assert llm.is_finished()
    with pytest.raises(RequestError, match="stop token 300"):
        llm.add_request([5], SamplingParams(stop_token_ids=[300]))
    assert llm.is_finished()
    assert len(llm.generate([[5]], replace(GREEDY, ignore_eos=True), use_tqdm=False)[0]["token_ids"]) == 8


@pytest.mark.parametrize(
    ("settings", "moment"),
    [({}, "prepare"), ({}, "execute"), ({}, "accept"), (ASYNC, "prepare"), (ASYNC, "launch"), (ASYNC, "accept")],
)
def test_an_interrupt_leaves_the_llm_usable(make, monkeypatch, settings, moment) -> None:
    """In the middle of a step: the scheduler's plan is in flight, the runner's half done."""
    llm, asked = make(num_kvcache_blocks=40, kvcache_block_size=4, **settings), prompts(8)
    expected = make().generate(asked, GREEDY, use_tqdm=False)
    calls = iter(range(100))
    runner = llm._running()
    real = getattr(runner, moment)

    def interrupted(*arguments):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(runner, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        llm.generate(asked, GREEDY, use_tqdm=False)
    assert llm.is_finished()
    assert llm.generate(asked, GREEDY, use_tqdm=False) == expected


def test_a_bar_on_stderr_and_nothing_on_stdout(make, capfd) -> None:
    make().generate(["a", "b", "c"], GREEDY)
    shown = capfd.readouterr()
    assert "3/3" in shown.err
    assert "tok/s" in shown.err
    assert not shown.out
    make().generate(["a"], GREEDY, use_tqdm=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"tensor_parallel_size": 2}, ConfigError, "tensor_parallel_size is 2"),
        ({"gpu_memory_utilization": 0.9}, TypeError, "gpu_memory_utilization"),
        ({"max_seqs": 3}, TypeError, "max_seqs"),
        ({"kvcache_block_size": 0}, ConfigError, "kvcache_block_size is 0"),
        ({"num_kvcache_blocks": -1}, ConfigError, "num_kvcache_blocks is -1"),
        ({"max_model_len": 201}, ConfigError, "max_model_len is 201, but model tiny has 200"),
        ({"preset": "nanovllm"}, ConfigError, "did you mean nano-vllm"),
        ({"preset": "orca", "max_num_batched_tokens": 7}, ConfigError, "max_num_batched_tokens has no effect"),
        ({"async_scheduling": True}, ConfigError, "async_scheduling has no effect under preset nano-vllm"),
        ({"policy": "fcsf"}, ConfigError, "did you mean fcfs"),
        ({"num_threads": 0}, ConfigError, "num_threads"),
    ],
)
def test_a_wrong_argument_is_named(make, settings, error, message) -> None:
    with pytest.raises(error, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens is 9, but max_tokens 8"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
    ],
)
def test_a_wrong_sampling_parameter_is_named(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        SamplingParams(**settings)


def test_calls_that_make_no_sense_say_so(make) -> None:
    llm = make()
    with pytest.raises(ConfigError, match=r"give a list, \[prompt\]"):
        llm.generate("text", GREEDY)
    with pytest.raises(ConfigError, match="2 prompts, but 1 sampling_params"):
        llm.generate(["a", "b"], [GREEDY])
    assert llm.generate([], GREEDY, use_tqdm=False) == []
    llm.add_request("a", GREEDY)
    with pytest.raises(ConfigError, match="unfinished"):
        llm.generate(["b"], GREEDY)
    llm.exit()
    llm.exit()
    assert llm.is_finished()
    with pytest.raises(ConfigError, match="exit"):
        llm.generate(["b"], GREEDY)


def test_a_script_of_nano_vllm(capsys) -> None:
    """The calls of its example and its bench, in other words; only the import names this engine."""
    llm = LLM("15m", enforce_eager=True, tensor_parallel_size=1)
    outputs = llm.generate(["who are you?", "primes below 100"], SamplingParams(temperature=0.6, max_tokens=3))
    assert [sorted(output) for output in outputs] == [["text", "token_ids"]] * 2
    llm = LLM("15m", enforce_eager=False, max_model_len=4096)
    llm.generate(["Warm: "], SamplingParams(max_tokens=2))
    each = [SamplingParams(temperature=0.6, ignore_eos=True, max_tokens=n) for n in (2, 5)]
    outputs = llm.generate([[9, 8, 7], [10000, 31999]], each, use_tqdm=False)
    assert [len(output["token_ids"]) for output in outputs] == [2, 5]


@pytest.mark.parametrize(("name", "said"), [("generate", "(4 tokens)"), ("throughput", "tokens/s")])
def test_the_examples_run(repo, capsys, name, said) -> None:
    spec = importlib.util.spec_from_file_location(name, repo / "docs" / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main("15m", 4)
    assert said in capsys.readouterr().out
