"""What a demo runs in both worlds."""

from dataclasses import dataclass

from serving.errors import ConfigError
from serving.schedule.engine import EngineSpec


@dataclass(frozen=True)
class Trial:
    """What both worlds run. loads: shares of capacity. engines: preset, or preset/policy. seconds: of arrivals in each
    run. predictor: who tells the engines of output lengths (workloads/predict.py); "": nobody. async_scheduling: of all
    engines.
    """

    loads: tuple[float, ...] = (0.5, 0.8)
    engines: tuple[str, ...] = ("vllm", "nano-vllm")
    repeats: int = 2
    seconds: float = 14.0
    predictor: str = ""
    async_scheduling: bool = False

    def specs(self) -> dict[str, EngineSpec]:
        """By a name that a folder can have. Errors: ConfigError for what is none."""
        found = {}
        settings = {"async_scheduling": True} if self.async_scheduling else {}
        for engine in self.engines:
            preset, _, policy = engine.partition("/")
            found["".join(c if c.isalnum() else "-" for c in engine)] = EngineSpec(
                preset, policy or EngineSpec().policy, settings=settings
            )
        if len(found) < len(self.engines):
            raise ConfigError("two of the engines are the same; give each once")
        return found
