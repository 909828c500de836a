"""What a reader must know before believing a verdict."""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from lab.hardware_check.client.record import ClientRecord
from lab.hardware_check.fidelity import Fidelity
from lab.hardware_check.simulated import SeenRecord
from lab.hardware_check.verdict import Verdict
from records.drift import scale_in
from records.manifest import Manifest
from workloads.workload import Workload

FEW_REPEATS = 4
LARGEST_UNSAID_DRIFT = 0.03
LARGEST_UNSAID_LATENESS_S = 0.02


class Pair(NamedTuple):
    """One run of a cell in both worlds. repeat: its number."""

    cell: str
    repeat: int
    workload: Workload
    simulated: SeenRecord
    measured: SeenRecord | ClientRecord


def notes_of(fidelity: Fidelity, verdict: Verdict, runs: Sequence[Pair]) -> Iterator[str]:
    """fidelity: of the figure that was asked for."""
    others = len(fidelity.ranking.scores) - 1
    if verdict.control is False:
        yield (
            "the sweep's worst cell is not clearly worse than its winner here: either these runs are too few or too "
            "short to show any difference, or the simulation is wrong about it"
        )
    if fidelity.ranking.simulated_winner != verdict.winner:
        yield (
            f"simulated again with these requests, at the speed that the machine had, "
            f"{fidelity.ranking.simulated_winner} comes out best, not the sweep's winner"
        )
    if 1 < fidelity.repeats < FEW_REPEATS:
        yield f"{fidelity.repeats} repeats: intervals are wide, and a difference must be large to show"
    if others > 1:
        yield (
            f"the winner is compared with {others} cells, each at 95 %: one in twenty such comparisons "
            f"shows a difference where there is none"
        )
    if len({pair.workload.sha256 for pair in runs}) == 1 and fidelity.repeats > 1:
        yield "all repeats have the same requests: the intervals are of the machine's noise, and not of other requests"
    left_out = sum(int((pair.measured.requests["status"] != "finished").sum()) for pair in runs)
    if left_out:
        yield f"{left_out} requests did not finish on hardware; times are of those that finished in every run"
    factors = [scale_in(pair.simulated.record.manifest.conditions).execute for pair in runs]
    yield from _of_machine(factors, [p.measured.record.manifest for p in runs if isinstance(p.measured, SeenRecord)])
    yield from _of_clients([p.measured for p in runs if isinstance(p.measured, ClientRecord)])


def _of_machine(factors: Sequence[float], manifests: Sequence[Manifest]) -> Iterator[str]:
    if not manifests:
        return
    if max(abs(factor - 1) for factor in factors) > LARGEST_UNSAID_DRIFT:
        yield (
            f"the machine took {fmean(factors):.2f} times as long for its probe as when it was calibrated "
            f"({min(factors):.2f} to {max(factors):.2f}); simulations are at its speed in each run"
        )
    late = max(float(str(manifest.conditions["submit_lateness_max_s"])) for manifest in manifests)
    if late > LARGEST_UNSAID_LATENESS_S:
        yield f"a request was sent {late * 1e3:.0f} ms late; that counts as its waiting"


def _of_clients(records: Sequence[ClientRecord]) -> Iterator[str]:
    if not records:
        return
    yield "a client sees TTFT, TPOT and E2E; simulations are at the speed of the profile, not of the server"
    clients = [record.manifest.client for record in records]
    late, lag = (max(getattr(client, name) for client in clients) for name in ("late_p99_s", "lag_p99_s"))
    yield (
        f"in the worst run, the client sent one in a hundred requests more than {late * 1e3:.2g} ms late, and its own "
        f"timer woke more than {lag * 1e3:.2g} ms late"
    )
    saturated = sum(client.is_saturated for client in clients)
    if saturated:
        yield f"in {saturated} runs the client was saturated and measured itself; send from a machine that has time"
    models = sorted({record.manifest.model for record in records})
    if len(models) > 1:
        yield f"the servers name different models: {', '.join(models)}"
