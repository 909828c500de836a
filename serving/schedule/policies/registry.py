"""Policies by name."""

from collections.abc import Mapping

from serving.schedule.policies.base import Policy
from serving.schedule.policies.dfs_weight import DfsWeight
from serving.schedule.policies.edf import Edf
from serving.schedule.policies.fcfs import Fcfs
from serving.schedule.policies.hrrn import Hrrn
from serving.schedule.policies.las import Las
from serving.schedule.policies.lpm import Lpm
from serving.schedule.policies.mlfq import Mlfq
from serving.schedule.policies.priority import Priority
from serving.schedule.policies.sjf import Sjf
from serving.schedule.policies.slack import Slack
from serving.schedule.policies.srpt import Srpt
from serving.schedule.policies.vtc import Vtc

POLICIES: Mapping[str, type[Policy]] = {
    "fcfs": Fcfs,
    "priority": Priority,
    "sjf": Sjf,
    "srpt": Srpt,
    "hrrn": Hrrn,
    "las": Las,
    "mlfq": Mlfq,
    "edf": Edf,
    "slack": Slack,
    "vtc": Vtc,
    "lpm": Lpm,
    "dfs-weight": DfsWeight,
}
