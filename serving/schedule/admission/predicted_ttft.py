"""Early rejection: who would get its first token too late is turned away at once.

The prediction: all prompts that wait before it, and its own, in full-budget steps. Source: Mooncake (Qin et al. 2024,
arXiv 2407.00079), which rejects by predicted load at arrival.
"""

from dataclasses import dataclass

from serving.cost import StepFeatures
from serving.errors import ConfigError
from serving.schedule.admission.base import AdmissionControl
from serving.view import RequestView


@dataclass
class PredictedTtft(AdmissionControl):
    """ttft_s: seconds."""

    needs = frozenset({"cost"})
    ttft_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.ttft_s > 0:
            raise ConfigError(f"predicted-ttft: ttft_s is {self.ttft_s}; it is a time in seconds, above 0")
        self._waiting: dict[RequestView, int] = {}
        self._tokens = 0

    def refuse(self, request: RequestView) -> str | None:
        budget = self.engine.config.max_num_batched_tokens
        tokens = self._tokens + request.prompt_len
        steps, rest = divmod(tokens, budget)
        predicted = steps * self._step_time(budget) + (self._step_time(rest) if rest else 0)
        if predicted > self.ttft_s * 1e9:
            return (
                f"its first token is predicted after {predicted / 1e9:.3f} s, the target is {self.ttft_s:g} s; "
                f"send it later"
            )
        return None

    def _step_time(self, tokens: int) -> int:
        context = sum(request.num_tokens for request in self.engine.running)
        return self.engine.step_time(StepFeatures.of_chunk(tokens, 0, len(self.engine.running), context))

    def arrived(self, request: RequestView) -> None:
        self._waiting[request] = request.prompt_len
        self._tokens += request.prompt_len

    def admitted(self, request: RequestView) -> None:
        self._tokens -= self._waiting.pop(request, 0)

    aborted = finished = admitted
