"""A token bucket for each tenant: it fills at a rate, and a request takes its prompt and max_tokens out of it.

Source: the leaky bucket as a meter (ITU-T I.371), as API providers limit tokens a minute.
"""

from dataclasses import dataclass

from serving.errors import ConfigError
from serving.schedule.admission.base import AdmissionControl
from serving.view import RequestView


@dataclass
class TokenBucket(AdmissionControl):
    """rate: tokens a second and tenant. burst: tokens a full bucket holds."""

    rate: float
    burst: int = 100_000

    def __post_init__(self) -> None:
        if not self.rate > 0 or self.burst < 1:
            raise ConfigError(f"token-bucket: rate is {self.rate} and burst {self.burst}; both must be above 0")
        self._per_second = round(self.rate * 1000)  # thousandths of a token, so that refills are exact integers
        self._buckets: dict[str, tuple[int, int]] = {}  # level in 1e-12 tokens, and when

    def refuse(self, request: RequestView) -> str | None:
        now, full = self.engine.now, self.burst * 10**12
        level, since = self._buckets.get(request.tenant, (full, now))
        level = min(full, level + (now - since) * self._per_second)
        wanted = request.prompt_len + request.max_tokens
        if wanted * 10**12 > level:
            self._buckets[request.tenant] = (level, now)
            return (
                f"it asks for {wanted} tokens, tenant {request.tenant!r} has {level // 10**12} left in its bucket of "
                f"{self.burst}; send less, or later"
            )
        self._buckets[request.tenant] = (level - wanted * 10**12, now)
        return None
