"""What a server is, and whether it does what a run needs: token ids, an exact length, a stream, counts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lab.hardware_check.client.prompts import asking_for
from lab.hardware_check.client.stream import Answer
from serving.errors import BlockedError, ConfigError

if TYPE_CHECKING:
    import httpx

FEW = [5, 6, 7, 8, 9, 10]
"""Of a prompt to try: below a KV block, so that nothing of it is kept."""
TRY_S = 60.0


@dataclass(frozen=True)
class Server:
    """url: without /v1 and what follows. model: as clients call it. version: as the server states it, or ""."""

    url: str
    model: str
    version: str

    @property
    def completions(self) -> str:
        return f"{self.url}/v1/completions"


def base_of(url: str) -> str:
    """Errors: ConfigError for what is no address of an HTTP server, or holds a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--url {url}: give one such as http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise ConfigError("--url holds a password, which a record would keep; give the key by SERVETWIN_API_KEY")
    if parts.query or parts.fragment:
        raise ConfigError(f"--url {url}: leave out what follows ? or #")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def headers(api_key: str | None) -> dict[str, str]:
    """Nothing is compressed: an event would have to wait for those behind it."""
    plain = {"Accept-Encoding": "identity"}
    return plain if api_key is None else {**plain, "Authorization": f"Bearer {api_key}"}


def look_at(url: str, api_key: str | None = None) -> Server:
    """Asks for the model, and for two tokens.

    Errors: BlockedError where nobody answers; ConfigError that says what the server does not do.
    """
    httpx = client_library()
    base = base_of(url)
    try:
        with httpx.Client(headers=headers(api_key), timeout=TRY_S, trust_env=False) as client:
            models = client.get(f"{base}/v1/models")
            if models.status_code in (401, 403):
                raise ConfigError(f"{base} asks for an API key; give it in SERVETWIN_API_KEY")
            server = Server(base, _first_model(base, models), _version(client, base))
            _try(client, server)
            return server
    except httpx.HTTPError as error:
        raise BlockedError(f"{base}: no server answers there ({error}); start it, or give another --url") from error


def client_library() -> Any:
    """httpx. Errors: BlockedError where it is absent."""
    try:
        import httpx
    except ImportError as error:
        raise BlockedError("a check against a server needs httpx: pip install 'servetwin[http]'") from error
    return httpx


def _first_model(base: str, answer: "httpx.Response") -> str:
    try:
        return str(answer.raise_for_status().json()["data"][0]["id"])
    except Exception as error:  # whatever a server that speaks something else may send
        raise ConfigError(f"{base}/v1/models names no model ({error}); is this an OpenAI-compatible server?") from error


def _version(client: "httpx.Client", base: str) -> str:
    try:
        return str(client.get(f"{base}/version").raise_for_status().json()["version"])
    except Exception:  # no part of the OpenAI API: vLLM has it, others have not
        return ""


def _try(client: "httpx.Client", server: Server) -> None:
    answer = Answer()
    body = {"model": server.model, "prompt": FEW, **asking_for(2)}
    with client.stream("POST", server.completions, json=body) as response:
        if response.status_code != 200:
            told = response.read().decode(errors="replace")[:300]
            raise ConfigError(
                f"{server.url} refuses a completion of token ids with ignore_eos and stream_options "
                f"({response.status_code}: {told}); check against a server that takes these"
            )
        try:
            for part in response.iter_raw():
                answer.feed(part, 0)
        except ValueError as error:
            raise ConfigError(f"{server.url} streams something else than events: {error}") from error
    if answer.error is not None:
        raise ConfigError(f"{server.url} answers with an error: {answer.error}")
    if answer.tokens is None:
        raise ConfigError(f"{server.url} does not say how many tokens it gave (stream_options.include_usage)")
    if answer.tokens != 2 or answer.first_at is None:
        raise ConfigError(
            f"{server.url} gave {answer.tokens} tokens of 2 asked for; outputs could not have the workload's lengths"
        )
