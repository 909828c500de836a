"""What a step that ran took, by where the time went."""

from collections.abc import Sequence

import pandas as pd

from serving.cost import features
from serving.schedule.contract import StepReceipt


def step_rows(receipts: Sequence[StepReceipt]) -> pd.DataFrame:
    """A row a step: its features, and in milliseconds schedule, execute, complete and return.

    complete is the gap to the next schedule() call, nan where the engine had nothing to do then; return is nan where
    the step delivered nothing.
    """
    rows = []
    for receipt, following in zip(receipts, [*receipts[1:], None], strict=True):
        left = receipt.snapshot.num_running + receipt.snapshot.num_waiting - len(receipt.outcome.finished)
        gap = None if following is None or left == 0 else following.schedule_at - receipt.host_at
        delivered = any(receipt.outcome.num_accepted)
        rows.append(
            {
                **features(receipt.plan)._asdict(),
                "schedule_ms": (receipt.launch_at - receipt.schedule_at) / 1e6,
                "execute_ms": (receipt.host_at - receipt.launch_at) / 1e6,
                "complete_ms": float("nan") if gap is None else gap / 1e6,
                "return_ms": (receipt.delivered_at - receipt.host_at) / 1e6 if delivered else float("nan"),
            }
        )
    return pd.DataFrame(rows)
