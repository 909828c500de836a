"""What a policy may see: live, read-only views of requests and of the engine.

Never blocks, never the true output length, and nothing that can be changed: an assignment raises AttributeError.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, overload

from serving.cost import CostModel, StepFeatures
from serving.errors import ConfigError
from serving.request import Request, RequestState, Status
from serving.schedule.config import EngineConfig
from serving.state.pool import BlockPool


class RequestView:
    """A request as a policy sees it. One object a request for its whole life: usable as a dictionary key."""

    __slots__ = ("_state",)
    _state: RequestState

    def __init__(self, state: RequestState) -> None:
        object.__setattr__(self, "_state", state)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a policy cannot change a request: {name} is read-only")

    def __repr__(self) -> str:
        return f"<request {self.request_id}, {self.status.value}>"

    @property
    def request(self) -> Request:
        """What the client stated."""
        return self._state.request

    @property
    def request_id(self) -> str:
        return self._state.request_id

    @property
    def arrival_time(self) -> int:
        """Nanoseconds since the start of the run."""
        return self._state.request.arrival_time

    @property
    def tenant(self) -> str:
        return self._state.request.tenant

    @property
    def priority(self) -> int:
        """Smaller is more urgent."""
        return self._state.request.priority

    @property
    def prompt_len(self) -> int:
        return self._state.prompt_len

    @property
    def max_tokens(self) -> int:
        return self._state.request.max_tokens

    @property
    def deadline(self) -> int:
        """Nanoseconds since the start of the run. Errors: ConfigError if it has none (a policy says so in `needs`)."""
        return _stated(self, "deadline", self._state.request.deadline)

    @property
    def predicted_output_len(self) -> int:
        """Tokens. Errors: ConfigError if nobody predicted (a policy says so in `needs`)."""
        return _stated(self, "predicted_output_len", self._state.request.predicted_output_len)

    @property
    def status(self) -> Status:
        return self._state.status

    @property
    def num_tokens(self) -> int:
        """Prompt and output so far."""
        return len(self._settled().token_ids)

    @property
    def num_output(self) -> int:
        return self._settled().num_output

    @property
    def num_computed(self) -> int:
        """Tokens whose KV is stored, those of the step in flight included."""
        return self._settled().num_computed

    @property
    def num_cached(self) -> int:
        """Of those, the ones that were there when it was last admitted."""
        return self._state.num_cached

    @property
    def num_preemptions(self) -> int:
        return self._state.num_preemptions

    @property
    def num_blocks(self) -> int:
        """KV blocks it holds, shared ones included."""
        return len(self._state.block_ids)

    def _settled(self) -> RequestState:
        state = self._state
        if state.counted is not None:
            state.counted.settle()
        return state


def _stated(view: RequestView, name: str, value: int | None) -> int:
    if value is None:
        raise ConfigError(f"request {view.request_id} has no {name}; the policy must name it in `needs`")
    return value


class Running(Sequence[RequestView]):
    """The running requests in admission order."""

    def __init__(self, states: Sequence[RequestState], views: Mapping[RequestState, RequestView]) -> None:
        self._states = states
        self._views = views

    def __len__(self) -> int:
        return len(self._states)

    @overload
    def __getitem__(self, index: int) -> RequestView: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[RequestView]: ...

    def __getitem__(self, index: int | slice) -> RequestView | Sequence[RequestView]:
        if isinstance(index, slice):
            return [self._views[state] for state in self._states[index]]
        return self._views[self._states[index]]

    def __iter__(self) -> Iterator[RequestView]:
        return map(self._views.__getitem__, self._states)


class Waiting(Protocol):
    """The waiting requests, in the order the policy would try them."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[RequestView]: ...


class EngineView:
    """The engine as a policy sees it, at the moment it is asked."""

    def __init__(
        self, config: EngineConfig, pool: BlockPool, running: Running, waiting: Waiting, cost: CostModel | None
    ) -> None:
        self.__config = config
        self.__pool = pool
        self.__running = running
        self.__waiting = waiting
        self.__cost = cost

    @property
    def now(self) -> int:
        """When it is asked: integer nanoseconds since the start of the run."""
        return self.__pool.now

    @property
    def config(self) -> EngineConfig:
        return self.__config

    @property
    def running(self) -> Running:
        return self.__running

    @property
    def waiting(self) -> Waiting:
        return self.__waiting

    @property
    def num_blocks(self) -> int:
        return self.__pool.num_blocks

    @property
    def num_free_blocks(self) -> int:
        """Blocks nobody holds, those whose content can still be hit included."""
        return self.__pool.num_free

    def blocks_for(self, num_tokens: int) -> int:
        return self.__pool.blocks_for(num_tokens)

    def cached_tokens(self, request: RequestView) -> int:
        """Leading tokens of a waiting request that need not be computed if it is admitted now."""
        return self.__pool.hits(request._state).num_tokens

    @property
    def knows_cost(self) -> bool:
        """Whether step_time can answer."""
        return self.__cost is not None

    def step_time(self, step: StepFeatures) -> int:
        """Predicted nanoseconds from schedule() to tokens on the host. Errors: ConfigError without a cost model."""
        if self.__cost is None:
            raise ConfigError("no cost model to predict a step's time with: give a profile")
        return self.__cost.schedule_time(step) + self.__cost.execute_time(step)
