"""What is missing or contradicts is said: what, where, what to do."""

from pathlib import Path

import pandas as pd
import pytest

from calibration.kernel_profile.setting import read_setting
from calibration.sources.kernels import profile_from
from serving.errors import ConfigError, MeasurementError
from tests.calibration.kernels import machine


def test_a_folder_is_no_setting(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="give the TOML"):
        read_setting(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("layers = 10", "layers = 0", "layers"),
        ("layers = 10", "layer = 10", "layer"),
        ('tables = "bf16"', "tables = ", "not TOML"),
        ("[model]", "tensor_parallel = 2\n[model]", "tp2: no such folder .there: tp1"),
        ("[model]", "expert_parallel = 2\n[model]", "no experts"),
        ("max_position = 8192", "max_position = 8192\nexperts = 8\nexperts_per_token = 2", "no moe.csv"),
    ],
)
def test_a_wrong_setting_names_its_place(tmp_path: Path, before: str, after: str, says: str) -> None:
    path = machine.write(tmp_path)
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(MeasurementError, match=says):
        profile_from(path, "wrong", 0)


def test_an_unknown_engine_setting_is_an_error(tmp_path: Path) -> None:
    path = machine.write(tmp_path)
    path.write_text(path.read_text().replace("max_num_seqs", "max_seqs"))
    with pytest.raises(ConfigError, match="max_seqs"):
        profile_from(path, "wrong", 0)


@pytest.mark.parametrize(
    ("file", "column"), [("dense", "layer"), ("attention", "n_decode"), ("per_sequence", "time_us")]
)
def test_a_table_without_a_column_is_named(tmp_path: Path, file: str, column: str) -> None:
    setting = machine.write(tmp_path)
    place = tmp_path / "bf16" / "tp1" / f"{file}.csv"
    pd.read_csv(place).drop(columns=column).to_csv(place, index=False)
    with pytest.raises(MeasurementError, match=rf"{file}\.csv: has no column {column}"):
        profile_from(setting, "wrong", 0)


def test_a_time_of_nothing_is_no_measurement(tmp_path: Path) -> None:
    setting = machine.write(tmp_path)
    place = tmp_path / "bf16" / "tp1" / "dense.csv"
    table = pd.read_csv(place)
    table.loc[3, "time_us"] = 0.0
    table.to_csv(place, index=False)
    with pytest.raises(MeasurementError, match="above 0"):
        profile_from(setting, "wrong", 0)
