"""A step is its kernels, as often as it has layers, and what lies between and beside them."""

from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.kernel_profile.captured import padded
from calibration.kernel_profile.compose import compose, kernels_per_layer, timed
from calibration.kernel_profile.experts import experts_us
from calibration.kernel_profile.host import Host, Prior
from calibration.kernel_profile.setting import read_setting
from calibration.kernel_profile.tables import at, read_tables
from calibration.kernel_profile.uneven import uneven
from tests.calibration.kernels import machine

EXPERTS = "experts = 32\nexperts_per_token = 4"


def test_a_step_is_the_sum_of_its_kernels(tmp_path: Path) -> None:
    setting = read_setting(machine.write(tmp_path))
    tables = read_tables(tmp_path / "bf16", 1)
    steps = compose(tables, setting)
    one = steps[(steps["prefill_tokens"] == 256) & (steps["prefill_context"] == 0) & (steps["num_seqs"] == 9)]
    one = one[one["decode_context"] == 8 * 512].iloc[0]
    rows = 264
    layer = sum(machine.dense_us(name, rows) for name in ("layernorm", "layernorm", "qkv_proj", "down_proj"))
    once = sum(machine.dense_us(name, rows) for name in ("embedding", "final_layernorm"))
    expected = 10 * (layer + machine.attention_us(256, 0, 8, 512)) + once + sum(machine.PER_SEQUENCE.values())
    assert one["device_us"] == pytest.approx(expected, rel=1e-6)


def test_only_steps_that_the_engine_can_run(tmp_path: Path) -> None:
    setting = read_setting(machine.write(tmp_path))
    steps = compose(read_tables(tmp_path / "bf16", 1), setting)
    assert steps["num_seqs"].max() <= 64
    assert steps["decode_context"].max() <= setting.pool_tokens == 4096 * 16
    assert set(steps["kind"]) == {"decode", "prefill", "mixed"}


def test_launches_cost_steps_with_a_prefill_and_gaps_cost_every_step(tmp_path: Path) -> None:
    setting = read_setting(machine.write(tmp_path))
    tables = read_tables(tmp_path / "bf16", 1)
    steps = compose(tables, setting)
    zero = setting.host.expected()
    plain = timed(steps, tables, setting, zero)
    slow = timed(steps, tables, setting, zero.model_copy(update={"kernel_gap_us": 2.0, "launch_us": 10.0}))
    more = (slow["execute_ms"] - plain["execute_ms"]).to_numpy() * 1e3 / (10 * kernels_per_layer(tables))
    assert np.allclose(more, np.where(steps["num_prefill_seqs"] > 0, 12.0, 2.0))
    assert kernels_per_layer(tables) == 6  # two norms, two products, attention, the KV write


def test_gpus_that_share_layers_exchange_activations_twice_a_layer(tmp_path: Path) -> None:
    path = machine.write(tmp_path, parallel=2, head="tensor_parallel = 2\n")
    setting = read_setting(path)
    tables = read_tables(tmp_path / "bf16", 2)
    steps = compose(tables, setting)
    host = setting.host.expected()
    extra = timed(steps, tables, setting, host)["execute_ms"] - steps["device_us"] / 1e3
    assert np.allclose(extra, 2 * 10 * padded(steps["num_tokens"], setting.graph_sizes) * 1024 * 2 / 40e9 * 1e3)


def test_experts_that_others_hold_are_not_read(tmp_path: Path) -> None:
    alone = read_setting(machine.write(tmp_path, model=EXPERTS))
    shared = alone.model_copy(update={"expert_parallel": 2})
    moe = pd.DataFrame({count: 10.0 * count for count in (4, 8, 16, 32)}, index=pd.Index([1, 2048], name="tokens"))
    many = np.array([1024.0])
    assert experts_us(moe, many, alone) == pytest.approx([320.0])
    assert experts_us(moe, many, shared) == pytest.approx([160.0])
    few = experts_us(moe, np.array([1.0, 2.0, 4.0]), alone)
    assert few[0] == pytest.approx(40.0)  # one token takes exactly its four
    assert np.all(np.diff(few) > 0)


def test_uneven_contexts_count_for_several_decodes_only(tmp_path: Path) -> None:
    setting = read_setting(machine.write(tmp_path))
    steps = compose(read_tables(tmp_path / "bf16", 1), setting)
    assert np.all(uneven(steps, None, setting) == 1.0)
    row = {"n": 16, "ratio": 0.5, "pc": 0, "kp": 0, "kv_big": 1024, "kv_mean": 640, "t_mean_us": 10, "t_skew_us": 11}
    factor = uneven(steps, pd.DataFrame([row, {**row, "pc": 64, "t_skew_us": 12}]), setting)
    decodes = steps["num_seqs"] - steps["num_prefill_seqs"]
    assert np.allclose(factor[(decodes >= 8) & (steps["kind"] == "decode")], 1.1)
    assert np.allclose(factor[(decodes >= 8) & (steps["kind"] == "mixed")], 1.2)
    assert np.all(factor[decodes < 8] == 1.0)


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=6), st.floats(1, 5000))
def test_a_table_is_kept_to_between_its_rows_and_grows_beyond(times: list[float], rows: float) -> None:
    table = pd.DataFrame({"kernel": times}, index=[2.0**i for i in range(len(times))])
    value = float(at(table, np.array([rows]))[0, 0])
    last = float(table.index[-1])
    if rows > last:
        assert value == pytest.approx(times[-1] * rows / last)
    else:
        assert min(times) - 1e-9 <= value <= max(times) + 1e-9


def test_draws_of_the_host_stay_in_range_and_repeat() -> None:
    host = Host(launch_us=Prior(low=3, value=3, high=3))
    drawn = [host.drawn(Random(seed)) for seed in range(50)]
    for name, prior in host:
        values = [getattr(one, name) for one in drawn]
        assert prior.low <= min(values) <= max(values) <= prior.high
    assert drawn[7] == host.drawn(Random(7))
    assert {one.launch_us for one in drawn} == {3.0}
