"""The command line of `make faults`, and that docs/guarantees.md names what it runs."""

from __future__ import annotations

from pathlib import Path

import faults
import pytest
from scenarios import ALL

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"


@pytest.mark.parametrize(
    ("line", "scale"),
    [([], 1.0), (["--scale", "2"], 2.0), (["--short"], faults.SHORT), (["--duration", str(3 * faults.NORMAL_SECONDS)], 3.0)],
)
def test_a_run_is_as_long_as_one_option_says(line: list[str], scale: float) -> None:
    assert faults.arguments_of(line).scale == scale


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--short", "--scale", "2"], "argument --scale: not allowed with argument --short"),
        (["--duration", "20", "--short"], "argument --short: not allowed with argument --duration"),
        (["--scale", "0"], "--scale and --duration take a number above 0"),
        (["kils"], "no scenario is called kils; there are bounded, "),
    ],
)
def test_a_wrong_line_ends_with_2_and_says_why(line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        faults.arguments_of(line)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", [scenario.name for scenario in ALL])
def test_every_scenario_is_described(name: str) -> None:
    assert f"`{name}`" in GUARANTEES.read_text()
