"""casys-kaist/LLMServingSim 2.0 workloads: JSONL of single requests and of agents' sessions, mixed as they like.

request  input_toks, output_toks, arrival_time_ns, and where known input_tok_ids, output_tok_ids
session  session_id, arrival_time_ns, sub_requests: a chain of input_toks, output_toks, tool_duration_ns and the ids;
         each is sent when the one before has ended and its tool has run

A call whose ids begin with those of the call before, and that is longer than its prompt and output together, repeats
them: it becomes the next turn. Other prompts with ids are kept as hash ids of 16 tokens. Without ids the trace says
nothing of shared prefixes, and none is assumed.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from workloads.chained import ChainedIds
from workloads.entry import Entry, Session
from workloads.lines import Fields

HASH_BLOCK = 16


def llmservingsim_sessions(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Session]:
    """Errors: WorkloadError naming file, line and field."""
    chained = ChainedIds()
    for number, line in lines:
        fields = Fields(line, f"{path}:{number}")
        arrival = fields.time("arrival_time_ns", unit_ns=1)
        calls = fields.objects("sub_requests") if "sub_requests" in fields else [fields]
        session_id = fields.text("session_id", "")
        entries: list[Entry] = []
        before: tuple[int, ...] = ()
        tool_time = 0
        for call in calls:
            prompt_len, output_len = call.whole("input_toks"), call.whole("output_toks")
            ids = call.wholes("input_tok_ids") if "input_tok_ids" in call else ()
            if ids and len(ids) != prompt_len:
                raise call.wrong(f"input_tok_ids has {len(ids)} ids, but input_toks is {prompt_len}")
            repeats = (
                bool(before)
                and ids[: len(before)] == before
                and prompt_len > entries[-1].prompt_len + entries[-1].output_len
            )
            entries.append(
                Entry(
                    where=call.where,
                    time=arrival,
                    prompt_len=prompt_len,
                    output_len=output_len,
                    hash_ids=chained.of_tokens(ids, HASH_BLOCK) if ids and not repeats else None,
                    hash_block=HASH_BLOCK,
                    session_id=session_id,
                    think_time=tool_time,
                    repeats=repeats,
                )
            )
            before, tool_time = ids, call.time("tool_duration_ns", unit_ns=1) if "tool_duration_ns" in call else 0
        if not entries:
            raise fields.wrong("sub_requests is empty; a session has at least one request")
        yield entries
