"""servetwin decisions"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def decisions(
    file: Annotated[Path, Parameter(help="A decision trace: config and requests; its steps are not needed.")],
    /,
    *,
    engine: Annotated[str, Parameter(help="Whose rules decide: vllm or nano-vllm.")],
) -> None:
    """Print what an engine's scheduler decides on a small workload in steps, one JSON object a line.

    The format is that of the traces recorded from the real engines, so the two can be compared line by line. Where the
    real engine dies, a line has "error", and the other requests go on.

    Example: servetwin decisions --engine vllm 04-kv-starved.json
    """
    import json

    from lab.console import say
    from sim.lockstep import decide
    from workloads.decision_trace import read_decision_trace

    for line in decide(engine, read_decision_trace(file)):
        print(json.dumps(line))
        if "error" in line:
            say(f"servetwin: step {line['step']}: {line['error']}")
