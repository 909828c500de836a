"""Checks of our own for schemathesis, whose own one takes all that fits a schema for servable."""

import schemathesis

REFUSALS_BEYOND_SCHEMA = {
    "conflicting_fields",
    "context_length_exceeded",
    "can_never_be_served",
    "empty_prompt",
    "unknown_token_id",
}
"""Codes of docs/server.md."""


@schemathesis.check
def valid_data_is_served(context, response, case) -> None:
    """A request that fits the schema is refused with one of these codes only."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 400:
        return
    code = response.json()["error"]["code"]
    assert code in REFUSALS_BEYOND_SCHEMA, f"fits the schema, and was refused: {code}"


@schemathesis.check
def refusals_have_one_shape(context, response, case) -> None:
    """{"error": {"message", "type", "param", "code"}}, whatever was refused, and no traceback."""
    if response.status_code < 400 or response.request.method == "HEAD":
        return
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text
