"""Run records as one trace file in the Trace Event Format, for Perfetto, chrome://tracing and viztracer's viewer.

Read write.py first (what is in a file, in which order), then request_parts.py (a request's slices, and why they sum
to its parts exactly) and step_tracks.py (an engine's lanes and counters). docs/traces.md is for who reads a trace.
"""

from lab.trace.cut import Cut
from lab.trace.write import TraceReport, write_trace

__all__ = ["Cut", "TraceReport", "write_trace"]
