"""The parts of a simulation that a measured run can replace, each by itself."""

from enum import StrEnum


class Factor(StrEnum):
    """What is taken from the measured run.

    STEP     how long a step executes (launch to tokens on the host)
    HOST     what the engine's own loop takes: to schedule and prepare a step, to complete one
    STATE    the KV pool: blocks, their size, prefix caching, host memory, eviction
    BATCH    who is in a step: the scheduler's rules, or its very sequence of batches
    ARRIVAL  how late requests reach the engine, its wake-up included
    RETURN   how long tokens take from the host to the client
    """

    STEP = "step"
    HOST = "host"
    STATE = "state"
    BATCH = "batch"
    ARRIVAL = "arrival"
    RETURN = "return"

    @property
    def label(self) -> str:
        return _LABELS[self]


Coalition = frozenset[Factor]
"""Those that are taken from the measured run; the others stay as they were simulated."""

_LABELS = {
    Factor.STEP: "step model",
    Factor.HOST: "host costs",
    Factor.STATE: "KV state",
    Factor.BATCH: "scheduler",
    Factor.ARRIVAL: "arrival path",
    Factor.RETURN: "return path",
}
