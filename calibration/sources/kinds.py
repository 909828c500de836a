"""The kinds of foreign measurement that a profile can be made of. Modules are loaded when they are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from serving.names import known

if TYPE_CHECKING:
    from calibration.sources.source import Source


@dataclass(frozen=True)
class Kind:
    """module: in this package. path: what PATH is, in words."""

    module: str
    path: str


KINDS: Mapping[str, Kind] = {
    "vllm-log": Kind("vllm_log", "log of vllm serve --enable-logging-iteration-details: what each step held and took"),
    "step-log": Kind("step_log", "JSONL that docs/examples/vllm_step_log.py, a vLLM scheduler, writes: a step a line"),
    "vllm-bench": Kind("vllm_bench", "folder of JSON files of vllm bench serve --save-detailed, with config.json"),
    "requests": Kind("requests", "folder of runs, each with requests.csv.gz and config.json: latencies at a few rates"),
    "steps": Kind("steps", "folder with steps.csv.gz: step times with the features of each batch"),
    "kernels": Kind("kernels", "TOML that names a folder of kernel times of one layer, and what those leave out"),
    "aiconfigurator": Kind("aiconfigurator", "TOML that names GPU, engine and model of NVIDIA's operator data"),
    "roofline": Kind(
        "roofline", "TOML: a datasheet, a model's shape, and a measured profile to take efficiencies from"
    ),
}


def source(kind: str) -> "Source":
    """What makes profiles of this kind. Errors: ConfigError that names the nearest kind."""
    module = import_module(f"calibration.sources.{KINDS[known('kind of measurement', kind, KINDS)].module}")
    made: Source = module.profile_from
    return made
