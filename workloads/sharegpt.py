"""ShareGPT conversations: JSON, a list of {id, conversations: [{from, value}]}, or one such object a line.

The data set of vllm bench serve --dataset-name sharegpt; that takes the first two messages of each conversation, and
so does `turns` 1 here. It also leaves out short and long ones (under 4 tokens, over 1024 of prompt or 2048 in all),
which is not done here. Each answer becomes the output of a request; what was said before it since the last answer is
the prompt's new text, and the whole conversation so far comes before that, so the next turn repeats it.

The first prompt of a conversation is kept as hash ids of 16 tokens, so that conversations which begin alike share what
they share in an engine; of later messages the lengths are kept.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from serving.errors import WorkloadError
from workloads.chained import ChainedIds
from workloads.entry import Entry, Session, Tokenize

HASH_BLOCK = 16
ANSWERS = ("gpt", "chatgpt", "assistant", "model", "bing", "bard")
PROMPTS = ("human", "user", "system", "tool", "function", "observation")


def sharegpt_sessions(
    path: Path, lines: Iterable[tuple[int, str]], tokenize: Tokenize, think_time: int, left_out: Counter[str]
) -> Iterator[Session]:
    """think_time: nanoseconds from an answer to the next turn. Errors: WorkloadError naming file and conversation."""
    ids = ChainedIds()
    for where, conversation in _conversations(path, lines):
        turns = _turns(where, conversation)
        if turns[-1][1] is None:
            left_out["last messages without an answer"] += 1
            turns.pop()
        entries: list[Entry] = []
        for prompt, answer in turns:
            new, output_len = tokenize(prompt), len(tokenize(answer or ""))
            first = not entries
            history = 0 if first else entries[-1].prompt_len + entries[-1].output_len
            entries.append(
                Entry(
                    where=where,
                    time=0,
                    # a turn without new text sends at least a separator
                    prompt_len=history + (len(new) if first else max(1, len(new))),
                    output_len=output_len,
                    hash_ids=ids.of_tokens(new, HASH_BLOCK) if first and new else None,
                    hash_block=HASH_BLOCK,
                    session_id=str(conversation.get("id", "")),
                    think_time=0 if first else think_time,
                    repeats=not first,
                )
            )
        if entries:
            yield entries


def _turns(where: str, conversation: dict[str, Any]) -> list[tuple[str, str | None]]:
    """(what was said, the answer), the last without an answer if there is none. Neighbours of a kind are joined."""
    turns: list[tuple[str, str | None]] = [("", None)]
    for message in conversation["conversations"]:
        if not isinstance(message, dict) or not isinstance(message.get("value"), str):
            raise WorkloadError(f"{where}: a message is not of the form {{from, value}}")
        role, text = message.get("from"), message["value"]
        said, answer = turns[-1]
        if role in ANSWERS and (said or len(turns) > 1):
            turns[-1] = (said, text if answer is None else f"{answer}\n{text}")
        elif role in ANSWERS or role in PROMPTS:  # an answer to nothing is context of the first prompt
            if answer is None:
                turns[-1] = (f"{said}\n{text}" if said else text, None)
            else:
                turns.append((text, None))
        else:
            raise WorkloadError(f"{where}: a message is from {role!r:.40}; known are {', '.join((*PROMPTS, *ANSWERS))}")
    return turns


def _conversations(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    whole: list[str] = []
    for number, line in lines:
        if whole or line.lstrip().startswith("["):
            whole.append(line)
        else:
            yield f"{path}:{number}", _checked(f"{path}:{number}", _parsed(f"{path}:{number}", line))
    if whole:
        listed = _parsed(str(path), "\n".join(whole))
        for i, conversation in enumerate(listed, 1):
            where = f"{path}: conversation {i}"
            yield where, _checked(where, conversation)


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WorkloadError(f"{where}: not JSON: {error}") from error


def _checked(where: str, conversation: Any) -> dict[str, Any]:
    if not isinstance(conversation, dict) or not isinstance(conversation.get("conversations"), list):
        raise WorkloadError(f"{where}: not an object with a list `conversations` (ShareGPT)")
    return conversation
