"""Servers by the cell that each runs, and runs on them; those that are there already are kept."""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.console import say
from lab.hardware_check.client.prompts import MOST_SALT
from lab.hardware_check.client.record import ClientRecord, read_client_run, write_client_run
from lab.hardware_check.client.sending import send
from lab.hardware_check.client.server import Server, look_at
from lab.hardware_check.contest import Contestant
from lab.runs import workload_identity
from serving.errors import ConfigError, MeasurementError, RecordError
from serving.names import known
from workloads.workload import Workload

NAMED = re.compile(r"(?:(?P<name>.*?)=)?(?P<url>https?://.*)", re.DOTALL)


class Servers:
    """of: by name of the cell."""

    def __init__(self, of: Mapping[str, Server], api_key: str | None) -> None:
        self.of = of
        self._api_key = api_key

    @classmethod
    def found(cls, urls: Mapping[str, str], api_key: str | None) -> "Servers":
        """Each is tried. Errors: ConfigError, BlockedError."""
        servers = {}
        for name, url in urls.items():
            servers[name] = server = look_at(url, api_key)
            version = f", version {server.version}" if server.version else ""
            say(f"  cell {name}: {server.model} at {server.url}{version}")
        return cls(servers, api_key)

    def kept(self, folder: Path, one: Contestant, workload: Workload) -> ClientRecord | None:
        """The run that is there; None where there is none. Errors: RecordError for another one, or a damaged one."""
        if not (folder / "manifest.json").exists():
            return None
        record = read_client_run(folder)
        if record.manifest.cell != one.name or record.manifest.workload != workload_identity(workload):
            raise RecordError(
                f"{folder} is not a run of cell {one.name} on these requests; remove it, or give another --out"
            )
        return record

    def run(
        self, folder: Path, one: Contestant, workload: Workload, progress: Callable[[int], None] | None = None
    ) -> ClientRecord:
        """Errors: MeasurementError where a request had no whole answer; nothing is written then."""
        server = self.of[one.name]
        run = send(workload, server, secrets.randbelow(MOST_SALT), self._api_key, progress)
        broken = [sent for sent in run.sent if sent.reason is not None and not sent.refused]
        if broken:
            first = broken[0]
            raise MeasurementError(
                f"cell {one.name} at {server.url}: {len(broken)} of {len(run.sent)} requests had no whole answer; "
                f"request {first.request.request_id}: {first.reason}. The run is not kept; runs before it are"
            )
        if all(sent.refused for sent in run.sent):
            raise MeasurementError(
                f"cell {one.name} at {server.url} refused every request: {run.sent[0].reason}; the run is not kept"
            )
        return write_client_run(folder, one.name, workload, server, run)


def urls_by_cell(given: Sequence[str], contestants: Sequence[Contestant]) -> dict[str, str]:
    """NAME=URL each; NAME is the cell's, or its rank in the sweep. Errors: ConfigError."""
    names = {one.name: one.name for one in contestants} | {str(one.rank): one.name for one in contestants}
    cells = "; ".join(f"{one.rank}: {one.name}" for one in contestants)
    found: dict[str, str] = {}
    for text in given:
        parts = NAMED.fullmatch(text)
        if parts is None:
            raise ConfigError(f"--url {text}: give [NAME=]URL, such as 1=http://127.0.0.1:8000")
        name = parts["name"]
        if name is None:
            raise ConfigError(
                f"--url {text} does not say which cell that server runs; give NAME={text}, the name or rank of one "
                f"of: {cells}"
            )
        cell = names[known("cell", name, names)]
        if cell in found:
            raise ConfigError(f"--url is given twice for cell {cell}")
        found[cell] = parts["url"]
    return found
