"""The kinds of client by name."""

from collections.abc import Mapping

from workloads.population.agent import Agent
from workloads.population.chat import Chat
from workloads.population.entry import Entry
from workloads.population.rag import Rag
from workloads.population.requests import Requests
from workloads.population.users import Users

KINDS: Mapping[str, type[Entry]] = {
    "requests": Requests,
    "chat": Chat,
    "rag": Rag,
    "agent": Agent,
    "users": Users,
}
