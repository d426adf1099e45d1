"""For tests of handlers: a job context without a worker.

context = FakeContext(load_settings(bloburl=f"file://{tmp_path}"))
result = my_handler.func(MyPayload(...), context)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dtq.config import Settings

__all__ = ["FakeContext"]


@dataclass
class FakeContext:
    """A :class:`dtq.registry.JobContext` that keeps what the handler reports."""

    settings: Settings
    id: str = "0193f0c2a1b00000n-default"
    queue: str = "default"
    attempt: int = 1
    retries_left: int = 0
    reports: list[tuple[float, str]] = field(default_factory=list)
    output_key: str | None = None

    def progress(self, fraction: float, message: str = "") -> None:
        """Keep a progress report."""
        self.reports.append((fraction, message))

    def output(self, key: str) -> None:
        """Keep the name of the output."""
        self.output_key = key
