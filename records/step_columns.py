"""What a scheduler decided in a step, as the list columns of steps.parquet, with request ids in place of rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from records.run import RunRecord
from records.schema import STEP_LISTS
from serving.schedule.contract import Outcome, Plan

Columns = Mapping[str, list[Any]]

PLANNED = (
    "batch_request",
    "batch_start",
    "batch_tokens",
    "batch_samples",
    "admitted",
    "admitted_cached",
    "preempted",
    "released",
    "block_request",
    "block_id",
    "copy_to_host",
    "copy_block",
    "copy_host_block",
)
OUTCOME = ("batch_accepted", "finished")
PLACEMENT = ("block_id", "copy_block", "copy_host_block")  # where KV is; nothing is decided by it
NAMES_REQUESTS = ("batch_request", "admitted", "preempted", "finished", "released", "block_request")
BESIDE = {  # the column that says of which request an entry is
    "batch_start": "batch_request",
    "batch_tokens": "batch_request",
    "batch_samples": "batch_request",
    "batch_accepted": "batch_request",
    "admitted_cached": "admitted",
    "block_id": "block_request",
}
assert sorted(PLANNED + OUTCOME) == sorted(field.name for field in STEP_LISTS)


def named_steps(record: RunRecord, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Some columns of steps.parquet, a dictionary a step."""
    ids: list[str] = record.requests["request_id"].tolist()
    for row in record.step_rows(columns):
        for column in NAMES_REQUESTS:
            if column in row:
                row[column] = [ids[i] for i in row[column]]
        yield row


def plan_columns(plan: Plan) -> dict[str, list[Any]]:
    return {
        "batch_request": list(plan.request_ids),
        "batch_start": list(plan.starts),
        "batch_tokens": list(plan.num_tokens),
        "batch_samples": list(plan.samples),
        "admitted": [a.request_id for a in plan.admitted],
        "admitted_cached": [a.num_cached for a in plan.admitted],
        "preempted": list(plan.preempted),
        "released": list(plan.released),
        "block_request": [request_id for request_id, ids in plan.new_blocks for _ in ids],
        "block_id": [block_id for _, ids in plan.new_blocks for block_id in ids],
        "copy_to_host": [copy.to_host for copy in plan.copies],
        "copy_block": [copy.block_id for copy in plan.copies],
        "copy_host_block": [copy.host_block_id for copy in plan.copies],
    }


def outcome_columns(outcome: Outcome) -> dict[str, list[Any]]:
    return {"batch_accepted": list(outcome.num_accepted), "finished": list(outcome.finished)}


def short(values: Sequence[Any], most: int = 8) -> str:
    if not values:
        return "none"
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
