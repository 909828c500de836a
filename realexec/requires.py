"""What to tell a user whose environment lacks the real world's libraries."""

from serving.errors import BlockedError

LIBRARIES = (
    "torch",
    "numba",
    "tokenizers",
    "safetensors",
    "jinja2",
    "starlette",
    "uvicorn",
    "prometheus_client",
    "h11",
)
INSTALL = "pip install 'servetwin[real]'"


def blocked(error: ImportError) -> ImportError | BlockedError:
    """The error to raise in place of a failed import: ours if a library is absent, else the error itself."""
    root = (error.name or "").partition(".")[0]
    if root not in LIBRARIES:
        return error
    return BlockedError(f"the real engine needs {root}, which is not installed here: {INSTALL}")
