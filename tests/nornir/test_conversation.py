"""What is said with a managed host, without any host: in pieces of any size, and with hosts that misbehave."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.probe.errors import RecordError
from nornir_tcptraceroute.remote.bootstrap import command_line, payload
from nornir_tcptraceroute.remote.conversation import LONGEST_OUTPUT, Conversation, shown
from nornir_tcptraceroute.remote.errors import HostPrivilegeError, RemoteError

TOKEN = "tcptraceroute-0123456789abcdef"
READY = f"{TOKEN} ready\n".encode()
ASKS = f"{TOKEN} password:".encode()


def conversation(password: str | None = "secret") -> Conversation:
    return Conversation(TOKEN, password, b"PROBE")


@given(noise=st.binary(max_size=40).filter(lambda data: b"\n" not in data), cuts=st.lists(st.integers(0, 200), max_size=8))
def test_the_probe_is_sent_once_and_only_when_asked_for(noise: bytes, cuts: list[int]) -> None:
    talk = conversation()
    said = noise + b"\n" + READY + b'{"a": 1}\n'
    ends = sorted({*(cut % len(said) for cut in cuts), len(said)})
    start = 0
    for end in ends:
        talk.take_output(said[start:end])
        start = end
        ready = len(noise) + 1 + len(READY)
        assert bytes(talk.outgoing) == (b"PROBE" if end >= ready else b"")
        assert talk.complete == (end >= ready)
    talk.finish(0)
    assert talk.answers() == [{"a": 1}]


def test_a_password_is_sent_once_and_only_when_asked_for() -> None:
    talk = conversation()
    assert not talk.outgoing
    talk.take_errors(b"Welcome!\n" + ASKS[:9])
    assert not talk.outgoing
    talk.take_errors(ASKS[9:])
    assert bytes(talk.outgoing) == b"secret\n"
    talk.take_errors(b"\nSorry, try again.\n" + ASKS)
    assert not talk.outgoing
    with pytest.raises(HostPrivilegeError, match="sudo refused the password"):
        talk.finish(1)


@pytest.mark.parametrize(
    ("output", "errors", "status", "kind", "sentence"),
    [
        (b"", ASKS, None, HostPrivilegeError, "sudo asks for a password"),
        (b"", f"{TOKEN} no-python\n".encode(), 97, RemoteError, "no such Python"),
        (b"", f"{TOKEN} no-sudo\n".encode(), 98, HostPrivilegeError, "has no sudo"),
        (b"", f"{TOKEN} old 2.7.18\n".encode(), 96, RemoteError, "is 2.7.18, and 3.8"),
        (b"", b"x is not in the sudoers file.\n", 1, HostPrivilegeError, "not in the sudoers file"),
        (b"hello\n", b"", 1, RemoteError, "it said nothing"),
        (READY, b"", 3, HostPrivilegeError, "CAP_NET_RAW"),
        (READY, b"Traceback\nValueError: \x1b[31mno\n", 1, RemoteError, r"exit status 1\): ValueError: \?\[31mno"),
        (READY, b"", None, RemoteError, "closed before the probe had ended"),
        (READY + b"x" * LONGEST_OUTPUT, b"", 0, RemoteError, "more than 16 MiB"),
        (b"x" * (LONGEST_OUTPUT + 1), b"", 0, RemoteError, "more than 16 MiB"),
        (b"", b"x" * (LONGEST_OUTPUT + 1), 0, RemoteError, "without end"),
    ],
)
def test_every_bad_end_is_one_sentence(
    output: bytes, errors: bytes, status: int | None, kind: type[RemoteError], sentence: str
) -> None:
    talk = conversation(password=None)
    talk.take_output(output)
    talk.take_errors(errors)
    with pytest.raises(kind, match=sentence) as caught:
        talk.finish(status)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("line", [b"nonsense", b"[1]", b"[" * 100_000, b"\xff\x1b[2J"])
def test_a_line_that_is_no_record_is_refused(line: bytes) -> None:
    talk = conversation()
    talk.take_output(READY + line + b"\n")
    talk.finish(0)
    with pytest.raises(RecordError, match="no record") as caught:
        talk.answers()
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


@given(st.text())
def test_what_a_host_said_is_shown_short_and_printable(text: str) -> None:
    told = shown(text)
    assert len(told) <= 300
    assert told.isascii()
    assert told.isprintable() or not told
    json.dumps(told)


def test_the_arguments_of_the_program_reach_the_host() -> None:
    line = command_line("token", interpreter=sys.executable)
    sent = payload([{"destination": "192.0.2.1"}], "measure", ["--rate", "0"])
    done = subprocess.run(shlex.split(line), input=sent, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"token ready\n")
    assert done.stderr.decode() == "rate: '0' is not between 1 and 1000000 probes per second, nor 'unlimited'\n"
