"""The cost of a step in seven coefficients, each with what physics expects of it.

    step   = overlap(weights + sequences + KV read, prefill step + tokens + pairs + KV read beside a prefill)
    return = what lies between the engine and the client

The first sum is bound by memory, the second by arithmetic; a step that only decodes is far below the weights in the
second. How much the two hide each other, the power of the overlap, is chosen with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from calibration.black_box.machine import Machine
from records.cost_terms import CostTerms, Overlap, Power, Term

POWERS: tuple[Power, ...] = (2, "max")


@dataclass(frozen=True)
class Prior:
    """A coefficient as physics has it, in milliseconds: expected, and one standard deviation."""

    name: str
    expected: float
    deviation: float


def priors(machine: Machine) -> tuple[Prior, ...]:
    """Efficiencies are those that well-tuned kernels reach of a datasheet: memory 0.8 (0.06), large products 0.72
    (0.07), reading KV 0.75 (0.2), attention of prompts 0.4 (0.1). Beside a prefill the other kernel reads KV two to
    three times as slowly. A prefill step launches its kernels one by one; HTTP and tokens take some milliseconds.
    """
    weights, token = machine.weights_ms() / 0.8, machine.token_ms() / 0.72
    kv, pair = machine.kv_token_ms() / 0.75, machine.pair_ms() / 0.4
    return (
        Prior("weights", weights, 0.08 * weights),
        Prior("KV read", kv, 0.25 * kv),
        Prior("prefill step", 3.0, 1.5),
        Prior("token", token, 0.1 * token),
        Prior("pair", pair, 0.25 * pair),
        Prior("KV read beside a prefill", 2.0 * kv, 1.5 * kv),
        Prior("return", 6.0, 4.0),
    )


def execute(prices: Sequence[float], power: Power) -> CostTerms:
    """prices: in the order of priors()."""
    weights, kv, step, token, pair, kv_beside, _ = prices
    decode = (
        _term("weights", "one", weights, "one read of the weights, and what a step costs whatever is in it"),
        _term("KV read", "decode_context", kv, "per stored token that a decode reads"),
    )
    prefill = (
        _term("prefill step", "num_prefill_seqs", step, "a step that computes prompts: launches", high=1.0),
        _term("token", "num_tokens", token, "a token through all layers"),
        _term("pair", "prefill_pairs", pair, "per query-key pair of prefill attention"),
        _term("KV read beside a prefill", "decode_context", kv_beside, "per stored token, by the prefill kernel"),
        _term("prefix read", "prefill_context", kv, "per stored token that a prefill reads"),
    )
    meaning = "memory and arithmetic go on at the same time"
    of = (CostTerms(terms=decode), CostTerms(terms=prefill))
    return CostTerms(terms=(), overlaps=(Overlap(name="step", of=of, power=power, meaning=meaning),))


def host(name: str, constant: float, sequence: float) -> CostTerms:
    """Milliseconds of the engine's own work. Beside a step in flight it costs nothing: async scheduling."""
    return CostTerms(
        terms=(_term(name, "one", constant, "fixed cost"), _term("sequence", "num_seqs", sequence, "per sequence"))
    )


def returned(prices: Sequence[float]) -> CostTerms:
    return CostTerms(terms=(_term("return", "one", prices[-1], "from the engine to the client, and to it before"),))


def _term(name: str, feature: str, price: float, meaning: str, high: float | None = None) -> Term:
    return Term(name=name, feature=feature, coefficient_ms=max(price, 0.0), meaning=meaning, high=high)
