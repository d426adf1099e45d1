"""On PYTHONPATH: no process, nor those it starts, finds any host but this one. Python runs it by itself at its start.

For services that are fed with whatever a generator makes up, addresses included.
"""

from __future__ import annotations

import socket
from typing import Any

_look_up = socket.getaddrinfo


def _only_here(host: Any, *args: Any, **options: Any) -> Any:
    if host in (None, "", "localhost", b"localhost", "127.0.0.1", b"127.0.0.1", "0.0.0.0", "::1"):
        return _look_up(host, *args, **options)
    raise socket.gaierror(socket.EAI_NONAME, "there is nothing but this machine")


socket.getaddrinfo = _only_here
