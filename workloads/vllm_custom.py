"""The custom data set of vllm bench serve: JSONL of {prompt} and, where it is known, output_tokens.

Prompts are kept as hash ids of 16 tokens, so that those which begin alike share what they share in an engine; no chat
template is applied (there: --skip-chat-template).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from workloads.chained import ChainedIds
from workloads.entry import Entry, Session, Tokenize
from workloads.lines import Fields

HASH_BLOCK = 16


def custom_sessions(
    path: Path, lines: Iterable[tuple[int, str]], tokenize: Tokenize, output_len: int | None
) -> Iterator[Session]:
    """output_len: in tokens, of every request; None: each line says its own. Errors: WorkloadError naming the line."""
    ids = ChainedIds()
    for number, line in lines:
        fields = Fields(line, f"{path}:{number}")
        prompt = tokenize(fields.text("prompt"))
        if output_len is None and "output_tokens" not in fields:
            raise fields.wrong("output_tokens is missing; add it, or give all requests one with --output-len")
        yield (
            Entry(
                where=fields.where,
                time=0,
                prompt_len=len(prompt),
                output_len=fields.whole("output_tokens") if output_len is None else output_len,
                hash_ids=ids.of_tokens(prompt, HASH_BLOCK) or None,
                hash_block=HASH_BLOCK,
            ),
        )
