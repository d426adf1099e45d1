"""What goes on in threads while a scenario breaks things."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

__all__ = ["beside"]


@contextlib.contextmanager
def beside(what: str, runs: Sequence[Callable[[threading.Event], None]]) -> Iterator[None]:
    """Run each in a thread of its own until the block is left: then the event that it is given is set, and it is waited for.

    Raises:
        AssertionError: ``what``, as one has raised something. A thread that ends in silence would let a run pass that did not take place.
    """
    stop = threading.Event()
    broke_off: list[BaseException] = []

    def go(run: Callable[[threading.Event], None]) -> None:
        try:
            run(stop)
        except BaseException as error:  # noqa: BLE001 - raised when the block is left
            broke_off.append(error)

    threads = [threading.Thread(target=go, args=(run,), daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if broke_off:
        raise AssertionError(f"{what}: {broke_off[0]!r}") from broke_off[0]
