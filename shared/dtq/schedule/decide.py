"""What a schedule does now, as the CronJob controller decides it (kubernetes/pkg/controller/cronjob). Pure.

* base = last start, else creation; ticks after base and not after now are unmet.
* Only the most recent unmet tick starts, never a burst; more than 100 unmet ones are told, and it starts all the same.
* With a deadline only ticks within it count: an older one is told as missed. The last start stays what it was.
* Under Forbid with an active run the tick is told and stays unmet: it starts when the run ends, if still within the
  deadline. A schedule that was suspended starts in the same way when it no longer is.

Two deviations. An unmet tick older than its deadline is told (MissSchedule), which CronJob's source means to do but, for
having dropped such ticks before, does not. ``@every`` counts from the last start also when there is a deadline; in
CronJob it counts from the deadline then, and with a deadline shorter than the interval never starts.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtq.schedule.cron import parse_line
from dtq.schedule.entry import Entry
from dtq.schedule.zones import load_zone

__all__ = ["MANY", "Active", "Decision", "Skip", "Start", "Wait", "decide", "first_tick"]

MANY = 100
"""More unmet ticks than this are told as TooManyMissedTimes."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start the tick. ``too_many``: over 100 were unmet. ``next`` is the tick after now (ms), None if there is none."""

    tick: int
    next: int | None
    too_many: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """The most recent unmet tick is past its deadline (MissSchedule)."""

    tick: int
    next: int | None


@dataclass(frozen=True, slots=True)
class Active:
    """A run is active and the policy is Forbid (JobAlreadyActive); the tick stays unmet."""

    tick: int
    next: int | None


@dataclass(frozen=True, slots=True)
class Wait:
    """No tick is unmet. ``next`` None: suspended, or the line never fires again."""

    next: int | None


Decision = Start | Skip | Active | Wait


def decide(entry: Entry, now: int, *, live: bool = False) -> Decision:
    """What ``entry`` does at ``now`` (ms), given whether a run of it is ``live``.

    Raises:
        InvalidSchedule: its line or zone is not known to this version of DTQ or of the zone data.
    """
    spec = entry.spec
    if spec.suspend:
        return Wait(None)
    line, zone = parse_line(spec.schedule), load_zone(spec.timeZone)
    base = (entry.created if entry.last is None else entry.last) // 1000
    unmet = line.latest(zone, base, now // 1000)
    coming = _ms(line.upcoming(zone, base, now // 1000))
    if unmet is None:
        return Wait(coming)
    tick = unmet * 1000
    if spec.startingDeadlineSeconds is not None:
        oldest = now - spec.startingDeadlineSeconds * 1000
        if tick <= oldest:
            return Skip(tick, coming)
        base = max(base, oldest // 1000)
    if live and spec.concurrencyPolicy == "Forbid":
        return Active(tick, coming)
    return Start(tick, coming, line.count(zone, base, now // 1000, MANY + 1) > MANY)


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000


def first_tick(schedule: str, zone: str, now: int) -> int | None:
    """The first tick (ms) after ``now`` (ms) for an entry made or rescheduled now."""
    return _ms(parse_line(schedule).upcoming(load_zone(zone), now // 1000, now // 1000))
