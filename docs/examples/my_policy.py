"""The shortest prompt first; long prompts bit by bit; who got least gives way.

servetwin simulate --policy docs/examples/my_policy.py:ShortestPromptFirst
"""

from dataclasses import dataclass

from serving.schedule.policies.base import Policy


@dataclass
class ShortestPromptFirst(Policy):
    """most: tokens of one prompt in a step, while there are others."""

    most: int = 256

    def key(self, request):
        return (request.prompt_len, request.arrival_time, request.request_id)

    def chunk(self, request, num_tokens):
        alone = len(self.engine.running) + len(self.engine.waiting) == 1
        return num_tokens if alone else min(num_tokens, self.most)

    def victim(self, running):
        return min(running, key=lambda request: (request.num_output, -request.arrival_time, request.request_id))
