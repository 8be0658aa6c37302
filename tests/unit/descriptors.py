"""Takes file descriptors away from this process, whatever it has open."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Allow so many more file descriptors than are open now. The system's limit is on the number, so gaps below it count too."""
    free = [os.dup(1) for _ in range(count + 1)]
    for number in free:
        os.close(number)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
