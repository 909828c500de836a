"""The body of a request: how much of it is read, for how long, and what JSON is taken."""

import asyncio
import contextlib
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from realexec.server.errors import ApiError, invalid
from realexec.server.limits import Limits

DISCARD_S = 1.0
"""For the rest of a body that is too large: a client that is still sending would not read the answer."""


async def read_body(request: Request, limits: Limits) -> bytes:
    """Errors: ApiError 413, 415 or 408; ClientDisconnect."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, f"content-type is {kind!r}; send application/json", code="unsupported_media_type")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise ApiError(415, f"content-encoding is {encoding!r}; send it as it is", code="unsupported_encoding")
    most, body = limits.body_bytes, bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            more = True
            while more:
                part, more = await _receive(request)
                if len(body) + len(part) > most:
                    if more:
                        await _discard(request)
                    message = f"the body has more than {most} bytes, which is the most"
                    raise ApiError(413, message, code="body_too_large", closes=True)
                body += part
    except TimeoutError:
        message = f"the body did not come within {limits.body_s:g} s"
        raise ApiError(408, message, code="body_timeout", closes=True) from None
    return bytes(body)


async def _receive(request: Request) -> tuple[bytes, bool]:
    """The next part, and whether there are more."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


async def _discard(request: Request) -> None:
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DISCARD_S):
            while (await _receive(request))[1]:
                pass


def parse_object(data: bytes) -> dict[str, Any]:
    """Stricter than json.loads: no key twice, no NaN, UTF-8 only. 16.0 is 16, as JSON Schema has it.

    Errors: ApiError 400.
    """
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_number
        )
    except UnicodeDecodeError as error:
        raise invalid(f"the body is not UTF-8 at byte {error.start}", code="invalid_json") from None
    except RecursionError:
        raise invalid("the body is nested too deeply", code="invalid_json") from None
    except ValueError as error:
        raise invalid(f"the body is not the JSON that is taken here: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise invalid(f"the body is a JSON {type(value).__name__}; send an object", code="invalid_json")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:64]!r} comes twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _number(digits: str) -> int | float:
    number = float(digits)
    return int(number) if number.is_integer() else number
