"""One page for a browser that shows runs: figures, parts of TTFT, timelines, requests. It needs no network."""
