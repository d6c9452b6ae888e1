"""How long these tests look: two minutes in all, or as long as they are told."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

#: How many times as many examples are tried: 1 in a change, more at night.
MORE = int(
    os.environ.get("FWSYNC_PROPERTIES")
    or (10 if os.environ.get("HYPOTHESIS_PROFILE") == "torture" else 1)
)

#: In how many orders the steps of one run are tried.
ORDERS = 200 if MORE > 1 else 4


def bounded(examples: int, steps: int = 10) -> settings:
    """So many examples, times :data:`MORE`; of so many steps, where it is a machine."""
    return settings(
        max_examples=examples * MORE,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
