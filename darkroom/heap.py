"""What a process that starts does about Python's garbage collector, once everything is imported and built."""

import gc

YOUNG = 10_000
"""Objects made and not freed before a look at them (Python's own: 700 to 2,000): thousands of jobs under way hold that
many for seconds, and a look at each of them again and again finds nothing."""


def settle_heap() -> None:
    """Leave what lives as long as the process out of every later collection, and collect less often.

    A full collection of modules, models and routes stops every thread of the process for 0.1 to 0.2 s on a slow core;
    collections were a sixth of a busy worker's CPU (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
