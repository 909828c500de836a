"""Compiles the modules in which a simulation spends its time, where SERVETWIN_COMPILE=1 asks for it, as `make compiled`
does; otherwise an installation is what pyproject.toml says, in plain Python. See docs/decisions/41-compiled.md.
"""

import os

from setuptools import Extension, setup

HOT = (
    "records/profile_cost.py",
    "records/prompts.py",
    "records/request_rows.py",
    "records/step_rows.py",
    "serving/cost.py",
    "serving/metrics/timeline.py",
    "serving/request.py",
    "serving/route/front.py",
    "serving/route/guard.py",
    "serving/route/view.py",
    "serving/schedule/batchers/base.py",
    "serving/schedule/batchers/displace.py",
    "serving/schedule/batchers/mixed.py",
    "serving/schedule/batchers/prefill_first.py",
    "serving/schedule/batchers/request_level.py",
    "serving/schedule/batchers/stall_free.py",
    "serving/schedule/contract.py",
    "serving/schedule/counting.py",
    "serving/schedule/draft.py",
    "serving/schedule/guard.py",
    "serving/schedule/scheduler.py",
    "serving/schedule/steady.py",
    "serving/state/block.py",
    "serving/state/eviction/base.py",
    "serving/state/eviction/reuse_order.py",
    "serving/state/hashing.py",
    "serving/state/host_tier.py",
    "serving/state/pool.py",
    "serving/state/prefix_index.py",
    "serving/state/uncached_pool.py",
    "serving/tokens.py",
    "sim/ahead.py",
    "sim/client_clock.py",
    "sim/endings.py",
    "sim/fleet/chores.py",
    "sim/fleet/fleet.py",
    "sim/fleet/replicas.py",
    "sim/replica.py",
    "workloads/truth.py",
    "workloads/workload.py",
)
"""No class here is a base of one that a user writes or that stays interpreted: policies and the like are not here."""


def compiled() -> list[Extension]:
    from mypyc.build import mypycify  # of mypy, which only a developer has

    extensions: list[Extension] = mypycify(["--strict", *HOT], opt_level="3")
    return extensions


setup(ext_modules=compiled() if os.environ.get("SERVETWIN_COMPILE") == "1" else [])
