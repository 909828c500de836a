"""What a client reads when it is refused: {"error": {"message", "type", "param", "code"}} and a status."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response


class ApiError(Exception):
    """status: of HTTP. kind: the `type` that OpenAI's clients know. param: the field that is at fault.

    retry_after_s: where the same request may be served later. closes: the connection is of no more use.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str,
        param: str | None = None,
        retry_after_s: int | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        if retry_after_s is not None:
            self.headers["retry-after"] = str(retry_after_s)
        if closes:
            self.headers["connection"] = "close"
        self.body = error_body(message, kind, code, param)


def error_body(message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    return ApiError(400, message, code=code, param=param)


def overloaded(message: str, retry_after_s: int) -> ApiError:
    """By the engine's own admission policy."""
    return ApiError(429, message, kind="rate_limit_error", code="rejected_by_policy", retry_after_s=retry_after_s)


def unavailable(message: str, retry_after_s: int, code: str) -> ApiError:
    return ApiError(503, message, kind="service_unavailable_error", code=code, retry_after_s=retry_after_s)


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(body), status, dict(headers or {}), "application/json")


def to_json(value: Any) -> bytes:
    """UTF-8, compact. What no UTF-8 spells, a client's half surrogate pair, stays an escape."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
        "utf-8", "backslashreplace"
    )


def answer_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return json_response(error.body, error.status, error.headers)


def answer_http_error(request: Request, error: Exception) -> Response:
    """What the routing refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    message = f"{request.method} {request.url.path}: {error.detail}"
    return json_response(error_body(message, "invalid_request_error", code), error.status_code, error.headers)


def answer_bug(request: Request, error: Exception) -> Response:
    """The traceback goes to the log, not to the client."""
    return json_response(error_body("the server failed; its log says how", "internal_error", "internal_error"), 500)
