"""Descriptors: how many file descriptors this process may have, and what follows for client connections (fault 98)."""

from __future__ import annotations

import os
import resource
import socket

KEEPALIVE = {
    socket.TCP_KEEPIDLE: 60,  # seconds without a byte
    socket.TCP_KEEPINTVL: 15,
    socket.TCP_KEEPCNT: 4,  # a client behind a cut cable is noticed two minutes after its last byte
}


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; return what it is now. 0: there is none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # some systems have a hard limit that they do not give
            pass
    return 0 if soft == resource.RLIM_INFINITY else soft


def connections(wanted: int, files: int) -> int:
    """Return how many client connections there may be: half of the descriptors, so that each may have one to a provider."""
    return min(wanted, files // 2) if files else wanted


def keep_alive(descriptor: int) -> None:
    """Have the kernel ask silent peers of a listening socket's connections whether they are there (fault 66): what is
    accepted inherits it (Linux)."""
    with socket.socket(
        fileno=socket.dup(descriptor)
    ) as listener:  # the options are of the socket, not of its descriptor
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


def read_exactly(fd: int, size: int) -> bytes:
    """Return so many bytes of the supervisor's pipe. Raise SystemExit when it ends before."""
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            raise SystemExit("pointsman worker: the supervisor went away")
        data += more
    return data


def read_line(fd: int) -> bytes:
    """Return a line of the supervisor's pipe and not a byte more. Raise SystemExit when it ends before."""
    line = b""
    while not line.endswith(b"\n"):
        line += read_exactly(fd, 1)
    return line
