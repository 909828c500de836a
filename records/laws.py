"""The laws that every run obeys, checked on its record: requests.parquet and steps.parquet alone, and exactly.

Times in the files are floats that turn back into the very nanoseconds (records/units.py), so sums are compared with ==.
docs/invariants.md says what is checked while an engine runs; here is all of it that a reader of the record can see.
"""

from records.flow_laws import flow_laws
from records.law import Law
from records.request_laws import request_laws
from records.run import RunRecord
from records.run_arrays import read_arrays
from records.step_laws import step_laws


def check_laws(record: RunRecord) -> list[Law]:
    """All of them, always in the same order. Errors: RecordError where a file cannot be read."""
    arrays = read_arrays(record)
    return [*request_laws(arrays), *step_laws(arrays), *flow_laws(arrays)]
