"""The ASGI application: the parts put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from realexec.server.access import Access
from realexec.server.errors import ApiError, answer_api_error, answer_bug, answer_http_error
from realexec.server.limits import Limits
from realexec.server.metrics import Metrics
from realexec.server.routes import Routes
from realexec.server.service import Service
from realexec.server.understood import SamplingOf, Understanding


def build_app(
    service: Service,
    metrics: Metrics,
    sampling_of: SamplingOf,
    limits: Limits,
    *,
    model_name: str,
    model_root: str,
    api_key: str = "",
) -> Starlette:
    """The service begins and ends with the application's life. api_key: "" for none."""
    understanding = Understanding(service.tokenizer, service.vocab_size, service.max_model_len, model_name, sampling_of)
    routes = Routes(service, understanding, metrics, limits, model_root, bool(api_key))

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    return Starlette(
        routes=routes.table(),
        middleware=[Middleware(Access, api_key=api_key, limits=limits)],
        exception_handlers={
            ApiError: answer_api_error,
            HTTPException: answer_http_error,
            ClientDisconnect: _nobody,
            Exception: answer_bug,
        },
        lifespan=life,
    )


def _nobody(request: Request, error: Exception) -> Response:
    """To a client that has gone; the status is nginx's word for it."""
    return Response(status_code=499)
