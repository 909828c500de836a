"""The server in OpenAPI 3.1, from the very models that check requests."""

from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from realexec.server.asked import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest

Json = dict[str, Any]

POSTS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("/v1/completions", CompletionRequest, "Text that goes on from a prompt"),
    ("/v1/chat/completions", ChatRequest, "The next turn of a conversation"),
    ("/tokenize", TokenizeRequest, "Token ids of a text"),
    ("/detokenize", DetokenizeRequest, "Text of token ids"),
)
GETS = (
    ("/v1/models", "The model that is served", "application/json"),
    ("/health", "Whether requests are taken in", None),
    ("/version", "Of servetwin", "application/json"),
    ("/metrics", "For Prometheus", "text/plain"),
    ("/openapi.json", "This document", "application/json"),
)
REFUSALS = {
    "400": "Malformed, or can never be served",
    "404": "No such model",
    "408": "The body did not come in time",
    "413": "The body is too large",
    "415": "Not application/json, or encoded",
    "429": "Turned away by the admission policy; see Retry-After",
    "503": "Draining, overloaded or ended; see Retry-After",
}
ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}


def document(has_api_key: bool) -> Json:
    place = "#/components/schemas/{model}"
    names, schemas = models_json_schema([(kind, "validation") for _, kind, _ in POSTS], ref_template=place)
    components: Json = {"schemas": {**schemas["$defs"], "Error": ERROR}}
    refusals = {**REFUSALS, **({"401": "No API key, or another"} if has_api_key else {})}
    paths: Json = {}
    for path, kind, summary in POSTS:
        content = {"application/json": {"schema": names[(kind, "validation")]}}
        answers = {
            "200": _answer("Done", _types_of(path)),
            **{status: _refusal(why) for status, why in refusals.items()},
        }
        body = {"required": True, "content": content}
        paths[path] = {"post": {"summary": summary, "requestBody": body, "responses": answers}}
    for path, summary, media_type in GETS:
        answers = {"200": _answer("Done", [media_type] if media_type else [])}
        if path == "/health":
            answers["503"] = {"description": "Draining, or ended"}
        elif has_api_key:
            answers["401"] = _refusal(refusals["401"])
        paths[path] = {"get": {"summary": summary, "responses": answers}}
    found: Json = {
        "openapi": "3.1.0",
        "info": {"title": "servetwin", "version": version("servetwin")},
        "paths": paths,
        "components": components,
    }
    if has_api_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
        paths["/health"]["get"]["security"] = []
    return found


def _types_of(path: str) -> list[str]:
    return ["application/json", "text/event-stream"] if path.startswith("/v1/") else ["application/json"]


def _answer(description: str, media_types: list[str]) -> Json:
    return {"description": description, **({"content": {kind: {} for kind in media_types}} if media_types else {})}


def _refusal(description: str) -> Json:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
