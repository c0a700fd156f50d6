"""A socket to listen on, or a sentence that says why there is none."""

from __future__ import annotations

import os
import socket

from edgead_runtime.errors import ConfigError


def listening_socket(what: str, host: str, port: int) -> socket.socket:
    """A socket that listens already, so that its address can be told.

    Args:
        what: Who wants it, in words: ``the live view``.
        host: A name or an address of this machine; empty: all.
        port: 0: any that is free.

    Raises:
        ConfigError: It cannot be had: the port is taken, or the host is none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        try:
            if os.name != "nt":  # there it would let two share the port
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(128)
        except OSError:
            made.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{what} cannot listen on {host}:{port} ({reason})",
            "Choose another port, or end what uses it.",
        ) from error
    return made
