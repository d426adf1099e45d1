"""The README's example of the client on Redis."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def test_the_queue_client_shown_works(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = [code for code in re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S) if "QueueClient" in code]
    exec(compile(code.replace("redis://127.0.0.1:6379", redis_url), "README.md", "exec"), {})
    count, first = capsys.readouterr().out.split()
    assert count == "10000"
    assert first.endswith("n-default")
