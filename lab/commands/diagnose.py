"""servetwin diagnose"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from lab.options import Json

if TYPE_CHECKING:
    from records.run import RunRecord


def diagnose(
    run: Annotated[
        Path | None, Parameter(help="Run record of servetwin simulate or execute, of a single engine.")
    ] = None,
    /,
    *,
    slow: Annotated[
        float | None,
        Parameter(
            help="TTFT in seconds above which a request is slow. Default: its service level, else the slowest 5 %."
        ),
    ] = None,
    against: Annotated[
        Path | None, Parameter(help="Another run of the same requests: say why it differs, by exchanging parts.")
    ] = None,
    profile: Annotated[
        Path | None,
        Parameter(help="Profile of the run, a file. Default: the one of its name that comes along (servetwin parts)."),
    ] = None,
    workload: Annotated[
        Path | None, Parameter(help="The workload of the run, JSONL; needed where its record does not tell all of it.")
    ] = None,
    example: Annotated[
        str | None,
        Parameter(
            help="In place of a run: one that is made here and shows a symptom: evening-peak, short-of-memory, "
            "idle-memory, other-runtime."
        ),
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="With --example: folder in which its records stay. Default: they are thrown away.")
    ] = None,
    json: Json = False,
) -> None:
    """Say why requests wait: for the run and each slow request, whether queue, state or execution has most of its TTFT.

    Each possible cause is taken out of the run (endless KV, seats, budget; no reservation; a perfect prefix cache; even
    arrivals; no overhead), in all orders; what goes with it is its weight, in milliseconds of TTFT. Then what can be
    seen in the run, a sentence that can be shown to be wrong, and the command that tries it.

    Example: servetwin diagnose sim/

    Example: servetwin diagnose real/ --profile profile.json --slow 0.5

    Example: servetwin diagnose --example idle-memory

    Example: servetwin diagnose vllm/ --against nano/
    """
    from contextlib import nullcontext
    from tempfile import TemporaryDirectory

    from records.run import read_run
    from serving.errors import ConfigError

    if (run is None) == (example is None):
        raise ConfigError("give a run, or --example; one of the two")
    if example is None:
        if out is not None:
            raise ConfigError("--out has no effect without --example; leave it out")
        assert run is not None
        records = [read_run(folder) for folder in (run, against) if folder is not None]
        _tell(records, slow, profile, workload, json)
        return
    if against is not None or profile is not None or workload is not None:
        raise ConfigError("--against, --profile and --workload have no effect beside --example; leave them out")
    from lab.console import say
    from lab.diagnose.examples import make

    if out is not None:
        out.mkdir(exist_ok=True)
    with nullcontext(str(out)) if out is not None else TemporaryDirectory(prefix="servetwin-example-") as place:
        records = make(example, Path(place))
        if out is None:
            say("the example's record is thrown away in the end: --out FOLDER keeps it, for the commands below")
        _tell(records, slow, None, None, json, shown=Path("FOLDER") / example if out is None else None)


def _tell(
    records: "Sequence[RunRecord]",
    slow: float | None,
    profile: Path | None,
    workload: Path | None,
    as_json: bool,
    shown: Path | None = None,
) -> None:
    """records: the run, and perhaps the one that it is held against. shown: in place of the run's folder."""
    from shlex import quote

    from calibration.shipped import find_profile
    from lab.console import print_json, say
    from lab.counterfactual.again import Again
    from lab.diagnose.against import against
    from lab.diagnose.diagnose import diagnose as diagnose_run
    from lab.diagnose.tables import as_dict, difference_dict, print_diagnosis, print_difference
    from workloads.jsonl import read_jsonl

    known = None if profile is None else find_profile(profile)
    load = None if workload is None else read_jsonl(workload)
    runs = [Again.of(record, known, load) for record in records]
    this, folder = runs[0], str(shown or records[0].folder)
    how_to = "".join(
        f" {name} {quote(str(path))}" for name, path in (("--profile", profile), ("--workload", workload)) if path
    )
    say(f"{this.fidelity.told()}; each cause is taken out of it now")
    found = diagnose_run(this, slow)
    difference = against(*runs) if len(runs) > 1 else None
    if as_json:
        told = as_dict(found, folder, how_to)
        print_json(told if difference is None else {**told, "against": difference_dict(difference)})
        return
    if difference is not None:
        print_difference(difference)
    print_diagnosis(found, folder, how_to)
