"""servetwin sweep"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Force, Json


def sweep(
    file: Annotated[Path, Parameter(help="Sweep file, YAML: docs/sweeps.md. With --rerun: the folder of a sweep.")],
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(help="Folder of the sweep. Where the same sweep was begun, it goes on. With --rerun: of the record."),
    ] = None,
    workers: Annotated[int | None, Parameter(help="Processes. Default: one a core that this process may use.")] = None,
    ray: Annotated[
        bool, Parameter(help="Compute on a Ray cluster, made on this machine without --ray-address.", negative=())
    ] = False,
    ray_address: Annotated[str | None, Parameter(help="Of a running cluster: 'auto', or HOST:PORT.")] = None,
    dry_run: Annotated[
        bool, Parameter(help="Print cells, runs and how long they would take; write nothing.", negative=())
    ] = False,
    rerun: Annotated[
        str | None,
        Parameter(help="Name of a run in runs.parquet: make its record again, and check that it is the same."),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Run many simulations from one file: engines, policies, settings, profiles, loads and seeds, in a grid, a Latin
    hypercube or an Optuna study; rank them with intervals.

    Every cell gets the same requests and step noise under the same seed. A sweep that was interrupted, or killed, goes
    on with the same command; its files are the same bytes as if it had not been, on any number of workers. Times are
    printed in milliseconds; files hold seconds. Exit code 1 if a run failed, or a record made again differs.

    Example: servetwin sweep docs/examples/sweep-policies.yaml --out sweep/

    Example: servetwin sweep sweep.yaml --dry-run

    Example: servetwin sweep sweep/ --rerun c00003-s2 --out record/
    """
    from serving.errors import ConfigError

    if rerun is not None:
        unused = {"--workers": workers, "--ray": ray, "--ray-address": ray_address, "--dry-run": dry_run}
        for name, value in unused.items():
            if value:
                raise ConfigError(f"{name} has no effect beside --rerun; leave it out")
        if out is None:
            raise ConfigError("--out is missing: the folder of the record")
        return _rerun(file, rerun, out, force, json)
    if force:
        raise ConfigError("--force is for --rerun: a sweep is never replaced; delete its folder, or give another --out")
    if file.is_dir():
        raise ConfigError(f"{file} is a folder; give a sweep file, or --rerun RUN")
    if ray_address is not None and not ray:
        raise ConfigError("--ray-address has no effect without --ray")
    if ray and workers is not None:
        raise ConfigError("--workers has no effect beside --ray: the cluster has as many as it has cores")
    from lab.processes import cores
    from lab.sweep.read_spec import read_spec

    spec = read_spec(file)
    if dry_run:
        if ray or out is not None:
            raise ConfigError("--out and --ray have no effect beside --dry-run; leave them out")
        _plan(spec, cores() if workers is None else workers, json)
        return 0
    if out is None:
        raise ConfigError("--out is missing: the folder of the sweep; or give --dry-run")
    from lab.console import print_json
    from lab.sweep.go import run_sweep
    from lab.sweep.pool import here

    if ray:
        from lab.sweep.on_ray import on_ray

        if spec.keep_runs:
            raise ConfigError(
                "keep_runs is for sweeps on one machine; leave it out, and use --rerun for single records"
            )
    count = cores() if workers is None else workers
    found = run_sweep(spec, out, on_ray(ray_address) if ray else here(count))
    if json:
        print_json({"folder": str(out), "sha256": found.sha256, **found.told})
    else:
        from lab.sweep.tables import print_sweep

        print_sweep(found)
    return 1 if found.told["failed"] else 0


def _rerun(folder: Path, run: str, out: Path, force: bool, as_json: bool) -> int:
    from lab.console import print_json, say
    from lab.summary import print_summary
    from lab.sweep.rerun import rerun
    from lab.sweep.results import read_sweep

    record, is_same = rerun(read_sweep(folder), run, out, force)
    if as_json:
        print_json({"run": run, "record": str(out), "same": is_same})
    else:
        print_summary(record, False)
    if not is_same:
        say(f"{run}: not the sweep's record: files, or the version of servetwin or pyarrow, have changed since")
    return 0 if is_same else 1


def _plan(spec: object, workers: int, as_json: bool) -> None:
    from lab.console import print_json
    from lab.sweep.dry_run import plan
    from lab.sweep.spec import Spec

    assert isinstance(spec, Spec)
    found = plan(spec)
    low, high = found.duration_s(workers)
    if as_json:
        print_json(
            {
                "cells": [cell.name for cell in found.cells],
                "runs": {"least": found.least, "most": found.most},
                "workers": workers,
                "duration_s": {"least": low, "most": high, "from_one_run_of": found.timed},
            }
        )
        return
    for cell in found.cells:
        print(f"{cell.id:>5}  {cell.group}: {cell.name}")
    runs = f"{found.least}" if found.least == found.most else f"{found.least} to {found.most}"
    print(f"{len(found.cells) or 'a study of so far unknown'} cells, {runs} runs on {workers} processes")
    told = f"{low:.0f} s" if low == high else f"{low:.0f} to {high:.0f} s"
    print(f"about {told}, judged by one run of {found.timed!r} that took {found.seconds:.2f} s here")
