"""Loads at once what the analysis imports only where a trace needs it."""

from __future__ import annotations

__all__ = ("load_all",)


def load_all() -> None:
    """Import Scapy's part in the analysis, for a process that may not find Python's files later: one that drops its privileges.

    Raises:
        ImportError: a package is missing or broken.
    """
    import scapy.contrib.mpls
    import scapy.layers.inet  # noqa: F401 - what is imported here is found there
