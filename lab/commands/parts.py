"""servetwin parts"""


def parts() -> None:
    """List what engines, fleets and workloads can be made of: presets, policies, eviction orders, routers, arrivals ...
    and the profiles that come along.

    Each with its options and their defaults, written as the options of simulate, execute and workload make take them;
    an autoscaler as a fleet's TOML file does (docs/fleets.md).

    Example: servetwin parts
    """
    from collections.abc import Mapping
    from dataclasses import MISSING
    from typing import Any

    from calibration.shipped import every
    from lab.profile_lines import profile_lines
    from serving.route.registry import ROUTERS
    from serving.scale.registry import SCALERS
    from serving.schedule.admission.registry import ADMISSIONS
    from serving.schedule.policies.registry import POLICIES
    from serving.schedule.presets import PRESETS
    from serving.schedule.spec import options_of
    from serving.state.eviction.registry import EVICTIONS
    from serving.state.reservation.registry import RESERVATIONS
    from workloads.arrivals.registry import ARRIVALS
    from workloads.lengths import LENGTHS
    from workloads.predict import PREDICTORS

    def default(field: Any) -> str:
        if field.default_factory is not MISSING:
            return repr(field.default_factory())
        return "..." if field.default is MISSING else repr(field.default)

    print("--preset")
    for name, preset in PRESETS.items():
        print(f"  {name:<24} {preset.title}")
    kinds: dict[str, Mapping[str, type]] = {
        "policy": POLICIES,
        "reservation": RESERVATIONS,
        "eviction": EVICTIONS,
        "admission": ADMISSIONS,
        "predictor": PREDICTORS,
        "router": ROUTERS,
        "autoscale": SCALERS,
        "arrivals": ARRIVALS,
        "lengths": LENGTHS,
    }
    for kind, classes in kinds.items():
        print(f"--{kind}")
        for name, part in classes.items():
            options = ", ".join(f"{f.name}={default(f)}" for f in options_of(part).values())
            print(f"  {name}({options})" if options else f"  {name}")
            print(f"      {_title(part)}")
    print("--profile")
    for profile in every():
        print(f"  {profile.name}")
        for line in profile_lines(profile):
            print(f"      {line}")


def _title(part: type) -> str:
    """First line of its docstring, or of its module's where its own only tells of options."""
    import re
    import sys

    own = (part.__dict__.get("__doc__") or "").strip()
    if not own or own.startswith(f"{part.__name__}(") or re.match(r"\w+(, \w+)*: ", own):
        own = (sys.modules[part.__module__].__doc__ or "").strip()
    return own.split("\n")[0]
