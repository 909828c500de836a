"""Watermark: on demand, but a share of the pool stays free while others run, so that they can grow.

Sources: vLLM's watermark (on_demand.py); the share is Sarathi-Serve's.
"""

from dataclasses import dataclass

from serving.state.reservation.on_demand import OnDemand


@dataclass
class Watermark(OnDemand):
    watermark: float = 0.01
