"""How to start a server that runs a cell: ours, and vLLM where it can decide as the cell does."""

from collections.abc import Iterator
from shlex import join

from lab.hardware_check.contest import Contestant
from lab.load_class import load_class
from records.profile import Profile
from records.profile_cost import ProfileCost
from serving.errors import ConfigError
from serving.schedule.config import EngineConfig
from serving.schedule.engine import EngineSpec, build

OWN_MODELS = ("15m", "110m", "600m")
"""With random weights, which vLLM cannot load by name."""
IN_VLLM = {
    "max_num_seqs": "--max-num-seqs",
    "max_num_batched_tokens": "--max-num-batched-tokens",
    "max_model_len": "--max-model-len",
    "block_size": "--block-size",
    "num_blocks": "--num-gpu-blocks-override",
    "long_prefill_token_threshold": "--long-prefill-token-threshold",
    "watermark": "--watermark",
    "enable_prefix_caching": "--enable-prefix-caching",
    "enable_chunked_prefill": "--enable-chunked-prefill",
    "scheduler_reserve_full_isl": "--scheduler-reserve-full-isl",
    "async_scheduling": "--async-scheduling",
}
"""Settings of EngineConfig by vLLM's flags, as `vllm serve --help` lists them (0.24; names in config.py are 0.32's)."""
VLLM_POLICIES = ("fcfs", "priority")
"""Of --scheduling-policy (SchedulerPolicy in vllm/config/scheduler.py)."""


def starting(one: Contestant, spec: EngineSpec, profile: Profile, port: int) -> Iterator[str]:
    """Lines for a person: a command each, or why there is none."""
    yield f"cell {one.name}:"
    yield f"  {servetwin_serve(one, spec, profile, port)}"
    try:
        name = _model(profile)
        config = build(spec, cost=ProfileCost(profile), load=load_class).config
        yield "  " + vllm_serve(spec, config, "MODEL" if name in OWN_MODELS else name, port)
    except ConfigError as error:
        yield f"  (not with vLLM: {error})"
    yield f"  then: --url {join([f'{one.name}=http://127.0.0.1:{port}'])}"


def servetwin_serve(one: Contestant, spec: EngineSpec, profile: Profile, port: int) -> str:
    words = ["servetwin", "serve", "--model", _model(profile)]
    words += ["--preset", spec.preset, "--policy", spec.policy]
    for part in ("reservation", "eviction", "admission"):
        if getattr(spec, part):
            words += [f"--{part}", getattr(spec, part)]
    if one.scenario.predictor:
        words += ["--predictor", one.scenario.predictor]
    if _predicts_times(spec):
        words += ["--profile", one.scenario.profile]
    for setting, value in spec.settings.items():
        words += _flag(f"--{setting.replace('_', '-')}", value)
    return join([*words, "--port", str(port)])


def vllm_serve(spec: EngineSpec, config: EngineConfig, model: str, port: int) -> str:
    """Every setting is stated, as vLLM's defaults depend on the device. Errors: ConfigError: what vLLM has not got."""
    if spec.preset != "vllm":
        raise ConfigError(f"it does not batch as preset {spec.preset}")
    if spec.policy not in VLLM_POLICIES:
        raise ConfigError(f"it has no policy {spec.policy}")
    for part in ("reservation", "eviction", "admission"):
        if getattr(spec, part):
            raise ConfigError(f"it has no {part} {getattr(spec, part)}")
    if config.num_host_blocks:
        raise ConfigError("its copies to host memory are set up otherwise than by a flag")
    words = ["vllm", "serve", model, "--scheduling-policy", spec.policy]
    for setting, flag in IN_VLLM.items():
        value = getattr(config, setting)
        if isinstance(value, bool) or value:  # 0 is vLLM's own default of the two that can be 0
            words += _flag(flag, value)
    return join([*words, "--port", str(port)])


def _model(profile: Profile) -> str:
    return str(profile.model.get("name") or "MODEL")


def _flag(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [name if value else f"--no-{name.removeprefix('--')}"]
    return [name, str(value)]


def _predicts_times(spec: EngineSpec) -> bool:
    """Whether it can be put together without a profile."""
    try:
        build(spec, load=load_class)
    except ConfigError:
        return True
    return False
