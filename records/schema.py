"""The columns of requests.parquet and steps.parquet: type, unit and meaning, kept in the files as field metadata."""

import pyarrow as pa

from serving.cost import StepFeatures
from serving.schedule.contract import Snapshot

STATUSES = ("finished", "rejected", "aborted", "unfinished", "unsent")


def _column(name: str, kind: pa.DataType, unit: str, description: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit, "description": description})


def _list(name: str, kind: pa.DataType, unit: str, description: str) -> pa.Field:
    element = pa.field("element", kind, nullable=False)
    return _column(name, pa.list_(element), unit, description)


def _time(name: str, description: str, nullable: bool = True) -> pa.Field:
    return _column(name, pa.float64(), "s", description, nullable)


REQUESTS = pa.schema(
    [
        _column("request_id", pa.string(), "", "id in the workload"),
        _column("status", pa.string(), "", ", ".join(STATUSES)),
        _column("reason", pa.string(), "", "why it was rejected, or never sent", nullable=True),
        _column("tenant", pa.string(), "", "who pays for it"),
        _column("session_id", pa.string(), "", "which conversation or program it belongs to"),
        _column("replica", pa.int32(), "", "where it was served last; null where it was never sent", nullable=True),
        _column("num_moves", pa.int32(), "", "times it went on to another replica: handed over, or after a failure"),
        _column("prompt_len", pa.int32(), "tokens", "length of the prompt"),
        _column("output_len", pa.int32(), "tokens", "tokens the client received"),
        _time("arrival_s", "when the client sent it, since the start of the run"),
        _time("first_scheduled_s", "schedule() call of its first step"),
        _time("first_token_s", "when the client held the first token"),
        _time("last_token_s", "when the client held the last token so far"),
        _time("ttft_s", "time to first token: queue + schedule + prefill + return"),
        _time("queue_s", "part of TTFT: neither executing nor being scheduled"),
        _time("schedule_s", "part of TTFT: a step that includes it is being scheduled and prepared"),
        _time("prefill_s", "part of TTFT: a step that includes it is executing"),
        _time("return_s", "part of TTFT: first token on the host to first token held by the client"),
        _time("decode_s", "first token held by the client to last token on the host"),
        _time("stream_s", "last token on the host to last token held by the client"),
        _time("e2e_s", "arrival to last token held by the client: TTFT + decode + stream"),
        _time("tpot_s", "mean time per output token after the first"),
        _time("ttft_slo_s", "TTFT that it should meet"),
        _time("tpot_slo_s", "TPOT that it should meet"),
        _column("slo_met", pa.bool_(), "", "whether it met them; null where it has none", nullable=True),
        _column("num_preemptions", pa.int32(), "", "times its KV was taken away"),
        _column("num_cached", pa.int32(), "tokens", "prompt tokens the prefix cache saved at first admission"),
    ]
)

_FEATURES = {
    "num_seqs": ("", "sequences in the batch"),
    "num_tokens": ("tokens", "tokens computed"),
    "num_sampled": ("tokens", "tokens sampled"),
    "num_prefill_seqs": ("", "sequences of which more than one token is computed (prefill-shaped)"),
    "prefill_tokens": ("tokens", "tokens computed of prefill-shaped sequences"),
    "prefill_context": ("tokens", "their tokens already in KV before the step"),
    "prefill_pairs": ("", "query-key pairs their causal attention evaluates"),
    "decode_context": ("tokens", "KV tokens that the other sequences read, the new one included"),
}
_SNAPSHOT = {
    "num_waiting": ("", "requests waiting after schedule()"),
    "num_running": ("", "requests running after schedule()"),
    "kv_total": ("tokens", "token slots of the KV pool"),
    "kv_tokens_stored": ("tokens", "slots that hold a token, those of this step included; shared ones once"),
    "kv_tail_waste": ("tokens", "empty slots of last, partly filled blocks"),
    "kv_reserved_unused": ("tokens", "slots of blocks a request holds beyond those"),
    "kv_cached_idle": ("tokens", "slots of blocks nobody holds whose content can still be hit"),
    "kv_free": ("tokens", "the remaining slots"),
}
assert tuple(_FEATURES) == StepFeatures.names()
assert tuple(_SNAPSHOT) == Snapshot._fields

_ROW = "row in requests.parquet"
STEP_LISTS = (
    _list("batch_request", pa.int32(), _ROW, "requests in batch order"),
    _list("batch_start", pa.int32(), "tokens", "per request of the batch: tokens in KV before the step"),
    _list("batch_tokens", pa.int32(), "tokens", "per request of the batch: tokens computed"),
    _list("batch_samples", pa.bool_(), "", "per request of the batch: whether it samples a token"),
    _list("batch_accepted", pa.int32(), "tokens", "per request of the batch: new tokens accepted"),
    _list("admitted", pa.int32(), _ROW, "requests that enter the batch, for the first time or again"),
    _list("admitted_cached", pa.int32(), "tokens", "per admission: leading tokens that the prefix cache held"),
    _list("preempted", pa.int32(), _ROW, "requests whose KV was taken away by this plan"),
    _list("finished", pa.int32(), _ROW, "requests that ended with this step"),
    _list("released", pa.int32(), _ROW, "requests finished or aborted since the plan before"),
    _list("block_request", pa.int32(), _ROW, "per newly appended block: the request"),
    _list("block_id", pa.int32(), "", "per newly appended block: its id, in table order"),
    _list("copy_to_host", pa.bool_(), "", "per KV block moved before the step: to host memory, or back"),
    _list("copy_block", pa.int32(), "", "per KV block moved: its id on the device"),
    _list("copy_host_block", pa.int32(), "", "per KV block moved: its id in host memory"),
)

STEPS = pa.schema(
    [
        _column("replica", pa.int32(), "", "which replica ran it"),
        _column("life", pa.int32(), "", "how often that replica had been started anew before"),
        _column("step_id", pa.int64(), "", "number of the plan"),
        _time("schedule_s", "schedule() called", nullable=False),
        _time("launch_s", "inputs prepared, execution began", nullable=False),
        _time("host_s", "sampled tokens on the host, or the end of a step that samples none", nullable=False),
        _time("delivered_s", "the client held the step's tokens", nullable=False),
        *(_column(name, pa.int64(), *told) for name, told in _FEATURES.items()),
        *(_column(name, pa.int64(), *told) for name, told in _SNAPSHOT.items()),
        *STEP_LISTS,
    ]
)
