"""The published step models: the function, the profiles and the words of the file say the same."""

import json
from bisect import bisect_left
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import shipped
from calibration.model.published import FILE, milliseconds, published, setting_name
from records.json_values import pretty_json
from records.profile_cost import ProfileCost
from serving.cost import StepFeatures
from serving.errors import ConfigError, MeasurementError

MEASURED = Path(__file__).parents[4] / "shared" / "measured" / "b300-steps"
CONTENTS = json.loads(FILE.read_text())
SETTINGS = sorted(CONTENTS["settings"])
ROW = {
    "sum_prefill_tokens": 700,
    "num_prefill_requests": 3,
    "sum_prefill_kv_tokens": 4000,
    "var_prefill_length": 250.0,
    "num_decode_requests": 13,
    "sum_decode_kv_tokens": 50_000,
}


@st.composite
def a_step(draw: Any) -> StepFeatures:
    chunk, stored = draw(st.sampled_from([0, 1, 100, 3000, 8161])), draw(st.integers(0, 9000))
    decodes = draw(st.integers(0 if chunk else 1, 128))
    context = decodes * draw(st.integers(1, 8000))
    if not chunk:
        return StepFeatures.of_decodes(decodes, context)
    return StepFeatures.of_chunk(chunk, stored, decodes, context)


def in_words(model: dict[str, Any], step: StepFeatures) -> float:
    """As the text "how" says, from the file alone."""

    def of(cost: dict[str, Any]) -> float:
        total = 0.0
        for term in cost["terms"]:
            x = 1.0 if term["feature"] == "one" else float(getattr(step, term["feature"]))
            sizes = model["graph_sizes"]
            if term["padded"] and x <= sizes[-1]:
                x = sizes[bisect_left(sizes, x)]
            x = max(x, term["low"])
            total += term["coefficient_ms"] * ((x if term["high"] is None else min(x, term["high"])) - term["low"])
        for overlap in cost["overlaps"]:
            sides, power = [of(side) for side in overlap["of"]], overlap["power"]
            total += max(sides) if power == "max" else sum(side**power for side in sides) ** (1 / power)
        return total

    return of(model["execute"])


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_profile_of_the_same_name_has_the_same_model(setting: str) -> None:
    model = CONTENTS["settings"][setting]
    profile = shipped.find_profile(Path(setting))
    assert profile.execute.model_dump(mode="json") == model["execute"]
    assert list(profile.graph_sizes) == model["graph_sizes"]
    assert profile.source is not None
    assert profile.source["errors"] == model["errors"]


@given(st.sampled_from(SETTINGS), a_step())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_function_is_the_simulation_and_what_the_words_say(setting: str, step: StepFeatures) -> None:
    found = milliseconds(setting, step)
    simulated = ProfileCost(shipped.find_profile(Path(setting))).execute_time(step)
    assert found == pytest.approx(simulated / 1e6, abs=1e-6)
    assert found == pytest.approx(in_words(CONTENTS["settings"][setting], step))


def test_a_row_of_a_log_is_as_good_as_its_features() -> None:
    squares = 700**2 / 3 + 3 * 250
    pairs = round(4000 * 700 / 3 + (squares + 700) / 2)
    step = StepFeatures(16, 713, 16, 3, 700, 4000, pairs, 50_013)
    assert milliseconds(SETTINGS[0], ROW) == milliseconds(SETTINGS[0], step)


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="did you mean b300-qwen3-32b-tp"):
        milliseconds("b300-qwen3-32b-tp3-vllm", ROW)
    with pytest.raises(ConfigError, match="the step has no 'sum_decode_kv_tokens'"):
        milliseconds(SETTINGS[0], {k: v for k, v in ROW.items() if k != "sum_decode_kv_tokens"})


def test_settings_are_named_after_their_folders(tmp_path: Path) -> None:
    assert setting_name("fpm_qwen3-32b_tp1_ep1_past4096_sweep") == "b300-qwen3-32b-tp1-vllm"
    assert setting_name("fpm_qwen3.6-35b-a3b_tp8_ep8_past4096_sweep") == "b300-qwen3.6-35b-a3b-tp8-ep8-vllm"
    with pytest.raises(MeasurementError, match="no folder calibrate/fpm_"):
        published(tmp_path)


@pytest.mark.long
@pytest.mark.skipif(not MEASURED.exists(), reason="../shared/measured/b300-steps is not here")
def test_the_file_is_what_the_command_writes() -> None:
    """On another machine, to the last digits but two: least squares sums in another order."""
    _, contents = published(MEASURED)
    assert json.loads(pretty_json(contents)) == _near(CONTENTS)


def _near(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _near(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_near(part) for part in value]
    return pytest.approx(value, rel=1e-4, abs=1e-9) if isinstance(value, float) else value
