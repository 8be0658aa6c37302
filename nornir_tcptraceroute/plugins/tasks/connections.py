"""From a host of the inventory to a connection that the probe can be carried over.

Host keys are checked unless the connection's extras say `ssh_strict: false`. The extras `system_host_keys`, `alt_host_keys` and
`alt_key_file` are Netmiko's, for both Netmiko and Paramiko.
"""

from __future__ import annotations

from typing import Any

from nornir.core.exceptions import PluginNotRegistered
from nornir.core.inventory import Host
from nornir.core.task import Task

from ...remote.connections import Connection, OpenSSHConnection, ParamikoConnection
from ...remote.conversation import shown
from ...remote.errors import LoginError

STRICT: dict[str, Any] = {"ssh_strict": True, "system_host_keys": True}
SECONDS_TO_CONNECT = 15
UNKNOWN_KEY = (
    "its key is not in known_hosts: check the key, then add it (ssh-keyscan shows it), or give another file with alt_key_file"
)


def connect(task: Task, name: str) -> Connection:
    """The connection of the task's host; Nornir closes what is opened here.

    Arguments:
        task: the running task.
        name: `netmiko`, `paramiko` or `openssh`.

    Raises:
        LoginError: there is no session to be had.
    """
    host = task.host
    if name == "openssh":
        parameters = host.get_connection_parameters("openssh")
        options = (parameters.extras or {}).get("options", [])
        return OpenSSHConnection(parameters.hostname or host.name, parameters.username, parameters.port, options)
    try:
        if name not in host.connections:
            _open(task, name)
        connection = host.get_connection(name, task.nornir.config)
    except PluginNotRegistered:
        raise LoginError(f"the connection {name} needs its plugin: pip install 'nornir-tcptraceroute[{name}]'") from None
    except ImportError as error:
        raise LoginError(f"the connection {name} needs {error.name}: pip install 'nornir-tcptraceroute[{name}]'") from None
    except Exception as error:  # noqa: BLE001 - Netmiko and Paramiko raise what they like; the reason is told
        raise LoginError(_reason(error)) from None
    return ParamikoConnection(connection.remote_conn_pre if name == "netmiko" else connection)


def _open(task: Task, name: str) -> None:
    host = task.host
    parameters = host.get_connection_parameters(name)
    # A copy: the extras belong to the group, and so to all its hosts.
    extras = {**STRICT, **(parameters.extras or {})}
    if name == "netmiko":
        platform = parameters.platform or "linux"
        host.open_connection(name, task.nornir.config, platform=platform, extras={"conn_timeout": SECONDS_TO_CONNECT, **extras})
        return
    host.connections[name] = _Paramiko(host, extras)


class _Paramiko:
    """A login of Paramiko's as nornir_paramiko makes it, and with the host's key checked, which that does not."""

    def __init__(self, host: Host, extras: dict[str, Any]) -> None:
        import paramiko

        parameters = host.get_connection_parameters("paramiko")
        client = paramiko.SSHClient()
        strict, system = extras.pop("ssh_strict"), extras.pop("system_host_keys")
        file = extras.pop("alt_key_file", None)
        alternative = extras.pop("alt_host_keys", bool(file))
        if system:
            client.load_system_host_keys()
        if alternative and file:
            client.load_host_keys(file)
        client.set_missing_host_key_policy(paramiko.RejectPolicy() if strict else paramiko.AutoAddPolicy())
        settings = {
            "timeout": SECONDS_TO_CONNECT,
            "banner_timeout": SECONDS_TO_CONNECT,
            "auth_timeout": SECONDS_TO_CONNECT,
            **extras,
        }
        try:
            client.connect(
                parameters.hostname or host.name,
                port=parameters.port or 22,
                username=parameters.username,
                password=parameters.password,
                **settings,
            )
        except BaseException:
            client.close()
            raise
        self.connection = client

    def open(self, *_: Any, **__: Any) -> None:
        """It is open."""

    def close(self) -> None:
        """Close it."""
        self.connection.close()


def _reason(error: BaseException) -> str:
    """One sentence from what Netmiko or Paramiko says, which may be a page."""
    texts: list[str] = []
    link: BaseException | None = error
    while link is not None and len(texts) < 5:
        texts.append(f"{type(link).__name__} {link}")
        # Paramiko's NoValidConnectionsError holds what became of each address.
        texts += [str(part) for part in getattr(link, "errors", {}).values()]
        link = link.__cause__ or link.__context__
    whole = " ".join(texts)
    if "not found in known_hosts" in whole:
        return UNKNOWN_KEY
    if "BadHostKey" in whole or "does not match" in whole:
        return "its key is another than the one in known_hosts: find out why before anything else"
    if "Authentication" in whole or "password" in whole.lower():
        return "it refused the login: check username, password and key in the inventory"
    if "getaddrinfo" in whole or "gaierror" in whole or "not known" in whole:
        return "its name has no address: check hostname in the inventory"
    if "refused" in whole:
        return "nothing listens on its SSH port: check that it is up, and its port in the inventory"
    if any(
        word in whole for word in ("timed out", "Timeout", "No route", "unreachable", "NoValidConnections", "Unable to connect")
    ):
        return "it does not answer on its SSH port: check that it is up, and the way to it"
    return f"no SSH session could be opened: {shown(str(error)) or type(error).__name__}"
