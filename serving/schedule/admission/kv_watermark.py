"""KV watermark: who would push the KV that is held, or waited for, above a share of the pool is turned away."""

from dataclasses import dataclass

from serving.errors import ConfigError
from serving.schedule.admission.base import AdmissionControl
from serving.view import RequestView


@dataclass
class KvWatermark(AdmissionControl):
    """share: of the pool's blocks, those held and those that the waiting requests' prompts will need together."""

    share: float = 0.9

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise ConfigError(f"kv-watermark: share is {self.share}; it must be above 0")
        self._waited_for: dict[RequestView, int] = {}
        self._blocks_waited_for = 0

    def refuse(self, request: RequestView) -> str | None:
        engine = self.engine
        held = engine.num_blocks - engine.num_free_blocks
        wanted = held + self._blocks_waited_for + engine.blocks_for(request.prompt_len)
        most = int(self.share * engine.num_blocks)
        if wanted > most and (held or self._blocks_waited_for):
            return f"with it {wanted} KV blocks are held or waited for, the most is {most}; try again later"
        return None

    def arrived(self, request: RequestView) -> None:
        self._wait(request)

    def preempted(self, request: RequestView) -> None:
        self._wait(request)

    def _wait(self, request: RequestView) -> None:
        self._waited_for[request] = blocks = self.engine.blocks_for(request.num_tokens)
        self._blocks_waited_for += blocks

    def admitted(self, request: RequestView) -> None:
        self._blocks_waited_for -= self._waited_for.pop(request, 0)

    aborted = finished = admitted
