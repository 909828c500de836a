"""The link between devices and host memory, by hand: replicas that share one wait for each other's KV."""

import pytest

from serving.errors import ConfigError
from sim.fleet.plan import LinkSpec
from sim.scripted import ScriptedCost
from tests.sim.fleet.world import Machine, both_paths, play, requests

SWAPS = {
    "num_blocks": 3,
    "block_size": 4,
    "num_host_blocks": 8,
    "preemption": "swap",
    "enable_prefix_caching": False,
    "scheduler_reserve_full_isl": False,
}
SWAPPING = Machine(ScriptedCost(execute=100), settings=SWAPS, kv_bytes_per_token=5)
BLOCK = 4 * 5
"""Bytes. The link below moves one in 20 ns."""


@both_paths
@pytest.mark.parametrize("shared", [1, 2])
def test_who_swaps_at_the_same_instant_waits_if_the_link_is_shared(plain: bool, shared: int) -> None:
    """Two requests of 4 prompt and 6 output tokens on each replica: three blocks hold the first one to its end, so in
    step 2 the second one, with one block written, moves to the host. It comes back once the first has ended."""
    load = requests((0, 4, 6), (0, 4, 6), (0, 4, 6), (0, 4, 6))
    link = LinkSpec(bytes_per_s=1e9, latency=0)
    told = play(load, [SWAPPING, SWAPPING], plain=plain, host_link=link, replicas_per_host_link=shared)
    away = 20
    first, second = told.replica_steps(0), told.replica_steps(1)
    assert first[0] == (0, 100, {"r0": 4, "r2": 4})
    assert second[0] == (0, 100, {"r1": 4, "r3": 4})
    assert first[1] == (100, 200 + away, {"r0": 1})
    wait = away if shared == 2 else 0
    assert second[1] == (100, 200 + away + wait, {"r1": 1})
    assert all(len(times) == 6 for times in told.tokens.values())


def test_a_host_link_is_shared_by_at_least_one_replica() -> None:
    with pytest.raises(ConfigError, match="replicas_per_host_link"):
        play(requests((0, 1, 1)), [SWAPPING], replicas_per_host_link=2)
