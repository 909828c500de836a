"""What queueing theory says, in closed form or from a small Markov chain. Times are in the unit of the sizes.

A size distribution is an array: its entry k is the probability of size k, a whole number of steps; entry 0 is 0.
"""

from collections.abc import Callable
from math import factorial

import numpy as np
from scipy.optimize import brentq
from scipy.stats import lognorm, poisson

Sizes = np.ndarray


def geometric(mean: float, longest: int) -> Sizes:
    """The discrete exponential, cut at `longest`."""
    k = np.arange(longest + 1)
    return _normalized((1 - 1 / mean) ** (k - 1.0) / mean)


def lognormal(mean: float, cv2: float, longest: int) -> Sizes:
    """Rounded up, cut at `longest`; mean and squared coefficient of variation are those before rounding."""
    sigma2 = np.log(1 + cv2)
    below = lognorm.cdf(np.arange(longest + 1), np.sqrt(sigma2), scale=mean * np.exp(-sigma2 / 2))
    return _normalized(np.diff(below, prepend=0.0))


def _normalized(p: np.ndarray) -> Sizes:
    p[0] = 0.0
    return p / p.sum()


def mean(p: Sizes) -> float:
    return float(p @ np.arange(len(p)))


def second_moment(p: Sizes) -> float:
    return float(p @ np.arange(len(p)) ** 2.0)


def pollaczek_khinchine(rate: float, p: Sizes) -> float:
    """Mean wait of M/G/1, first come, first served: rate E[S^2] / (2 (1 - rho))  (Pollaczek 1930, Khinchine 1932)."""
    return rate * second_moment(p) / (2 * (1 - rate * mean(p)))


def sjf(rate: float, p: Sizes) -> float:
    """Mean wait, shortest job first without preemption; equal sizes in order of arrival (Phipps 1956, after Cobham)."""
    rho = rate * np.cumsum(p * np.arange(len(p)))  # of sizes up to k
    below = np.concatenate(([0.0], rho[:-1]))
    return float(p @ (rate * second_moment(p) / 2 / (1 - rho) / (1 - below)))


def srpt(rate: float, p: Sizes) -> float:
    """Mean time from arrival to end, shortest remaining time first, where a job can give way at the end of a step only.

    Schrage and Miller's argument (Operations Research 14, 1966) with whole steps. Let U be the work that a job of size
    x finds ahead of it: that of jobs with at most x steps to go, and what remains of the step of another one. U falls
    at rate 1 while it is positive. It rises by k with each arrival of size k <= x, and, from 0, by x + 1 each time a
    larger job enters the step that leaves it x to go, and by 1 with each of its steps before that. That the mean of
    U^2 does not drift gives E[U]; smaller jobs that come later lengthen it, and each own step but the last.
    """
    k = np.arange(len(p), dtype=float)
    rho = rate * np.cumsum(p * k)
    below = np.concatenate(([0.0], rho[:-1]))
    beyond = 1 - np.cumsum(p)  # P(S > x)
    larger_steps = np.concatenate((np.cumsum(beyond[::-1])[::-1][1:], [0.0]))  # E[(S - x - 1)+]
    ahead = rate * (np.cumsum(p * k**2) + (k + 1) ** 2 * beyond + larger_steps) / (2 * (1 - rho))
    own = 1 + np.concatenate(([0.0, 0.0], np.cumsum(1 / (1 - below[1:-1]))))
    return float(p @ (ahead / (1 - below) + own))


def schrage_miller_exponential(rho: float) -> float:
    """As srpt(), steps infinitely short, sizes exponential with mean 1."""
    t = np.linspace(0, 60, 600_001)
    density = np.exp(-t)
    load = rho * (1 - (1 + t) * density)
    second = 2 - (2 + 2 * t + t**2) * density  # of sizes up to t
    wait = rho * (second + t**2 * density) / (2 * (1 - load) ** 2)
    slowed = np.concatenate(([0.0], np.cumsum((1 / (1 - load[1:]) + 1 / (1 - load[:-1])) / 2 * np.diff(t))))
    return float(np.trapezoid(density * (wait + slowed), t))


def bulk(rate: float, seats: int, step: Callable[[int], float], longest: int = 2000) -> float:
    """Mean time from arrival to end in M/D(n)^[1,seats]/1: a step of all who wait, `seats` at most, takes step(n).

    The chain of how many wait when a step ends; Poisson arrivals in each; then Little's law. longest: queue cut there.
    """
    n = np.arange(longest + 1)
    taken = np.clip(n, 1, seats)  # an idle engine waits for one arrival
    durations = np.array([0.0, *(step(k) for k in range(1, seats + 1))])[taken]
    left = np.maximum(n - taken, 0)
    arrivals = {int(k): poisson.pmf(n, rate * step(int(k))) for k in np.unique(taken)}
    transitions = np.zeros((longest + 1, longest + 1))
    for i in n:
        room = longest + 1 - left[i]
        transitions[i, left[i] :] = arrivals[int(taken[i])][:room]
        transitions[i, -1] += 1 - transitions[i].sum()
    share = _stationary(transitions)
    inside = np.maximum(n, 1) * durations + rate * durations**2 / 2
    cycle = durations + np.where(n == 0, 1 / rate, 0.0)
    return float(share @ inside / (share @ cycle) / rate)


def _stationary(transitions: np.ndarray) -> np.ndarray:
    size = len(transitions)
    equations = np.vstack((transitions.T - np.eye(size), np.ones(size)))[1:]
    return np.linalg.solve(equations, np.append(np.zeros(size - 1), 1.0))


def erlang_c(rate: float, servers: int) -> float:
    """Mean wait of M/M/servers with mean service 1 (Erlang 1917)."""
    rho = rate / servers
    busy = rate**servers / factorial(servers) / (1 - rho)
    waits = busy / (sum(rate**k / factorial(k) for k in range(servers)) + busy)
    return waits / (servers - rate)


def round_robin_exponential(rate: float, servers: int) -> float:
    """Mean wait where each of `servers` in turn gets the next job, service exponential with mean 1: E_servers/M/1."""
    sigma: float = brentq(lambda s: (rate / (rate + 1 - s)) ** servers - s, 0, 1 - 1e-9)
    return sigma / (1 - sigma)
