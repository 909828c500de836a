"""Which batches to measure, and how often: those that tell most about the steps a workload will run, for their time.

I-optimal design (Atkinson, Donev, Tobias: Optimum Experimental Designs, 2007, chapter 10): the mean variance of the
predictions over a region, trace(region' inverse(M) region), is made small; M is the information of what is measured.
Picked one by one, each the batch that lowers it most a second.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RIDGE = 1e-3
"""Information from before the first sample, a share of the mean of what one sample gives: M must have an inverse."""


def picks(candidates: Floats, seconds: Floats, region: Floats, measured: Floats, budget_s: float) -> list[int]:
    """Indices of candidates, in the order they were picked; one may come many times.

    candidates, region, measured: a row a step, its terms over its predicted time, so that errors count in percent;
    shapes [C, terms], [R, terms], [M, terms]. seconds: what measuring a candidate takes, [C].
    """
    scale = np.maximum(np.abs(np.concatenate([candidates, region, measured])).max(axis=0), 1e-12)
    candidates, region, measured = candidates / scale, region / scale, measured / scale
    terms = candidates.shape[1]
    ridge = RIDGE * max(float((candidates**2).mean()), 1e-12)
    inverse = np.linalg.inv(measured.T @ measured + ridge * np.eye(terms))
    weight = region.T @ region / len(region)
    found: list[int] = []
    spent = 0.0
    while True:
        along = candidates @ inverse  # [C, terms]
        gain = np.einsum("ct,ts,cs->c", along, weight, along) / (1.0 + np.einsum("ct,ct->c", along, candidates))
        best = int(np.argmax(gain / seconds))
        spent += float(seconds[best])
        if spent > budget_s:
            return found
        found.append(best)
        inverse -= np.outer(along[best], along[best]) / (1.0 + float(along[best] @ candidates[best]))


def mean_variance(region: Floats, measured: Floats) -> float:
    """Of predictions over the region, in units of the variance of one sample; what picks() makes small."""
    scale = np.maximum(np.abs(np.concatenate([region, measured])).max(axis=0), 1e-12)
    region, measured = region / scale, measured / scale
    ridge = RIDGE * max(float((measured**2).mean()), 1e-12)
    inverse = np.linalg.inv(measured.T @ measured + ridge * np.eye(region.shape[1]))
    return float(np.einsum("rt,ts,rs->r", region, inverse, region).mean())
