"""The cost form of steps out of kernels, and its fit: the greater of two sums.

Attention reads the KV of decodes with one kernel where all are decodes, and with another, up to three times slower for
it, beside a prefill. A sum of terms cannot say that. The maximum of a sum for steps that only decode and one for steps
with a prefill can, as long as the second stays below the first where nothing is prefilled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from calibration.fit import Basis, fit, predict, ramps
from calibration.kernel_profile.captured import padded
from records.cost_terms import CostTerms, Overlap, Term

ROUNDS, HOLDS, TOLERANCE = 20, 50, 0.01

KNOTS = (0, 64, 128, 144, 256, 272, 384, 400, 512, 528, 768, 1024, 1040, 1536)
"""Rows at which the price of one more changes: matrix products are cut into tiles, and a tile begun is paid in full."""


def decode_basis(seats: int) -> list[Basis]:
    """Of steps that only decode: the weights are read once, rows are few, KV is read once."""
    knots = [k for k in (0, 4, 8, 16, 32, 64, 128, 256) if k < seats]
    return [
        Basis("weights", "one", "reading the weights once; gaps between kernels"),
        *_padded(ramps("rows", "num_tokens", "linear layers and experts, per row", [*knots, seats])[:-1]),
        *ramps("sequence", "num_seqs", "attention, LM head and sampler, per sequence", (0, 16, 32, 64)),
        *ramps("KV read", "decode_context", "per stored token that a decode reads", (0, 65536)),
    ]


def prefill_basis() -> list[Basis]:
    """Of steps with a prefill, where the host launches each kernel."""
    rows = ramps("prefill rows", "num_tokens", "linear layers and experts, per row", KNOTS)
    read = "per stored token that a decode reads beside a prefill"
    return [
        Basis("prefill step", "num_prefill_seqs", "reading the weights once; launches", high=1.0),
        *_padded(rows),
        Basis("prefill step sequence", "num_seqs", "attention, LM head and sampler, per sequence, beside a prefill"),
        Basis("prefill attention", "prefill_pairs", "per query-key pair of prefill attention"),
        Basis("prefill read", "prefill_context", "per stored token that a prefill reads"),
        *ramps("KV read beside prefill", "decode_context", read, (0, 65536, 131072)),
    ]


def fit_steps(steps: pd.DataFrame, seats: int, graph_sizes: Sequence[int]) -> CostTerms:
    """steps: of compose.timed(). The second form is held below the first on the steps that only decode."""
    return _fit(steps, decode_basis(seats), prefill_basis(), graph_sizes)


def refit(steps: pd.DataFrame, form: CostTerms, graph_sizes: Sequence[int]) -> list[float]:
    """The coefficients [ms] of the same terms, in the order of every_term(), for other steps."""
    decode, prefill = form.overlaps[0].of
    again = _fit(steps, _basis(decode.terms), _basis(prefill.terms), graph_sizes)
    found = {term.name: term.coefficient_ms for term in again.every_term()}
    return [found.get(term.name, 0.0) for term in form.every_term()]


def _fit(
    steps: pd.DataFrame, decode_basis: Sequence[Basis], prefill_basis: Sequence[Basis], graph_sizes: Sequence[int]
) -> CostTerms:
    steps = steps.assign(num_tokens=padded(steps["num_tokens"], graph_sizes))
    decodes, prefills = steps[steps["kind"] == "decode"], steps[steps["kind"] != "decode"]
    decode = fit(decode_basis, decodes, "execute_ms", relative=True)
    least = decodes.assign(execute_ms=predict(decode, decodes))
    held: list[pd.DataFrame] = []
    for _ in range(ROUNDS):
        prefill = fit(prefill_basis, pd.concat([prefills, *held]), "execute_ms", relative=True)
        above = predict(prefill, least) > least["execute_ms"] * (1 + TOLERANCE)
        if not above.any():
            break
        held += [least[above]] * HOLDS
    meaning = "kernels of a step that only decodes, or of one with a prefill"
    either = Overlap(
        name="kernels", of=(_marked(decode, decode_basis), _marked(prefill, prefill_basis)), meaning=meaning
    )
    return CostTerms(terms=(), overlaps=(either,))


def _padded(bases: Iterable[Basis]) -> list[Basis]:
    return [replace(basis, padded=True) for basis in bases]


def _basis(terms: Iterable[Term]) -> list[Basis]:
    unbounded = float("inf")
    return [
        Basis(t.name, t.feature, t.meaning, t.low, unbounded if t.high is None else t.high, t.padded) for t in terms
    ]


def _marked(cost: CostTerms, basis: Sequence[Basis]) -> CostTerms:
    """Terms say whether their feature is padded, as their basis does: the frame was padded beforehand."""
    is_padded = {b.name: b.padded for b in basis}
    return CostTerms(terms=tuple(t.model_copy(update={"padded": is_padded[t.name]}) for t in cost.terms))
