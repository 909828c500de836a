"""Routers by name."""

from collections.abc import Mapping

from serving.route.base import Router
from serving.route.central_queue import CentralQueue
from serving.route.join_shortest_queue import JoinShortestQueue
from serving.route.least_kv import LeastKv
from serving.route.power_of_two import PowerOfTwo
from serving.route.predicted_ttft import PredictedTtft
from serving.route.prefix_affinity import PrefixAffinity
from serving.route.random_choice import RandomChoice
from serving.route.round_robin import RoundRobin
from serving.route.session_affinity import SessionAffinity

ROUTERS: Mapping[str, type[Router]] = {
    "random": RandomChoice,
    "round-robin": RoundRobin,
    "join-shortest-queue": JoinShortestQueue,
    "power-of-two": PowerOfTwo,
    "least-kv": LeastKv,
    "session-affinity": SessionAffinity,
    "prefix-affinity": PrefixAffinity,
    "predicted-ttft": PredictedTtft,
    "central-queue": CentralQueue,
}
