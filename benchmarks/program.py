"""What every benchmark program is started by, and how it reads numbers."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

__all__ = ["launch", "numbers", "positive"]


def positive(text: str, least: int = 1) -> int:
    """A whole number of at least 1, for argparse."""
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"{text}: must be at least {least}")
    return value


def numbers(text: str, least: int = 1) -> list[int]:
    """Such numbers with commas between, for argparse."""
    return [positive(part, least) for part in text.split(",")]


def launch(main: Callable[[], None]) -> None:
    """Run it; SIGTERM and Ctrl-C end it with what it has started, and remove what it has made."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
