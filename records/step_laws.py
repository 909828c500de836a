"""Laws of each step: its times, its batch, its memory, and the tokens that its requests compute."""

from collections.abc import Callable

import numpy as np

from records.law import UNKNOWN, Check, Law, law_of
from records.run_arrays import NONE, Ints, RunArrays, Steps, summed
from records.schema import STEPS

KV_PARTS = ("kv_tokens_stored", "kv_tail_waste", "kv_reserved_unused", "kv_cached_idle", "kv_free")
assert set(KV_PARTS) < set(STEPS.names)


def step_laws(arrays: RunArrays) -> list[Law]:
    return [
        _law(arrays, "clock", "schedule <= launch <= host <= delivered; steps in order of number and time", _clock),
        _law(arrays, "utilization", "executions do not overlap: time busy = sum of step times", _executions),
        _law(arrays, "batch", "a step's counts are those of its batch, nobody in it twice", _batch),
        _law(arrays, "budget", "tokens of a step, repairs apart, <= max_num_batched_tokens", _budget),
        _law(arrays, "seats", "requests in a batch, and running, <= max_num_seqs", _seats),
        _law(arrays, "kv", "stored + tail waste + reserved + cached idle + free = total, none negative", _kv),
        _law(
            arrays,
            "progress",
            "each goes on where it was, and samples where prompt and output so far end",
            lambda steps: _progress(arrays, steps),
        ),
        _law(
            arrays,
            "work",
            "computed - recomputed = prompt + output - 1 - hits, of each finished request",
            lambda steps: _work(arrays, steps),
        ),
    ]


def _law(arrays: RunArrays, name: str, says: str, check: Callable[[Steps], Check]) -> Law:
    return law_of(name, says, [check(steps) for steps in arrays.engines])


def _at(steps: Steps, *names: str) -> Callable[[int], str]:
    return lambda k: f"{steps.named(k)}: " + ", ".join(f"{name.removesuffix('_s')} {steps[name][k]}" for name in names)


def _clock(steps: Steps) -> Check:
    schedule, launch, host, delivered = (steps[n] for n in ("schedule_s", "launch_s", "host_s", "delivered_s"))
    broken = (schedule > launch) | (launch > host) | (host > delivered)
    broken[1:] |= (np.diff(schedule) < 0) | (np.diff(host) < 0) | (np.diff(steps["step_id"]) != 1)
    return Check(broken, _at(steps, "step_id", "schedule_s", "launch_s", "host_s", "delivered_s"))


def _executions(steps: Steps) -> Check:
    flights = 2 if steps.setting("async_scheduling") else 1  # steps that may be scheduled and not complete
    schedule, launch, host = steps["schedule_s"], steps["launch_s"], steps["host_s"]
    broken = np.zeros(len(steps), dtype=bool)
    broken[1:] = launch[1:] < host[:-1]
    broken[flights:] |= schedule[flights:] < host[:-flights]
    busy, elapsed = int((host - launch).sum()), int(host.max() - schedule.min())
    words = _at(steps, "schedule_s", "launch_s", "host_s")
    return Check(
        broken,
        lambda k: f"{words(k)}, but the step before was on the host at {host[k - 1]}",
        {"busy_s": busy / 1e9, "elapsed_s": elapsed / 1e9},
    )


