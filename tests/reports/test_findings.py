"""What is said of a path as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nornir_tcptraceroute import Hop, Modification
from nornir_tcptraceroute.reports.findings import findings
from tests.reports.test_table import answered, silent, trace_of


def quoting(ttl: int, *modified: Modification, unseen: tuple[str, ...] | None = (), device: str | None = None) -> Hop:
    return replace(answered(ttl, 1.0), modified=modified, unseen=unseen, device=device)


DSCP = Modification("dscp", "46", "8", 1)
SHORT = ("flags", "tcp_options")


@pytest.mark.parametrize(
    ("hops", "told"),
    [
        ((), ["No answer quotes the probe, so that nothing is known of what the path does to it"]),
        ((silent(1), answered(2, 1.0)), ["No answer quotes the probe, so that nothing is known of what the path does to it"]),
        ((quoting(1), silent(2), answered(3, 1.0)), ["No answer shows that the path rewrites anything"]),
        (
            (quoting(1, device="core1"), silent(2), quoting(3, DSCP), answered(4, 1.0)),
            ["dscp 46 -> 8 between hop 1 (core1) and hop 3 (10.0.3.1)"],
        ),
        ((quoting(1, replace(DSCP, after=None)),), ["dscp 46 -> 8 between here and hop 1 (10.0.1.1)"]),
        (
            (silent(1), quoting(2, Modification("source_port", "not kept", "not kept", 1))),
            ["source port rewritten between hop 1 and hop 2 (10.0.2.1)"],
        ),
        (
            (quoting(1, unseen=SHORT), quoting(2, unseen=SHORT), quoting(3, unseen=SHORT), quoting(4), quoting(5, unseen=SHORT)),
            ["No answer shows that the path rewrites anything", "Hops 1-3, 5 quote too little to show flags, tcp options"],
        ),
        (
            (quoting(1, unseen=("payload",)), quoting(2, unseen=("flags", "payload")), quoting(3, unseen=None)),
            [
                "No answer shows that the path rewrites anything",
                "Hops 1-2 quote too little to show payload",
                "Hop 2 quotes too little to show flags",
            ],
        ),
        ((quoting(1, Modification("x", "\x1b", "a\nb", None)),), ["x \\x1b -> a\\x0ab between here and hop 1 (10.0.1.1)"]),
    ],
)
def test_a_path_is_summed_up(hops: tuple[Hop, ...], told: list[str]) -> None:
    assert list(findings(trace_of(*hops))) == told
