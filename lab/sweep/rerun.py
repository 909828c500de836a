"""The record of one run of a finished sweep, made again and checked against what the sweep kept of it."""

from contextlib import chdir
from hashlib import sha256
from pathlib import Path

from lab.scenario.simulate import simulate_scenario
from lab.sweep.cells import Cell
from lab.sweep.noise import has_noise
from lab.sweep.results import Sweep
from records.brief import in_brief
from records.run import RunRecord
from serving.errors import ConfigError
from serving.names import hint


def rerun(sweep: Sweep, run: str, out: Path, force: bool = False) -> tuple[RunRecord, bool]:
    """Returns the record, and whether its requests, figures and manifest are the very same as the sweep's.

    run: a name in runs.parquet. Errors: ConfigError for an unknown run; what the run failed with, if it did.
    """
    rows = sweep.runs[sweep.runs["run"] == run]
    if rows.empty:
        raise ConfigError(f"the sweep has no run {run!r}; {hint(run, sweep.runs['run'])}")
    row = rows.iloc[0]
    cell: Cell = next(cell for cell in sweep.cells if cell.id == int(row["cell_id"]))
    place = out.resolve()
    with chdir(sweep.beside):
        record = simulate_scenario(place, cell.under(int(row["seed"]), has_noise(cell, sweep.beside)), force=force)
    digest = sha256(in_brief(record.manifest).to_json()).hexdigest()
    return record, digest == row["manifest_sha256"]
