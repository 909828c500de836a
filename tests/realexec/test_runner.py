"""The runner: whatever the plans, greedy tokens are those of the whole sequence computed at once."""

import subprocess
import sys
from dataclasses import replace
from random import Random

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")

from realexec.model import Model
from realexec.ops.numba_cpu import NumbaOps
from realexec.runner import Runner
from realexec.shapes import SHAPES, shape
from realexec.weights import random_weights
from serving.errors import ConfigError, InvariantError, RequestError
from serving.schedule.contract import Admission, Plan
from tests.realexec.plans import World
from tests.realexec.reference import logits, tiny

# Float32 logits of the tiny model are within 1e-5 of float64 ones (test_model.py). A sampled token whose float64
# logit is within this of the largest is right: equal to the argmax, except in a tie nearer than the rounding.
NEAR_TIE = 1e-4


def run_randomly(runner: Runner, world: World, rng: Random, steps: int, longest: int) -> list[tuple[list[int], int]]:
    """Random arrivals, chunks, preemptions, shared prefixes and departures; (context, sampled token) pairs."""
    sampled, number = [], 0
    system_prompt = [rng.randrange(97) for _ in range(2 * longest // 3)]
    for _ in range(steps):
        if len(world.requests) < 5 and rng.random() < 0.6:
            prompt = system_prompt[: rng.randint(1, len(system_prompt))] if rng.random() < 0.5 else []
            prompt = prompt + [rng.randrange(97) for _ in range(rng.randint(1, longest // 3))]
            name, number = f"r{number}", number + 1
            world.add(name, prompt)
            if len(world.requests) > 1 and rng.random() < 0.8:
                world.share_prefix(name, rng.choice(list(world.requests)[:-1]))
        running = [r for r, held in world.requests.items() if held.running]
        if running and rng.random() < 0.15:
            world.preempt(rng.choice(running))
        elif running and rng.random() < 0.1:
            world.release(rng.choice(running))
        chosen = [r for r in world.requests if rng.random() < 0.8]
        rng.shuffle(chosen)
        if not chosen:
            continue
        plan = world.step([(r, rng.choice((world.left(r), rng.randint(1, world.left(r))))) for r in chosen])
        tokens = runner.execute(runner.prepare(plan))
        assert [t is not None for t in tokens] == list(plan.samples)
        for name, token in zip(plan.request_ids, tokens, strict=True):
            if token is not None:
                sampled.append((list(world.requests[name].tokens), token))
        runner.accept(plan, world.accept(plan, tokens))
    return sampled


@pytest.mark.parametrize("attention", ["numba", "torch"])
@pytest.mark.parametrize(("qk_norm", "heads", "kv_heads"), [(False, 4, 2), (True, 3, 1), (True, 2, 2)])
@pytest.mark.parametrize("block_size", [1, 2, 16, 256])
def test_any_plans_give_the_tokens_of_the_whole_sequence(attention, qk_norm, heads, kv_heads, block_size) -> None:
    small = tiny(qk_norm, heads, kv_heads)
    weights = random_weights(small, seed=block_size)
    num_blocks = max(16, 600 // block_size)
    runner = Runner.on_cpu(Model(small, weights, NumbaOps()), num_blocks, block_size, attention=attention)
    world = World(num_blocks, block_size, seed=1)
    longest = 60 if block_size < 256 else 30
    sampled = run_randomly(runner, world, Random(block_size), 60, longest)
    assert len(sampled) > 40
    assert len({token for _, token in sampled}) > 8, "greedy output has collapsed: the test would see no error"
    for context, token in sampled:
        expected = logits(small, weights, context)
        assert expected.max() - expected[token] < NEAR_TIE, f"{token} instead of {expected.argmax()} after {context}"


@pytest.mark.parametrize("attention", ["numba", "torch"])
def test_a_prompt_beyond_a_tile_in_chunks(attention) -> None:
    """Prefill attention works in tiles of 256 queries; chunks of other sizes cross their edges."""
    small = tiny()
    weights = random_weights(small)
    runner, world = Runner.on_cpu(Model(small, weights, NumbaOps()), 80, 16, attention=attention), World(80, 16)
    world.add("long", [(7 * i * i) % 97 for i in range(590)])
    for chunk in (1, 300, 288, 1):
        plan = world.step([("long", chunk)])
        tokens = runner.execute(runner.prepare(plan))
    expected = logits(small, weights, world.requests["long"].tokens)
    assert tokens[0] is not None
    assert expected.max() - expected[tokens[0]] < NEAR_TIE


def test_a_step_may_hit_blocks_that_it_computes_itself() -> None:
    """Both sequences are in one plan: the second reads KV that the first stores in this very step."""
    small = tiny()
    weights = random_weights(small)
    runner = Runner.on_cpu(Model(small, weights, NumbaOps()), 8, 4)
    prompt = list(range(10, 19))
    plan = Plan(
        step_id=0,
        request_ids=("second", "first"),
        starts=(8, 0),
        num_tokens=(1, 9),
        samples=(True, True),
        prompt_lens=(9, 9),
        admitted=(Admission("second", tuple(prompt), 8), Admission("first", tuple(prompt), 0)),
        new_blocks=(("second", (3, 6, 1)), ("first", (3, 6, 5))),
        preempted=(),
        released=(),
    )
    second, first = runner.execute(runner.prepare(plan))
    assert second == first == logits(small, weights, prompt).argmax()


def test_the_token_the_world_accepted_is_fed_back() -> None:
    small = tiny()
    weights = random_weights(small)
    runner, world = Runner.on_cpu(Model(small, weights, NumbaOps()), 8, 4), World(8, 4)
    world.add("a", [1, 2, 3])
    plan = world.step([("a", 3)])
    runner.execute(runner.prepare(plan))
    runner.accept(plan, world.accept(plan, [55]))
    plan = world.step([("a", 1)])
    assert runner.execute(runner.prepare(plan)) == [logits(small, weights, [1, 2, 3, 55]).argmax()]


def test_inputs_stay_as_they_were_when_a_later_plan_is_prepared() -> None:
    runner, world = Runner.on_cpu(tiny(), 16, 4), World(16, 4)
    for name in "ab":
        world.add(name, [5] * 9)
    inputs = runner.prepare(world.step([("a", 4), ("b", 9)]))
    before = [array.copy() for array in (inputs.token_ids, inputs.batch.block_tables, inputs.batch.slots)]
    world.preempt("b")
    runner.prepare(world.step([("a", 5), ("b", 3)]))
    for old, now in zip(before, (inputs.token_ids, inputs.batch.block_tables, inputs.batch.slots), strict=True):
        np.testing.assert_array_equal(old, now)


def test_more_requests_than_rows() -> None:
    """Rows double at 64; the tokens and blocks of those already there must move along."""
    small = tiny()
    weights = random_weights(small)
    runner, world = Runner.on_cpu(Model(small, weights, NumbaOps()), 400, 2), World(400, 2)
    for i in range(130):
        world.add(f"r{i}", [i % 97, (3 * i) % 97])
        if i in (0, 63, 64, 129):
            plan = world.step([(r, world.left(r)) for r in world.requests])
            contexts = [list(world.requests[r].tokens) for r in plan.request_ids]
            tokens = runner.execute(runner.prepare(plan))
            runner.accept(plan, world.accept(plan, tokens))
    for context, token in zip(contexts, tokens, strict=True):
        expected = logits(small, weights, context)
        assert expected.max() - expected[token] < NEAR_TIE


GOOD = Plan(0, ("a",), (0,), (3,), (True,), (3,), (Admission("a", (1, 2, 3), 0),), (("a", (0,)),), (), ())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"request_ids": ("ghost",)}, InvariantError, "ghost, which was not admitted"),
        ({"new_blocks": (("ghost", (0,)),)}, InvariantError, "ghost, which was not admitted"),
        ({"new_blocks": (("a", (8,)),)}, InvariantError, "block 8, but the pool has 8"),
        ({"new_blocks": (("a", (-1,)),)}, InvariantError, "block -1"),
        ({"new_blocks": ()}, InvariantError, "stores beyond its blocks"),
        ({"starts": (1,)}, InvariantError, "starts beyond what is stored"),
        ({"starts": (-1,)}, InvariantError, "starts before its first token"),
        ({"num_tokens": (0,)}, InvariantError, "computes no token"),
        ({"num_tokens": (4,)}, InvariantError, "tokens nobody knows"),
        ({"admitted": GOOD.admitted * 2}, InvariantError, "admitted again"),
        (
            {"request_ids": ("a", "a"), "starts": (0, 0), "num_tokens": (1, 1), "samples": (True, True)},
            InvariantError,
            "one entry a request",
        ),
        ({"admitted": (Admission("a", (1, 2, 97), 0),)}, RequestError, "token 97"),
        ({"admitted": (Admission("a", (1, -2, 9), 0),)}, RequestError, "token -2"),
        ({"admitted": (Admission("a", (1,) * 21, 0),)}, RequestError, "21 tokens, but model tiny has 20 positions"),
        ({"new_blocks": (("a", (0, 1, 2, 3, 4, 5)),)}, RequestError, "6 blocks of 4 tokens"),
    ],
)
def test_a_plan_that_cannot_be_executed_says_why(change, error, message) -> None:
    runner = Runner.on_cpu(tiny(max_position=20), 8, 4)
    with pytest.raises(error, match=message):
        runner.prepare(GOOD._replace(**change))


def test_released_and_preempted_are_forgotten() -> None:
    runner = Runner.on_cpu(tiny(), 8, 4)
    runner.prepare(GOOD)
    runner.prepare(GOOD._replace(preempted=("a", "never seen")))
    runner.prepare(GOOD._replace(released=("a",)))
    runner.forget(("a", "never seen"))
    runner.prepare(GOOD)


def test_an_answer_for_another_batch_is_refused() -> None:
    runner = Runner.on_cpu(tiny(), 8, 4)
    runner.prepare(GOOD)
    with pytest.raises(InvariantError, match="1 entries, got 2"):
        runner.accept(GOOD, [(1,), (2,)])


def test_warm_up_leaves_no_request_behind() -> None:
    runner = Runner.on_cpu(tiny(), 3, 4)
    runner.warm_up()
    assert runner.execute(runner.prepare(GOOD)) == Runner.on_cpu(tiny(), 3, 4).execute(runner_inputs())


def runner_inputs():
    return Runner.on_cpu(tiny(), 3, 4).prepare(GOOD)


def test_shapes_have_the_size_they_are_named_after() -> None:
    assert SHAPES["600m"].num_parameters == 596_049_920  # Qwen3-0.6B's safetensors, tied
    for name in SHAPES:
        small = replace(SHAPES[name], num_layers=1, vocab_size=50)
        weights = random_weights(small)
        counted = sum(
            tensor.numel()
            for layer in weights.layers
            for tensor in (getattr(layer, field) for field in layer.__slots__)
            if tensor is not None
        )
        assert counted + weights.embedding.numel() + weights.final_norm.numel() == small.num_parameters
    assert SHAPES["15m"].kv_bytes_per_token(4) == 6 * 2 * 2 * 48 * 4


def test_an_unknown_shape_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 15m"):
        shape("16m")


@pytest.mark.parametrize("absent", ["torch", "numba"])
def test_without_its_libraries_runner_and_llm_say_what_to_install(absent, repo) -> None:
    code = f"""
import importlib, sys
sys.modules[{absent!r}] = None
import realexec, realexec.shapes
from serving.errors import BlockedError
for name in ("runner", "llm"):
    try:
        importlib.import_module("realexec." + name)
    except BlockedError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, text=True)
    assert done.stdout.count(f"needs {absent}") == 2, done.stderr
    assert done.stdout.count("pip install 'servetwin[real]'") == 2
