"""An engine with the KV pool of one run and the rules of the other; and what differs between two."""

from typing import NamedTuple

from calibration.substitution.factors import Coalition, Factor
from records.manifest import EngineIdentity
from records.run import RunRecord

POOL = ("num_blocks", "block_size", "num_host_blocks", "preemption", "enable_prefix_caching")
"""Settings of the KV pool; all others are rules of the scheduler."""
PARTS = ("preset", "policy", "reservation", "admission")


class Difference(NamedTuple):
    """A setting or part of the engine in the two runs; option: as the command line spells it."""

    name: str
    simulated: object
    measured: object

    @property
    def option(self) -> str:
        name = self.name.replace("_", "-")
        if isinstance(self.measured, bool):
            return f"--{name}" if self.measured else f"--no-{name}"
        return f"--{name} {self.measured}"

    def __str__(self) -> str:
        return f"{self.name} {_told(self.measured)} (simulated: {_told(self.simulated)})"


def _told(value: object) -> str:
    return "none" if value == "" else f"{value}"


def measured_engine(record: RunRecord) -> EngineIdentity:
    """As the manifest says, with as many KV blocks as the steps show."""
    engine = record.manifest.engine
    block_size = engine.settings.get("block_size")
    if block_size is None or not len(record.steps):
        return engine
    num_blocks = int(record.steps["kv_total"].iloc[0]) // int(block_size)
    return engine.model_copy(update={"settings": {**engine.settings, "num_blocks": num_blocks}})


def mixed(simulated: EngineIdentity, measured: EngineIdentity, taken: Coalition) -> EngineIdentity:
    """STATE taken: the pool is the measured one; BATCH taken: the rules are."""
    pool = measured if Factor.STATE in taken else simulated
    rules = measured if Factor.BATCH in taken else simulated
    own = {name: value for name, value in rules.settings.items() if name not in POOL}
    of_pool = {name: pool.settings[name] for name in POOL if name in pool.settings}
    parts = {"settings": {**own, **of_pool}, "eviction": pool.eviction, "code": {**simulated.code, **measured.code}}
    return rules.model_copy(update=parts)


def pool_differences(simulated: EngineIdentity, measured: EngineIdentity) -> list[Difference]:
    found = _settings(simulated, measured, of_pool=True)
    if simulated.eviction != measured.eviction:
        found.append(Difference("eviction", simulated.eviction, measured.eviction))
    return found


def rule_differences(simulated: EngineIdentity, measured: EngineIdentity) -> list[Difference]:
    found = [
        Difference(part, getattr(simulated, part), getattr(measured, part))
        for part in (*PARTS, "predictor")
        if getattr(simulated, part) != getattr(measured, part)
    ]
    found += [
        Difference(file, simulated.code.get(file, ""), sha256)
        for file, sha256 in measured.code.items()
        if simulated.code.get(file, sha256) != sha256
    ]
    return found + _settings(simulated, measured, of_pool=False)


def _settings(simulated: EngineIdentity, measured: EngineIdentity, of_pool: bool) -> list[Difference]:
    return [
        Difference(name, simulated.settings.get(name), value)
        for name, value in measured.settings.items()
        if (name in POOL) == of_pool and name in simulated.settings and simulated.settings[name] != value
    ]
