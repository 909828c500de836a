"""What the running engines decided, step by step, on seeded workloads (vLLM 0.32.0 and nano-vLLM bb823b3).

Those in traces/ beside this file are few and small; their first line says what they were recorded from.
"""

from pathlib import Path

import pytest

from sim.lockstep import decide
from workloads.decision_trace import read_decision_trace

OWN = sorted((Path(__file__).parent / "traces").glob("*/*.json"))
SHARED = sorted((Path(__file__).parents[3] / "shared" / "decision-traces").glob("*/*.json"))


def check(path: Path) -> None:
    """Up to where the real engine dies, if it does; all but the request it dies of are served from there on."""
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


@pytest.mark.parametrize("path", OWN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_equals_the_engine_step_by_step(path: Path) -> None:
    check(path)


@pytest.mark.skipif(not SHARED, reason="../shared/decision-traces is not here")
@pytest.mark.parametrize("path", SHARED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_equals_the_engine_on_every_shared_workload(path: Path) -> None:
    check(path)
