"""Reservation rules by name."""

from collections.abc import Mapping

from serving.state.reservation.base import Reservation
from serving.state.reservation.on_demand import OnDemand

RESERVATIONS: Mapping[str, type[Reservation]] = {
    "on-demand": OnDemand,
}
