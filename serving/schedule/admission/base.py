"""What an admission control decides."""

from serving.component import Component
from serving.view import RequestView


class AdmissionControl(Component):
    """Welcomes everybody, unless overridden."""

    def refuse(self, request: RequestView) -> str | None:
        """Asked once, on arrival, before the request waits. Why it is turned away, in words for the client; None:
        it is welcome.
        """
        return None
