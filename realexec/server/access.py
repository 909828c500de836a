"""Who may ask at all: the size of headers, and the API key, before anything else looks at a request."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from realexec.server.errors import error_body, json_response
from realexec.server.limits import Limits

OPEN_PATHS = ("/health",)


class Access:
    """api_key: "" for none. Every path asks for it but OPEN_PATHS, those that do not exist included."""

    def __init__(self, app: ASGIApp, api_key: str, limits: Limits) -> None:
        self._app = app
        self._expected = f"Bearer {api_key}".encode() if api_key else None
        self._header_bytes = limits.header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > self._header_bytes:
            body = error_body(f"more than {self._header_bytes} bytes of headers", "invalid_request_error", "headers")
            await json_response(body, 431, {"connection": "close"})(scope, receive, send)
        elif self._expected is None or scope["path"] in OPEN_PATHS or self._has_key(scope):
            await self._app(scope, receive, send)
        else:
            body = error_body("send the API key: Authorization: Bearer ...", "authentication_error", "invalid_api_key")
            await json_response(body, 401, {"www-authenticate": "Bearer"})(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        assert self._expected is not None
        given = Headers(scope=scope).get("authorization", "").encode("latin-1")
        return hmac.compare_digest(given, self._expected)
