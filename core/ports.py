"""Whether a port is free, and who holds it where it is not."""

from __future__ import annotations

import errno
import socket
from typing import Any

from core.errors import refusal


def check_port(host: str, port: int) -> None:
    """Raise a refusal that names the next step unless a server can listen on this address.

    Raises:
        WorkbenchError: A16 where the port is out of range, in use, not allowed, or the address is not this machine's.
    """
    if not 1 <= port <= 65_535:
        raise refusal("A16_port_out_of_range", port=port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise refusal("A16_unknown_address", host=host) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError as error:
            raise refusal("A16_port_not_allowed", port=port) from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise refusal("A16_unknown_address", host=host) from error
            raise refusal("A16_port_in_use", port=port, pid=_holder(port), free=_free_port(family, address)) from error


def _free_port(family: socket.AddressFamily, address: Any) -> int:
    """A port that nobody uses at this address just now."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address[0], 0, *address[2:]))
        return int(probe.getsockname()[1])


def _holder(port: int) -> str:
    import psutil

    try:
        found = [entry.pid for entry in psutil.net_connections("inet") if entry.laddr and entry.laddr[1] == port]
    except psutil.Error:
        return "?"
    return str(found[0]) if found and found[0] else "?"
