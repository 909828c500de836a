"""Highest response ratio next: (time waited + service) / service, service being the tokens of the prompt.

Long prompts wait for short ones, but not for ever: whoever waits long enough has the highest ratio. Source: Brinch
Hansen, Operating System Principles, 1973.
"""

from dataclasses import dataclass

from serving.schedule.policies.base import Policy
from serving.schedule.queues.kinetic import KineticQueue


@dataclass
class Hrrn(Policy):
    def new_queue(self) -> KineticQueue:
        return KineticQueue(length=lambda request: request.prompt_len, now=lambda: self.engine.now)
