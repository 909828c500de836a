"""Draw a workload: arrivals, prompt lengths and output lengths from a seeded stream each."""

from serving.errors import ConfigError
from workloads.arrivals.registry import arrival_process
from workloads.distributions.base import whole
from workloads.lengths import check_scale, length_model
from workloads.streams import stream
from workloads.workload import Workload, WorkloadRequest

MOST_REQUESTS = 10_000_000


def synthesize(
    *,
    name: str,
    rate: float,
    num_requests: int,
    seed: int,
    arrivals: str = "poisson",
    lengths: str = "azure-conv",
    scale: float = 1.0,
) -> Workload:
    """A workload whose max_tokens equal the output lengths; ids carry the seed, so seeds share no prompts.

    rate: mean arrivals per second. arrivals: a process, as in `gamma(cv=2)` (arrivals/). lengths: a model, as in
    `lognormal(prompt=200, output=50, sigma=1)` (lengths.py). scale: multiplies drawn lengths.
    Prompt and output of a request are independent. A change of one of arrivals, prompts and outputs leaves the others.
    Errors: ConfigError.
    """
    if not 1 <= num_requests <= MOST_REQUESTS:
        raise ConfigError(f"{num_requests} requests asked for; give from 1 to {MOST_REQUESTS}")
    check_scale(scale)
    marginals = length_model(lengths).marginals()
    times = arrival_process(arrivals).times(rate, num_requests, stream(seed, "arrivals"))
    prompts = whole(marginals.prompt, num_requests, stream(seed, "prompts"), scale=scale)
    outputs = whole(marginals.output, num_requests, stream(seed, "outputs"), scale=scale)
    digits = len(str(num_requests - 1))
    return Workload(
        name,
        tuple(
            WorkloadRequest(f"{seed}-{i:0{digits}}", time, prompt_len, output_len, max_tokens=output_len)
            for i, (time, prompt_len, output_len) in enumerate(zip(times, prompts, outputs, strict=True))
        ),
    )
