"""What the running engines decided, step by step, on seeded workloads (vLLM 0.32.0 and nano-vLLM bb823b3).

Those in traces/ beside this file are our own: what servetwin decided when it reproduced all of the engines' traces.
"""

from pathlib import Path

import pytest

from sim.lockstep import decide
from workloads.decision_trace import read_decision_trace

TRACES = Path(__file__).parents[3] / "shared" / "decision-traces"
FILES = sorted(TRACES.glob("*/*.json"))
OWN = sorted((Path(__file__).parent / "traces").glob("*/*.json"))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", OWN, ids=name)
def test_decides_as_it_did(path: Path) -> None:
    trace = read_decision_trace(path)
    assert list(decide(path.parent.name, trace)) == trace.steps


@pytest.mark.skipif(not FILES, reason="../shared/decision-traces is not here")
@pytest.mark.parametrize("path", FILES, ids=name)
def test_equals_the_engine_step_by_step(path: Path) -> None:
    trace = read_decision_trace(path)
    decided = list(decide(path.parent.name, trace))
    dies = next((k for k, step in enumerate(trace.steps) if "error" in step), None)
    for k, expected in enumerate(trace.steps[:dies]):
        assert decided[k] == expected, f"step {k}"
        assert [*decided[k].get("scheduled", ())] == [*expected.get("scheduled", ())], f"batch order of step {k}"
    if dies is None:
        assert len(decided) == len(trace.steps)
        return
    assert "error" in decided[dies]
    ended = [r for step in decided for r in (*step.get("finished", ()), *filter(None, [step.get("request")]))]
    assert sorted(ended) == sorted(request.id for request in trace.requests)
