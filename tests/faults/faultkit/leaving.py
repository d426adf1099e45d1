"""How a run that is told to stop leaves nothing behind: what its threads do ends, and nothing is started any more.

A signal is raised in the main thread alone. Without word of it the others would go on with their steps on a stand that is
being closed, and start services that nobody ends.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

__all__ = ["Leaving", "check_going", "heed_signals", "leave"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_left = threading.Event()


class Leaving(SystemExit):
    """The run was told to stop. No Exception, so that nobody takes it for a step that failed; and a thread may end by it in silence."""


def check_going() -> None:
    """Raise Leaving if the run was told to stop."""
    if _left.is_set():
        raise Leaving


def leave() -> None:
    """From now on every other thread ends at its next :func:`check_going`."""
    _left.set()


def heed_signals() -> None:
    """Have the signals by which a run is stopped end it, once: a second Ctrl-C must not break off what is being cleaned up."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)


def _stop(number: int, _: FrameType | None) -> None:
    for other in SIGNALS:
        signal.signal(other, lambda *_: None)  # not SIG_IGN, which programs started from now on would inherit
    leave()
    raise SystemExit(128 + number)
