"""How a trace is read: the options that every verb shares that takes a workload file or a public trace."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from serving.errors import BlockedError, ConfigError, WorkloadError

if TYPE_CHECKING:
    from workloads.entry import Tokenize
    from workloads.workload import Workload

TRACE_HELP = (
    "Azure CSV, BurstGPT CSV, Mooncake JSONL (vLLM timed_trace), ShareGPT JSON, vLLM custom JSONL or LLMServingSim "
    "JSONL, plain or .gz."
)


@Parameter(name="*")
@dataclass(frozen=True)
class TraceOptions:
    """Of a public trace; a workload file takes none of these."""

    limit: Annotated[
        int | None, Parameter(help="Take the first so many requests; the last session is taken whole.")
    ] = None
    speedup: Annotated[float, Parameter(help="Divide arrival times by this; think times stay.")] = 1.0
    drop_invalid: Annotated[
        bool,
        Parameter(
            help="Leave out requests of zero tokens, and the rest of their session, and say how many.", negative=()
        ),
    ] = False
    where: Annotated[
        list[str] | None,
        Parameter(
            help="Take the requests with this value in a column, as in Model=GPT-4 (BurstGPT: Model, Log Type).",
            negative=(),
        ),
    ] = None
    turns: Annotated[
        int | None, Parameter(help="Take at most so many requests of each session (ShareGPT, LLMServingSim).")
    ] = None
    rate: Annotated[
        float | None, Parameter(help="Sessions per second, Poisson, for a trace without times (ShareGPT, vLLM custom).")
    ] = None
    tokenizer: Annotated[
        Path | None, Parameter(help="The model's tokenizer.json, for a trace of texts (ShareGPT, vLLM custom).")
    ] = None
    think_time: Annotated[
        float | None, Parameter(help="Seconds from an answer to the next turn (ShareGPT). Default 0 s.")
    ] = None
    output_len: Annotated[int | None, Parameter(help="Output tokens of every request (vLLM custom).")] = None
    hash_block: Annotated[
        int | None, Parameter(help="Tokens a hash id stands for (Mooncake: 512, the default; Qwen: 16).")
    ] = None
    timestamp_unit: Annotated[
        Literal["ms", "s"] | None, Parameter(help="Unit of timestamps (Mooncake: ms, the default).")
    ] = None

    def load(
        self, path: Path, *, scale: float = 1.0, max_len: int | None = None, seed: int | None = None
    ) -> "tuple[Workload, list[str]]":
        """A workload file or a public trace, and notes for a person. Errors: those of convert()."""
        from workloads.formats import is_workload
        from workloads.traces import read_any

        if not is_workload(path):
            return self.convert(path, scale=scale, max_len=max_len, seed=seed)
        given = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        if given:
            raise ConfigError(
                f"--{given[0].replace('_', '-')} has no effect on {path}: it is a workload file, no trace"
            )
        return read_any(path, scale, max_len)

    def convert(
        self, path: Path, *, scale: float, max_len: int | None, seed: int | None
    ) -> "tuple[Workload, list[str]]":
        """A public trace, and notes for a person. Errors: ConfigError, WorkloadError, BlockedError."""
        from records.units import nanoseconds
        from workloads.formats import ReadOptions
        from workloads.traces import read_trace

        if self.think_time is not None and not 0 <= self.think_time < 1e6:
            raise ConfigError(f"--think-time is {self.think_time:g}; it must be from 0 to a million seconds")
        return read_trace(
            path,
            limit=self.limit,
            speedup=self.speedup,
            scale=scale,
            max_len=max_len,
            drop_invalid=self.drop_invalid,
            where=_columns(self.where or ()),
            turns=self.turns,
            rate=self.rate,
            seed=seed,
            read=ReadOptions(
                tokenizer=None if self.tokenizer is None else _tokenizer(self.tokenizer),
                think_time=None if self.think_time is None else nanoseconds(self.think_time),
                output_len=self.output_len,
                hash_block=self.hash_block,
                timestamp_unit=self.timestamp_unit,
            ),
        )


AS_IT_IS = TraceOptions()


def _columns(texts: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for text in texts:
        column, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--where {text!r} is not like Model=GPT-4: a column, an equals sign, a value")
        if column in columns:
            raise ConfigError(f"--where {column} is given twice; a request has one value in a column")
        columns[column] = value
    return columns


def _tokenizer(path: Path) -> "Tokenize":
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BlockedError("--tokenizer needs the tokenizers library: pip install 'servetwin[real]'") from error
    if not path.is_file():
        raise WorkloadError(f"{path}: no such file; --tokenizer is a model's tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise WorkloadError(f"{path}: no tokenizer that can be read: {error}") from error
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids
