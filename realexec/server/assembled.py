"""A server, ready to run: engine, service and application around a scheduler and a world."""

from collections.abc import Callable
from typing import NamedTuple

from starlette.applications import Starlette

from realexec.engine import Engine, ExecutedStep, OwnTokens
from realexec.server.app import build_app
from realexec.server.limits import Limits
from realexec.server.metrics import Metrics
from realexec.server.service import Scheduling, Service
from realexec.server.worlds import World
from serving.schedule.contract import SchedulerLike


class Assembled(NamedTuple):
    app: Starlette
    service: Service
    engine: Engine


def assemble(
    world: World,
    scheduler: SchedulerLike,
    scheduling: Scheduling,
    limits: Limits,
    *,
    model_name: str,
    model_root: str,
    api_key: str = "",
    predicts_max_tokens: bool = False,
    after_delivery: Callable[[ExecutedStep, int], None] = lambda step, at: None,
) -> Assembled:
    """scheduler: what the engine drives; scheduling: the same, where it is not wrapped. Others: see Service."""
    engine = Engine(scheduler, world.runner, OwnTokens(), world.clock, probing=False)
    metrics = Metrics(model_name, engine)
    service = Service(
        engine,
        scheduling,
        world.tokenizer,
        world.vocab_size,
        world.now,
        metrics,
        limits,
        predicts_max_tokens=predicts_max_tokens,
        before_delivery=world.before_delivery,
        after_delivery=after_delivery,
    )
    app = build_app(
        service,
        metrics,
        world.sampling_of,
        limits,
        model_name=model_name,
        model_root=model_root,
        api_key=api_key,
    )
    return Assembled(app, service, engine)
