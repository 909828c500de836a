"""Which runs belong together: those of one workload under one engine; what is refused."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from records.manifest import EngineIdentity
from records.run import RunRecord
from serving.errors import RecordError


def groups_of(records: Sequence[RunRecord]) -> list[tuple[str, list[RunRecord]]]:
    """Label of the engine, and its runs; by workload, then label. The label names settings in which engines differ.

    Errors: RecordError where a group lacks a simulated or a measured run, or a run is given twice.
    """
    _check_once(records)
    return sorted(_groups(records), key=_by_workload)


def _by_workload(group: tuple[str, list[RunRecord]]) -> tuple[str, str, str]:
    label, runs = group
    return runs[0].manifest.workload.name, runs[0].manifest.workload.sha256, label


def engine_label(engine: EngineIdentity) -> str:
    return f"{engine.preset}/{engine.policy}"


def _label(record: RunRecord) -> str:
    fleet = record.manifest.fleet
    label = engine_label(record.manifest.engine)
    return label if fleet is None else f"{len(fleet.replicas)} replicas of {label} behind {fleet.router}"


def _groups(records: Sequence[RunRecord]) -> Iterator[tuple[str, list[RunRecord]]]:
    groups: dict[tuple[str, str], dict[str, list[RunRecord]]] = {}
    for record in records:
        alike = groups.setdefault((record.manifest.workload.sha256, _label(record)), {})
        alike.setdefault(json.dumps(_settings(record), sort_keys=True), []).append(record)
    for (_, label), alike in groups.items():
        by_settings = list(alike.values())
        for runs in by_settings:
            _check_worlds(label, runs, by_settings)
            differing = _differing([group[0] for group in by_settings])
            own = _settings(runs[0])
            yield " ".join([label, *(f"{name}={own.get(name)}" for name in differing)]), runs


def _settings(record: RunRecord) -> Mapping[str, object]:
    """Of the engine, what else decided where it is not the preset's own, and the limit of the clients."""
    engine = record.manifest.engine
    parts = {name: getattr(engine, name) for name in ("reservation", "eviction", "admission", "predictor")}
    limit = record.manifest.conditions.get("max_in_flight")
    return {
        **engine.settings,
        **{name: part for name, part in parts.items() if part},
        **({} if limit is None else {"max_in_flight": limit}),
    }


def _differing(records: Sequence[RunRecord]) -> list[str]:
    settings = [_settings(record) for record in records]
    names = sorted(set(chain.from_iterable(settings)))
    return [name for name in names if any(s.get(name) != settings[0].get(name) for s in settings)]


def _check_worlds(label: str, runs: Sequence[RunRecord], by_settings: Sequence[Sequence[RunRecord]]) -> None:
    worlds = {record.manifest.world == "real" for record in runs}
    if len(worlds) == 2:
        return
    for others in by_settings:
        if others is not runs:
            a, b = runs[0], others[0]
            differ = ", ".join(
                f"{name} {_settings(a).get(name)} and {_settings(b).get(name)}" for name in _differing([a, b])
            )
            raise RecordError(f"{a.folder} and {b.folder} ran with different engine settings: {differ}")
    is_measured = worlds.pop()
    have, lack = ("measured", "simulated") if is_measured else ("simulated", "measured")
    names = ", ".join(str(record.folder) for record in runs)
    raise RecordError(
        f"{names}: {have} under {label}, but no {lack} run of the same workload and engine is given; "
        f"add one (servetwin {'simulate' if is_measured else 'execute'})"
    )


def _check_once(records: Sequence[RunRecord]) -> None:
    """A run that is given twice would pass for a repeat without noise."""
    seen: dict[tuple[str, ...], RunRecord] = {}
    for record in records:
        files = record.manifest.files
        setting = (record.manifest.world, record.manifest.workload.sha256, _label(record), str(_settings(record)))
        key = (*setting, files["requests.parquet"].sha256, files["steps.parquet"].sha256)
        if key in seen:
            raise RecordError(f"{record.folder} is the same run as {seen[key].folder}; give each run once")
        seen[key] = record
