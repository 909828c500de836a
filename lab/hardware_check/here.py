"""Runs on the real engine of this machine; those that are there already are kept."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab.hardware_check.contest import Contestant
from lab.load_class import load_class
from lab.runs import check_servable, engine_identity, execute_run, load_runner, workload_identity
from realexec.compute import Compute
from records.profile import Profile
from records.profile_cost import ProfileCost
from records.run import RunRecord, read_run
from serving.errors import RecordError
from serving.schedule.config import EngineConfig
from serving.schedule.engine import EngineSpec, build
from workloads.workload import Workload

WARMED_FOR = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "num_blocks", "num_host_blocks")


class Here:
    """Loads the model when the first run needs it. specs: by cell, with all that the profile says.

    One runner serves all cells, warmed up for the largest of their settings; one more for each other size of blocks.
    """

    def __init__(
        self, model: str, compute: Compute, seed: int, specs: Mapping[str, EngineSpec], profile: Profile
    ) -> None:
        self._model = model
        self._compute = compute
        self._seed = seed
        self._specs = specs
        self._profile = profile
        self._runners: dict[int, Any] = {}

    def check_servable(self, workload: Workload) -> None:
        """Errors: WorkloadError naming a request that an engine could never serve."""
        cost = ProfileCost(self._profile)
        check_servable(workload, [build(spec, cost=cost, load=load_class) for spec in self._specs.values()])

    def kept(self, folder: Path, one: Contestant, workload: Workload) -> RunRecord | None:
        """The run that is there; None where there is none. Errors: RecordError for another one, or a damaged one."""
        if not (folder / "manifest.json").exists():
            return None
        record = read_run(folder)
        spec = self._specs[one.name]
        scheduler = build(spec, cost=ProfileCost(self._profile), load=load_class)
        engine = engine_identity(spec, one.scenario.predictor, scheduler)
        manifest = record.manifest
        if manifest.world != "real" or manifest.engine != engine or manifest.workload != workload_identity(workload):
            raise RecordError(
                f"{folder} is not a run of cell {one.name} on these requests; remove it, or give another --out"
            )
        return record

    def run(
        self, folder: Path, one: Contestant, workload: Workload, progress: Callable[[int], None] | None = None
    ) -> RunRecord:
        """Errors: ConfigError, BlockedError where the model cannot be loaded; what the engine raised."""
        spec = self._specs[one.name]
        return execute_run(
            folder,
            workload,
            self._runner(spec),
            spec,
            one.scenario.predictor,
            profile=self._profile,
            seed=self._seed,
            max_in_flight=one.scenario.max_in_flight,
            progress=progress,
        )

    def load(self) -> None:
        """All runners that the cells need, so that no run waits for one."""
        for spec in self._specs.values():
            self._runner(spec)

    def _runner(self, spec: EngineSpec) -> Any:
        block_size = _setting(spec, "block_size")
        if block_size not in self._runners:
            alike = [s for s in self._specs.values() if _setting(s, "block_size") == block_size]
            largest = {name: max(_setting(s, name) for s in alike) for name in WARMED_FOR}
            settings = {"block_size": block_size, **largest}
            self._runners[block_size] = load_runner(self._model, settings, self._compute, self._seed)
        return self._runners[block_size]


def _setting(spec: EngineSpec, name: str) -> int:
    return int(str(spec.settings.get(name, getattr(EngineConfig(), name))))
