"""Counted decodes (serving/schedule/counting.py) listed again: the receipts that the plain path would have given."""

from collections.abc import Iterable, Iterator

from serving.schedule.contract import StepReceipt


def listed(receipts: Iterable[StepReceipt]) -> Iterator[StepReceipt]:
    members: dict[str, tuple[int, int]] = {}  # request -> tokens stored, less counted steps; prompt_len
    steps = 0
    for receipt in receipts:
        plan, outcome = receipt.plan, receipt.outcome
        decodes = plan.decodes
        if decodes is None:
            yield receipt
            continue
        for request_id in decodes.left:
            del members[request_id]
        for joined in decodes.joined:
            members[joined.request_id] = (joined.start - steps, joined.prompt_len)
        num = decodes.num_seqs
        if num:
            plan = plan._replace(
                request_ids=(*members, *plan.request_ids),
                starts=(*(base + steps for base, _ in members.values()), *plan.starts),
                num_tokens=(1,) * num + plan.num_tokens,
                samples=(True,) * num + plan.samples,
                prompt_lens=(*(prompt_len for _, prompt_len in members.values()), *plan.prompt_lens),
            )
            outcome = outcome._replace(num_accepted=(1,) * num + outcome.num_accepted)
            steps += 1
        for request_id in outcome.finished:
            members.pop(request_id, None)
        yield receipt._replace(plan=plan._replace(decodes=None), outcome=outcome)
