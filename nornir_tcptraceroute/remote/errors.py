"""What can go wrong between the controller and a managed host.

RemoteError
+ LoginError            the host could not be reached, is not who it should be, or refused the user
+ HostPrivilegeError    the probe may not open raw sockets there, or sudo refused
"""

from __future__ import annotations

from ..probe.errors import ProbeError


class RemoteError(ProbeError):
    """The probe could not be run on a managed host. The text is one sentence."""


class LoginError(RemoteError):
    """There is no session on the host to run the probe in."""


class HostPrivilegeError(RemoteError):
    """The user may not measure on the host."""
