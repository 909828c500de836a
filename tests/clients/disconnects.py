"""600 clients at once, 400 of whom leave at random moments, against the server as a process.

    .venv/bin/python -m pytest -s -o timeout=1800 tests/clients/disconnects.py

tests/realexec/server/test_disconnects.py holds the same in small, inside the process.
"""

import asyncio
import time
from pathlib import Path

import pytest

from tests.clients.process import ENGINES, serving
from tests.realexec.server.test_disconnects import NORMAL_TOKENS, crowd

OF_EACH = 200
"""Who stay, who leave a stream, who leave without one."""


@pytest.mark.parametrize("engine", ENGINES)
def test_who_leaves_frees_its_blocks_and_who_stays_gets_its_tokens(engine: str, tmp_path: Path) -> None:
    with serving(engine, tmp_path) as server:
        answers = asyncio.run(crowd(server.url, OF_EACH))
        ended = time.monotonic()
        assert server.is_idle_within(1)
        free_s = time.monotonic() - ended
        aborted = server.metric("request_success_total", 'finished_reason="abort"')
        assert OF_EACH < aborted <= 2 * OF_EACH, "some left before they were heard"
        for number in range(0, OF_EACH, 7):
            assert answers[number] == server.greedy(f"stay {number}", NORMAL_TOKENS)
        print(f"{engine}: {OF_EACH} had their tokens, {aborted:g} aborted, all blocks free {1e3 * free_s:.0f} ms later")