def _batch(steps: Steps) -> Check:
    batch = steps.lists["batch_request"]
    start, tokens = steps.lists["batch_start"].values, steps.lists["batch_tokens"].values
    prefill = tokens != 1

    def per_step(values: Ints) -> Ints:
        return steps.per_step("batch_request", values)

    expected = {
        "num_seqs": per_step(np.ones_like(tokens)),
        "num_tokens": per_step(tokens),
        "num_sampled": steps.per_step("batch_samples"),
        "num_prefill_seqs": per_step(prefill.astype(np.int64)),
        "prefill_tokens": per_step(prefill * tokens),
        "prefill_context": per_step(prefill * start),
        "prefill_pairs": per_step(prefill * (tokens * start + tokens * (tokens + 1) // 2)),
        "decode_context": per_step(~prefill * (start + 1)),
    }
    broken = np.any([steps[name] != values for name, values in expected.items()], axis=0) | (steps["num_seqs"] < 1)
    entries = steps.batches
    twice = np.zeros(len(steps), dtype=bool)
    twice[entries.step[1:][(np.diff(entries.request) == 0) & (np.diff(entries.step) == 0)]] = True

    def words(k: int) -> str:
        wrong = [
            f"{name} {steps[name][k]}, of the batch {v[k]}" for name, v in expected.items() if steps[name][k] != v[k]
        ]
        return f"{steps.named(k)}: {wrong[0] if wrong else f'{np.count_nonzero(batch.step == k)} entries, one twice'}"

    return Check(broken | twice, words, {"steps": float(len(steps)), "tokens": float(tokens.sum())})


def _budget(steps: Steps) -> Check:
    """nano-vLLM's budget is for prompts: a batch of decodes has seats only."""
    budget, seats = steps.setting("max_num_batched_tokens"), steps.setting("max_num_seqs")
    if budget is None or seats is None:
        return UNKNOWN
    entries = steps.batches
    repaired = summed(entries.step, entries.repaired, len(steps))
    limit = np.full(len(steps), budget)
    if steps.is_nano:
        admits = np.bincount(steps.lists["admitted"].step, minlength=len(steps)) > 0
        limit[~admits & (steps["num_prefill_seqs"] == 0)] = seats
    computed = steps.per_step("batch_tokens") - repaired
    return Check(
        (computed > limit) | (computed < 1),
        lambda k: f"{steps.named(k)}: {computed[k]} tokens beside {repaired[k]} repaired, of {limit[k]}",
        {"repaired": float(repaired.sum())},
    )


def _seats(steps: Steps) -> Check:
    """nano-vLLM's seats are those of a batch: more may be running."""
    seats = steps.setting("max_num_seqs")
    if seats is None:
        return UNKNOWN
    batch = steps.per_step("batch_request", np.ones_like(steps.lists["batch_request"].values))
    broken = batch > seats
    if not steps.is_nano:
        broken |= steps["num_running"] > seats
    return Check(broken, lambda k: f"{steps.named(k)}: {batch[k]} in the batch, {steps['num_running'][k]} running")


def _kv(steps: Steps) -> Check:
    blocks, block_size = steps.setting("num_blocks"), steps.setting("block_size")
    total = int(steps["kv_total"][0]) if blocks is None or block_size is None else blocks * block_size
    parts = np.array([steps[name] for name in KV_PARTS])
    broken = (parts.sum(axis=0) != steps["kv_total"]) | (parts.min(axis=0) < 0)
    broken |= steps["kv_total"] != total
    return Check(broken, _at(steps, *KV_PARTS, "kv_total"))


def _progress(arrays: RunArrays, steps: Steps) -> Check:
    e = steps.batches
    admitted = e.cached != NONE
    broken = np.where(admitted, (e.start < 0) | (e.start > e.cached) | (e.end <= e.cached), e.start != e.before)
    begins = np.diff(e.request, prepend=NONE) != 0
    sampled = e.samples.cumsum() - e.samples  # before the entry, of all requests
    output = sampled - sampled[begins].repeat(np.diff(np.flatnonzero(np.append(begins, True))))
    known = arrays.requests["prompt_len"][e.request] + output
    stayed = arrays.requests["num_moves"][e.request] == 0  # others may bring output along
    broken |= stayed & np.where(e.samples > 0, e.end != known, e.end >= known)
    broken |= (e.tokens < 1) | (e.accepted > e.samples)
    return Check(
        broken,
        lambda i: (
            f"{steps.named(int(e.step[i]))}, request {arrays.ids[e.request[i]]}: computes {e.start[i]}.."
            f"{e.end[i] - 1}, had {e.before[i]} stored, {e.cached[i]} on admission, {known[i]} known, samples "
            f"{bool(e.samples[i])} (-1: none)"
        ),
    )


def _work(arrays: RunArrays, steps: Steps) -> Check:
    """Up to its last token: a step in flight beyond that is nobody's."""
    e, num = steps.batches, len(arrays.ids)
    ends_in = np.full(num, NONE)
    ends_in[steps.lists["finished"].values] = steps.lists["finished"].step
    counts = e.step <= ends_in[e.request]
    admitted = (e.cached != NONE) & counts
    computed = summed(e.request[counts], e.tokens[counts], num)
    hits = summed(e.request[admitted], e.cached[admitted], num)
    again = admitted & (e.before != NONE)
    lost = summed(e.request[again], e.before[again], num)
    repaired = summed(e.request[counts], e.repaired[counts], num)
    rows = np.flatnonzero((arrays.status == "finished") & (ends_in != NONE) & (arrays.requests["num_moves"] == 0))
    needed = arrays.requests["prompt_len"] + arrays.requests["output_len"] - 1
    found = computed - lost - repaired + hits
    return Check(
        found[rows] != needed[rows],
        lambda i: (
            f"request {arrays.ids[rows[i]]}: computed {computed[rows[i]]}, of these {lost[rows[i]]} lost and "
            f"{repaired[rows[i]]} repaired, hit {hits[rows[i]]}; prompt + output - 1 is {needed[rows[i]]}"
        ),
        {
            "computed": float(e.tokens.sum()),
            "recomputed": float(lost.sum() + repaired.sum()),
            "hits": float(hits.sum()),
        },
    )
