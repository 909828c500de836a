"""Policies by name."""

from collections.abc import Mapping

from serving.schedule.policies.base import Policy
from serving.schedule.policies.fcfs import Fcfs
from serving.schedule.policies.priority import Priority

POLICIES: Mapping[str, type[Policy]] = {
    "fcfs": Fcfs,
    "priority": Priority,
}
