"""What was sent, of two runs: who sends it, and where each output ends."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from records.inputs import request_from_json
from records.run import RunRecord
from records.units import nanoseconds
from serving.errors import RecordError
from serving.request import Request
from sim.client_clock import Given, Sender
from workloads.clients import Clients
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest


class Sent:
    """workload: the file that both runs were made with; None: the requests as the runs' own records tell them, which is
    enough where none was sent because another had ended.

    Errors: RecordError where the records do not tell enough, or the workload is another one.
    """

    def __init__(self, simulated: RunRecord, measured: RunRecord, workload: Workload | None) -> None:
        self._simulated, self._measured = simulated, measured
        self._max_in_flight = measured.manifest.conditions.get("max_in_flight")
        self._requests = _requests(simulated)
        if workload is None:
            self._check_open_loop()
            self._from_file = None
            self.truth = Truth(self._from_records())
        else:
            self._check_same(workload)
            self._from_file = workload
            self.truth = Truth(workload)

    def sender(self, predicted: Mapping[str, int | None]) -> Sender:
        """Clients that have not sent anything yet. predicted: output lengths that the engine is told."""
        workload = self._from_file
        if workload is None or (self._max_in_flight is None and not workload.has_parents):
            told = (replace(r, predicted_output_len=predicted.get(r.request_id)) for r in self._requests.values())
            return Given(sorted(told, key=lambda r: (r.arrival_time, r.request_id)))
        lengths = [predicted.get(request.request_id) for request in workload.requests]
        known = [length for length in lengths if length is not None]
        return Clients(
            workload,
            output_of=lambda request_id: self.truth.placeholders(request_id, 0),
            predicted=known if len(known) == len(lengths) else None,
            max_in_flight=self._max_in_flight,
        )

    def _check_same(self, workload: Workload) -> None:
        for record in (self._simulated, self._measured):
            if record.manifest.workload.sha256 != workload.sha256:
                raise RecordError(
                    f"{record.folder}: not a run of the workload {workload.name} (its sha256 differs); give the file "
                    f"that the run was made with"
                )

    def _check_open_loop(self) -> None:
        arrivals = [dict(_arrivals(record)) for record in (self._simulated, self._measured)]
        if arrivals[0] != arrivals[1] or self._max_in_flight is not None:
            raise RecordError(
                f"{self._measured.folder}: its requests were sent when others had ended, which the record does not "
                f"tell; give the file it was made with: --workload"
            )

    def _from_records(self) -> Workload:
        ends: dict[str, int] = {}
        for record in (self._simulated, self._measured):
            finished = record.requests[record.requests["status"] == "finished"]
            ends |= dict(zip(finished["request_id"], map(int, finished["output_len"]), strict=True))
        for request_id in self._requests:
            if request_id not in ends:
                raise RecordError(
                    f"{self._measured.folder}: request {request_id} finished in neither run, so the records do not "
                    f"tell where its output ends; give the file it was made with: --workload"
                )
        return Workload(
            self._simulated.manifest.workload.name,
            tuple(
                WorkloadRequest(r.request_id, r.arrival_time, r.prompt_len, ends[r.request_id], r.max_tokens)
                for r in self._requests.values()
            ),
        )


def predicted_lengths(record: RunRecord) -> dict[str, int | None]:
    """What the engine was told of the length of outputs."""
    return {request_id: request.predicted_output_len for request_id, request in _requests(record).items()}


def _requests(record: RunRecord) -> dict[str, Request]:
    added = (request_from_json(line["request"]) for line in record.inputs() if line["type"] == "add")
    return {request.request_id: request for request in added}


def _arrivals(record: RunRecord) -> Iterator[tuple[str, int]]:
    sent = record.requests.dropna(subset=["arrival_s"])
    for request_id, at in zip(sent["request_id"], sent["arrival_s"], strict=True):
        yield request_id, nanoseconds(float(at))
