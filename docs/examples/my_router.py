"""Short prompts have the first replica to themselves, so that they never wait behind a long one.

servetwin simulate --replicas 4 --router docs/examples/my_router.py:ShortPromptsApart
"""

from dataclasses import dataclass

from serving.route.base import Router, least_loaded


@dataclass
class ShortPromptsApart(Router):
    """short: tokens of the longest prompt that counts as short."""

    short: int = 256

    def choose(self, request, replicas, now):
        first, *others = replicas
        return first if request.prompt_len <= self.short or not others else least_loaded(others)
