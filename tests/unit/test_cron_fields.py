"""What a cron line may be: exactly what Kubernetes' CronJob accepts."""

from __future__ import annotations

import pytest

from dtq.errors import InvalidSchedule
from dtq.schedule.cron import MACROS, CronLine, Every, Line, parse_line


def fields(text: str) -> CronLine:
    line = parse_line(text)
    assert isinstance(line, CronLine)
    return line


def refusal(text: str) -> str:
    with pytest.raises(InvalidSchedule) as caught:
        parse_line(text)
    [(path, message)] = caught.value.errors
    assert path == "schedule"
    return message


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("*", tuple(range(60))),
        ("?", tuple(range(60))),
        ("7", (7,)),
        ("07", (7,)),
        ("+7", (7,)),
        ("5-8", (5, 6, 7, 8)),
        ("5-5", (5,)),
        ("5-5/2", (5,)),
        ("59/15", (59,)),
        ("50/5", (50, 55)),
        ("5-20/7", (5, 12, 19)),
        ("*/25", (0, 25, 50)),
        ("*/100", (0,)),
        ("30,10,,30", (10, 30)),
        ("*-9", tuple(range(60))),
        (",", ()),
    ],
)
def test_values_of_a_field(text: str, minutes: tuple[int, ...]) -> None:
    assert fields(f"{text} * * * *").minutes == minutes


def test_months_and_days_have_names_in_any_case() -> None:
    line = fields("0 0 * jan,Jul-SEP MON-fri/2")
    assert (line.months, line.weekdays) == (frozenset({1, 7, 8, 9}), frozenset({1, 3, 5}))


@pytest.mark.parametrize("text", ["0 0 1 * 1", "0 0 */2 * 1", "0 0 1 * */2", "0 0 1-31 * 0-6"])
def test_a_day_matches_by_either_when_neither_field_is_a_bare_star(text: str) -> None:
    assert fields(text).either


@pytest.mark.parametrize("text", ["0 0 * * 1", "0 0 1 * *", "0 0 ? * 1", "0 0 */1 * 1", "0 0 1,* * 1", "0 0 1 * */1"])
def test_a_day_must_match_both_when_a_field_is_a_bare_star(text: str) -> None:
    assert not fields(text).either


@pytest.mark.parametrize(("macro", "text"), MACROS.items())
def test_macros(macro: str, text: str) -> None:
    assert parse_line(macro) == parse_line(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5m", 30),
        ("1m500ms", 60),
        ("10ms", 1),
        ("0", 1),
        ("-5m", 1),
        ("+5m", 300),
    ],
)
def test_every(text: str, seconds: int) -> None:
    assert parse_line(f"@every {text}") == Every(seconds)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "must not be empty"),
        ("* * * *", "found 4"),
        ("* * * * * *", "found 6"),
        ("0 0 * * * * 2026", "found 7"),
        ("60 * * * *", "minute '60' is outside 0-59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * 32 * *", "day of month '32'"),
        ("* * * 13 *", "month '13' is outside 1-12 or JAN-DEC"),
        ("* * * * 7", "write 0 for Sunday"),
        ("* * * * 5-7", "write 0 for Sunday"),
        ("* * * * fri-mon", "ends before it begins"),
        ("*/0 * * * *", "step 0"),
        ("1-2-3 * * * *", "too many hyphens"),
        ("1/2/3 * * * *", "too many slashes"),
        ("-5 * * * *", "not understood"),
        ("*5 * * * *", "not understood"),
        ("1.5 * * * *", "not understood"),
        ("٣ * * * *", "not understood"),
        ("jan * * * *", "minute 'jan' is not understood"),
        ("* * L * *", "not understood"),
        ("* * 15W * *", "not understood"),
        ("* * * * 5#2", "not understood"),
        ("* * * * L5", "not understood"),
        ("H * * * *", "not understood"),
        ("R(0-9) * * * *", "not understood"),
        ("99999999999999999999 * * * *", "not understood"),
        ("@reboot", "unknown macro '@reboot'; allowed are @yearly"),
        ("@Daily", "unknown macro"),
        ("@daily ", "unknown macro"),
        ("@every 1d", "not a duration"),
        ("@every", "unknown macro"),
        ("@every 5", "not a duration"),
        ("@every 3000000h", "too long"),
        ("TZ=Europe/Berlin 0 0 * * *", "put it into timeZone"),
        ("CRON_TZ=Europe/Berlin 0 0 * * *", "put it into timeZone"),
    ],
)
def test_refusals_say_what_is_wrong(text: str, part: str) -> None:
    assert part in refusal(text)


def test_blanks_around_fields_do_not_matter() -> None:
    expected: Line = parse_line("1 2 3 4 5")
    assert parse_line("  1\t2  3 4\n5 ") == expected
