"""The `servetwin` command: verbs, and the one place where errors become exit codes.

Exit codes: 0 done, 1 a check failed, 2 wrong use or bad input, 3 blocked (needs hardware or an extra that is
absent), 130 interrupted. Results go to stdout, talk and progress to stderr.
"""

import os
import sys

from cyclopts import App, CycloptsError

from lab.commands import (
    calibrate,
    capacity,
    check,
    compare,
    decisions,
    demo,
    diagnose,
    difference,
    execute,
    explain,
    gpu_check,
    laws,
    model,
    parity,
    parts,
    predict,
    replay,
    report,
    serve,
    simulate,
    sweep,
    trace,
    whatif,
    workload,
)
from serving.errors import ServetwinError

app = App(
    name="servetwin",
    help="A digital twin of an LLM serving engine: measure a real engine, calibrate a simulation with it, "
    "compare both request by request.\n\nExit codes: 0 done, 1 a check failed, 2 wrong use or bad input, "
    "3 blocked (hardware or an extra is absent).",
    version="0.1.0",
    suppress_keyboard_interrupt=False,
)
app.command(demo.demo)
app.command(workload.app)
app.command(calibrate.calibrate)
app.command(simulate.simulate)
app.command(execute.execute)
app.command(serve.serve)
app.command(model.app)
app.command(gpu_check.gpu_check)
app.command(predict.predict)
app.command(compare.compare)
app.command(explain.explain)
app.command(report.report)
app.command(trace.trace)
app.command(difference.difference)
app.command(whatif.whatif)
app.command(diagnose.diagnose)
app.command(sweep.sweep)
app.command(capacity.capacity)
app.command(check.check)
app.command(laws.laws)
app.command(replay.replay)
app.command(parity.parity)
app.command(decisions.decisions)
app.command(parts.parts)


def main(arguments: list[str] | None = None) -> None:
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        return _fail(f"{error} See: servetwin {' '.join(error.command_chain or ())} --help", 2)
    except ServetwinError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of a pipe has left, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted; nothing half-written was left", 130)


def _fail(message: str, code: int) -> int:
    words = {1: "failed", 3: "blocked"}.get(code, "error")
    print(f"servetwin: {words}: {' '.join(message.split())}", file=sys.stderr)
    return code
