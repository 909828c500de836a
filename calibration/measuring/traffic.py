"""The kind of requests a calibration serves online, at any rate: published marginals, or a trace's own lengths."""

from dataclasses import dataclass, replace

import numpy as np

from workloads.synthesize import synthesize
from workloads.workload import Workload


@dataclass(frozen=True)
class Traffic:
    """name: for the profile. scale: of the Azure conversation marginals. template: take lengths from it instead."""

    name: str
    scale: float = 0.125
    template: Workload | None = None

    def draw(self, rate: float | None, requests: int, seed: int) -> Workload:
        """Poisson arrivals at a rate [requests/s], or all at once for None; lengths by seed."""
        drawn = synthesize(name=self.name, rate=rate or 1.0, num_requests=requests, seed=seed, scale=self.scale)
        members = list(drawn.requests)
        if self.template is not None:
            chosen = np.random.default_rng(seed).choice(len(self.template.requests), size=requests)
            pairs = [(self.template.requests[i].prompt_len, self.template.requests[i].output_len) for i in chosen]
            members = [
                replace(r, prompt_len=prompt, output_len=output, max_tokens=output)
                for r, (prompt, output) in zip(members, pairs, strict=True)
            ]
        if rate is None:
            members = [replace(r, arrival_time=0) for r in members]
        return Workload(drawn.name, tuple(members))

    def mean_lengths(self) -> tuple[float, float]:
        """Mean prompt and output tokens."""
        members = self.draw(None, 2000, seed=0).requests if self.template is None else self.template.requests
        return (
            sum(r.prompt_len for r in members) / len(members),
            sum(r.output_len for r in members) / len(members),
        )


AZURE_CONVERSATION = Traffic("azure-conv x 0.125")
