"""Settings for every test: no network, no screen, no random failure that cannot be repeated."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # or it complains in tests that start processes


def _hypothesis_profiles() -> None:
    try:
        from hypothesis import Phase, settings
    except ImportError:  # the tests that need it skip
        return
    # No deadline: the first example of a test may import torch or compile a kernel.
    settings.register_profile("local", deadline=None, print_blob=True)
    # CI draws the same examples every time; new ones are found where someone can look at them.
    settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
    # A changed program (make mutants) is only to be noticed: a smaller example of how it fails is of no use.
    found = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", settings.get_profile("ci"), phases=found)
    mutated = "MUTANT_UNDER_TEST" in os.environ
    settings.load_profile("mutants" if mutated else "ci" if os.environ.get("CI") else "local")


_hypothesis_profiles()


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the working tree."""
    return Path(__file__).resolve().parent.parent
