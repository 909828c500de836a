"""Reservation rules by name."""

from collections.abc import Mapping

from serving.state.reservation.base import Reservation
from serving.state.reservation.full_prompt import FullPrompt
from serving.state.reservation.max_length import MaxLength
from serving.state.reservation.new_token_ratio import NewTokenRatio
from serving.state.reservation.on_demand import OnDemand
from serving.state.reservation.past_future import PastFuture
from serving.state.reservation.predicted_length import PredictedLength
from serving.state.reservation.watermark import Watermark

RESERVATIONS: Mapping[str, type[Reservation]] = {
    "on-demand": OnDemand,
    "watermark": Watermark,
    "full-prompt": FullPrompt,
    "max-length": MaxLength,
    "predicted-length": PredictedLength,
    "new-token-ratio": NewTokenRatio,
    "past-future": PastFuture,
}
