"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Out = Annotated[Path, Parameter(help="JSONL file to write, a request a line.")]
Scale = Annotated[float, Parameter(help="Multiply prompt and output lengths by this (0.125 fits the 15m model).")]
