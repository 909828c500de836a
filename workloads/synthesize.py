"""Draw a workload: arrivals, prompt lengths and output lengths from a seeded stream each."""

from serving.errors import ConfigError
from serving.names import known
from workloads.arrivals import gamma, poisson
from workloads.lengths import Constant, Lengths, LogNormal, draw
from workloads.published import PUBLISHED
from workloads.streams import stream
from workloads.workload import Workload, WorkloadRequest

ARRIVALS = ("poisson", "gamma")
LENGTHS = (*PUBLISHED, "lognormal", "constant")
MOST_REQUESTS = 10_000_000


def synthesize(
    *,
    name: str,
    rate: float,
    num_requests: int,
    seed: int,
    arrivals: str = "poisson",
    cv: float | None = None,
    lengths: str = "azure-conv",
    scale: float = 1.0,
    prompt_mean: float | None = None,
    output_mean: float | None = None,
    sigma: float | None = None,
) -> Workload:
    """A workload whose max_tokens equal the output lengths; ids carry the seed, so seeds share no prompts.

    rate: mean arrivals per second. cv: of the gaps, for gamma. scale: multiplies drawn lengths. prompt_mean,
    output_mean: tokens before scale, for lognormal and constant. sigma: of log length, for lognormal.
    Prompt and output of a request are independent. A change of one of arrivals, prompts and outputs leaves the others.
    Errors: ConfigError, also for an option that would have no effect.
    """
    if not 1 <= num_requests <= MOST_REQUESTS:
        raise ConfigError(f"{num_requests} requests asked for; give from 1 to {MOST_REQUESTS}")
    known("arrival process", arrivals, ARRIVALS)
    rng = stream(seed, "arrivals")
    if arrivals == "gamma":
        times = gamma(rate, _needed("cv", cv, "arrivals gamma"), num_requests, rng)
    else:
        _unused("cv", cv, "arrivals poisson")
        times = poisson(rate, num_requests, rng)
    prompt, output = _marginals(lengths, prompt_mean, output_mean, sigma)
    prompts = draw(prompt, num_requests, scale, stream(seed, "prompts"))
    outputs = draw(output, num_requests, scale, stream(seed, "outputs"))
    digits = len(str(num_requests - 1))
    return Workload(
        name,
        tuple(
            WorkloadRequest(f"{seed}-{i:0{digits}}", time, prompt_len, output_len, max_tokens=output_len)
            for i, (time, prompt_len, output_len) in enumerate(zip(times, prompts, outputs, strict=True))
        ),
    )


def _marginals(
    lengths: str, prompt_mean: float | None, output_mean: float | None, sigma: float | None
) -> tuple[Lengths, Lengths]:
    known("length distribution", lengths, LENGTHS)
    where = f"lengths {lengths}"
    if lengths in PUBLISHED:
        for option, value in (("prompt-mean", prompt_mean), ("output-mean", output_mean), ("sigma", sigma)):
            _unused(option, value, where)
        return PUBLISHED[lengths].prompt, PUBLISHED[lengths].output
    prompt = _needed("prompt-mean", prompt_mean, where)
    output = _needed("output-mean", output_mean, where)
    if lengths == "constant":
        _unused("sigma", sigma, where)
        return Constant(prompt), Constant(output)
    spread = _needed("sigma", sigma, where)
    return LogNormal(prompt, spread), LogNormal(output, spread)


def _needed(option: str, value: float | None, where: str) -> float:
    if value is None:
        raise ConfigError(f"{where} needs {option}")
    return value


def _unused(option: str, value: float | None, where: str) -> None:
    if value is not None:
        raise ConfigError(f"{option} has no effect with {where}; leave it out")
