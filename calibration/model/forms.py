"""Candidate forms of a step's time: few terms, each something that a step does.

    tokens beyond R    launch + a prefill's own + launches beyond the captured sizes + tokens beyond R (fewer hide
                       behind the read of the weights) + attention; R of 0, 128, 512
    rows paid for      launch + a prefill's own + tokens and sampled tokens beyond FREE_ROWS (fewer hide behind the read
                       of the layers' and the head's weights) + attention, one after the other, as on a processor
    few tokens count   the first of these, with ramps from the first token on: experts that more tokens wake
    ramps              finer ramps in tokens and in sampled tokens: an engine whose matrix products pay for every row
    roofline p         arithmetic and memory at the same time, launches around them
    host p             the host launches while the device works: the slower one counts

A power p of "max" is the pure maximum; 2 is half way to a sum. Tokens count as the captured size where there is one,
or as the rows of a product.
"""

from collections.abc import Mapping, Sequence
from math import isinf

from calibration.fit import EXECUTE
from records.cost_terms import CostTerms, Overlap, Power, Term

HIDDEN = (0, 128, 512)
FEW = (0, 8, 128, 512)
FREE_ROWS = 6
OVERLAPPED: tuple[Power, ...] = (2, 8, "max")


def candidates(graph_sizes: Sequence[int] = ()) -> Mapping[str, CostTerms]:
    """By name, in a fixed order. graph_sizes: of an engine that captures its steps; without, no term is of them."""
    around = _around(graph_sizes)
    forms = {f"tokens beyond {low}": CostTerms(terms=(*around, _tokens(low), *ATTENTION)) for low in HIDDEN}
    forms["rows paid for"] = CostTerms(terms=(*around, SEQUENCE, _tokens(FREE_ROWS), HEAD, *ATTENTION))
    forms["few tokens count"] = CostTerms(terms=(*around, *_ramps(FEW), *ATTENTION))
    forms["ramps"] = CostTerms(
        terms=tuple(
            _term(b.name, b.feature, b.meaning, b.low, None if isinf(b.high) else b.high, b.padded) for b in EXECUTE
        )
    )
    for power in OVERLAPPED:
        forms[f"roofline {power}"] = _roofline(power, around)
    for power in OVERLAPPED:
        forms[f"host {power}"] = _host(power, around)
    return forms


def _term(
    name: str, feature: str, meaning: str, low: float = 0.0, high: float | None = None, padded: bool = False
) -> Term:
    return Term(name=name, feature=feature, meaning=meaning, low=low, high=high, padded=padded, coefficient_ms=1.0)


LAUNCH = _term("launch", "one", "fixed cost of a step: dispatch and one read of the weights")
PREFILL_STEP = _term("prefill step", "num_prefill_seqs", "once where anything is prefilled: launched in pieces", 0, 1)
WEIGHTS = _term("weights", "one", "one read of the weights")
SEQUENCE = _term("sequence", "num_seqs", "per sequence: sampling, input preparation, LM head")
HEAD = _term("head", "num_sampled", "LM head, per sampled token beyond", FREE_ROWS, None, padded=True)
PAIRS = _term("prefill attention", "prefill_pairs", "per query-key pair of prefill attention")
READS = (
    _term("prefill read", "prefill_context", "per stored token that a prefill reads"),
    _term("decode read", "decode_context", "per stored token that a decode reads"),
)
ATTENTION = (PAIRS, *READS)


def _around(graph_sizes: Sequence[int]) -> tuple[Term, ...]:
    """Launches: of every step, of one with a prefill, of one that was not captured."""
    if not graph_sizes:
        return LAUNCH, PREFILL_STEP
    greatest = graph_sizes[-1]
    meaning = f"once where more than {greatest} tokens are computed, the greatest captured size: launched one by one"
    return LAUNCH, PREFILL_STEP, _term("not captured", "num_tokens", meaning, greatest, greatest + 1)


def _tokens(low: float, high: float | None = None) -> Term:
    if low == 0 and high is None:
        return _term("tokens", "num_tokens", "linear layers, per token", padded=True)
    name = f"tokens {low:g}-{'' if high is None else f'{high:g}'}"
    return _term(name, "num_tokens", "linear layers, per token in this range", low, high, padded=True)


def _ramps(knots: Sequence[float]) -> tuple[Term, ...]:
    return tuple(_tokens(low, high) for low, high in zip(knots, (*knots[1:], None), strict=True))


def _roofline(power: Power, around: tuple[Term, ...]) -> CostTerms:
    work = Overlap(
        name="device",
        of=(CostTerms(terms=(_tokens(0), PAIRS)), CostTerms(terms=(WEIGHTS, *READS))),
        power=power,
        meaning="arithmetic, and reading weights and KV",
    )
    return CostTerms(terms=(*around, SEQUENCE), overlaps=(work,))


def _host(power: Power, around: tuple[Term, ...]) -> CostTerms:
    device = CostTerms(terms=(WEIGHTS, *_ramps((0, 128, 512)), *ATTENTION))
    step = Overlap(
        name="step",
        of=(CostTerms(terms=(*around, SEQUENCE)), device),
        power=power,
        meaning="the host, which launches, and the device, which works",
    )
    return CostTerms(terms=(), overlaps=(step,))
