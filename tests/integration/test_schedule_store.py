"""Schedules in Valkey: upserts with fences, hand-out, compare-and-set, history."""

from __future__ import annotations

from typing import Any

import pytest

from dtq.errors import Conflict, InvalidCursor, InvalidSchedule, NotFound, QueueDamaged
from dtq.job import State
from dtq.queue import Queue
from dtq.schedule.decide import Start, decide
from dtq.schedule.entry import Entry
from dtq.schedule.outcome import advance, unreadable
from dtq.schedule.spec import ScheduleSpec, parse_spec
from dtq.schedule.store import ANY, Observed, ScheduleStore
from dtq.schedule.trigger import forget, trigger

MINUTE = 60_000


def spec(**changes: Any) -> ScheduleSpec:
    return parse_spec({"schedule": "* * * * *", "jobTemplate": {"type": "email"}, **changes})


async def entry_of(schedules: ScheduleStore, name: str = "n") -> Entry:
    entry = await schedules.get(name)
    assert entry is not None
    return entry


async def make_due(schedules: ScheduleStore, name: str = "n", **changes: Any) -> Entry:
    """An entry that was made ten minutes ago and never fired."""
    await schedules.put(name, spec(**changes), created=await schedules.now() - 10 * MINUTE)
    return await entry_of(schedules, name)


async def test_a_new_entry_waits_for_its_first_tick(schedules: ScheduleStore) -> None:
    yearly = spec(schedule="0 0 1 1 *")  # not every minute, which may end before the next call
    assert await schedules.put("n", yearly) == "created"
    entry = await entry_of(schedules)
    assert (entry.generation, entry.owner, entry.last, entry.spec) == (1, None, None, yearly)
    assert entry.next is not None
    assert entry.next % MINUTE == 0
    taken = await schedules.due(10, 1000)
    assert (taken.entries, taken.next) == ([], entry.next)


@pytest.mark.parametrize("last", [32_472_144_000_000, 253_402_300_799_000, -62_135_596_800_000])
async def test_a_new_entry_fires_whatever_last_start_a_status_has(schedules: ScheduleStore, last: int) -> None:
    await schedules.put("n", spec(), created=await schedules.now() - MINUTE, last=last)
    entry = await entry_of(schedules)
    now = await schedules.now()
    assert entry.last == (0 if last < 0 else pytest.approx(now, abs=10_000))
    decision = decide(entry, now + MINUTE)
    assert isinstance(decision, Start)
    assert now - MINUTE < decision.tick <= now + MINUTE


async def test_the_same_spec_again_changes_nothing(schedules: ScheduleStore) -> None:
    await schedules.put("n", spec())
    before = await entry_of(schedules)
    assert await schedules.put("n", spec()) == "unchanged"
    assert await entry_of(schedules) == before


async def test_a_changed_spec_keeps_uid_and_fire_state(schedules: ScheduleStore) -> None:
    entry = await make_due(schedules)
    now = await schedules.now()
    await schedules.advance([advance(entry, Start(now, now + MINUTE), now, "00000000000000000t-default")])
    assert await schedules.put("n", spec(schedule="@hourly")) == "changed"
    changed = await entry_of(schedules)
    assert (changed.uid, changed.generation, changed.last, list(changed.runs)) == (entry.uid, 2, now, ["00000000000000000t-default"])


async def test_a_new_line_takes_effect_at_its_first_tick(schedules: ScheduleStore) -> None:
    await make_due(schedules, schedule="0 0 1 1 *")
    await schedules.due(10, 1000)
    missed = (await schedules.now() // MINUTE - 2) % 60  # a tick since the entry was made, and the next one in most of an hour
    await schedules.put("n", spec(schedule=f"{missed} * * * *"))
    assert (await schedules.due(10, 1000)).entries == []


async def test_another_change_is_decided_on_at_once(schedules: ScheduleStore) -> None:
    await make_due(schedules, suspend=True)
    assert (await schedules.due(10, 1000)).entries == []
    await schedules.put("n", spec(suspend=False))
    [entry] = (await schedules.due(10, 1000)).entries
    assert isinstance(decide(entry, await schedules.now()), Start)


async def test_a_suspended_entry_has_no_next_tick(schedules: ScheduleStore) -> None:
    await schedules.put("n", spec())
    await schedules.put("n", spec(suspend=True))
    assert (await entry_of(schedules)).status()["nextScheduleTime"] is None
    assert (await schedules.due(10, 1000)).next is None


async def test_a_line_that_never_fires_is_kept_and_not_due(schedules: ScheduleStore) -> None:
    await schedules.put("n", spec(schedule="0 0 30 2 *"))
    assert (await entry_of(schedules)).next is None
    assert (await schedules.due(10, 1000)).next is None


async def test_names_are_checked(schedules: ScheduleStore) -> None:
    with pytest.raises(InvalidSchedule):
        await schedules.put("Not a name", spec())


async def test_an_owner_is_respected(schedules: ScheduleStore) -> None:
    await schedules.put("n", spec(), owner="prod/default", uid="u1", generation=3)
    with pytest.raises(Conflict, match="managed by prod/default"):
        await schedules.put("n", spec(suspend=True))
    with pytest.raises(Conflict):
        await schedules.delete("n")
    assert await schedules.delete("n", owner=ANY) is not None


async def test_an_older_generation_changes_nothing(schedules: ScheduleStore) -> None:
    await schedules.put("n", spec(suspend=True), owner="o", uid="u1", generation=3)
    assert await schedules.put("n", spec(), owner="o", uid="u1", generation=2) == "stale"
    assert (await entry_of(schedules)).spec.suspend


async def test_a_newer_resource_of_the_name_starts_afresh(schedules: ScheduleStore) -> None:
    await schedules.put("n", spec(), owner="o", uid="u1", generation=9, created=1000, last=2000)
    assert await schedules.put("n", spec(), owner="o", uid="u0", generation=1, created=999) == "stale"
    assert await schedules.put("n", spec(), owner="o", uid="u2", generation=1, created=3000) == "created"
    entry = await entry_of(schedules)
    assert (entry.uid, entry.generation, entry.created, entry.last) == ("u2", 1, 3000, None)


async def test_a_due_entry_is_handed_out_once_a_while(schedules: ScheduleStore) -> None:
    await make_due(schedules)
    assert [entry.name for entry in (await schedules.due(10, 60_000)).entries] == ["n"]
    taken = await schedules.due(10, 60_000)
    assert taken.entries == []
    assert taken.next is not None
    assert taken.next > taken.now


async def test_an_entry_that_nobody_advanced_is_handed_out_again(schedules: ScheduleStore) -> None:
    await make_due(schedules)
    await schedules.due(10, 0)
    assert [entry.name for entry in (await schedules.due(10, 0)).entries] == ["n"]


async def test_only_the_first_of_two_equal_decisions_applies(schedules: ScheduleStore) -> None:
    entry = await make_due(schedules)
    now = await schedules.now()
    change = advance(entry, Start(now, now + MINUTE, too_many=True), now, "00000000000000000t-default")
    assert await schedules.advance([change, change]) == [True, False]
    assert [event.reason for event in (await schedules.history("n")).events] == ["TooManyMissedTimes"]
    newest = await schedules.newest_events(["n", "none"])
    assert [event and event.reason for event in newest] == ["TooManyMissedTimes", None]
    after = await entry_of(schedules)
    assert (after.last, after.next) == (now, now + MINUTE)


async def test_a_run_is_noted_even_if_the_spec_changed_meanwhile(schedules: ScheduleStore) -> None:
    entry = await make_due(schedules)
    await schedules.put("n", spec(suspend=True))
    now = await schedules.now()
    assert await schedules.advance([advance(entry, Start(now, now + MINUTE), now, "00000000000000000t-default")]) == [False]
    after = await entry_of(schedules)
    assert (after.last, list(after.runs), after.next) == (now, ["00000000000000000t-default"], None)


async def test_a_deleted_entry_is_not_revived(schedules: ScheduleStore) -> None:
    entry = await make_due(schedules)
    await schedules.delete("n")
    now = await schedules.now()
    assert await schedules.advance([advance(entry, Start(now, None), now, "00000000000000000t-default")]) == [False]
    assert await schedules.observe(entry, [], None) is False
    assert await schedules.get("n") is None


async def test_nothing_is_left_of_a_deleted_schedule(schedules: ScheduleStore, tasks: Queue) -> None:
    await make_due(schedules)
    await trigger(schedules, tasks, "n")
    entry = await schedules.delete("n")
    assert entry is not None
    await forget(tasks, entry)
    left = await tasks.client.keys("*schedules*")
    assert left == []
    assert await tasks.runs("default", entry.uid) == []


async def test_finished_runs_go_into_the_history(schedules: ScheduleStore) -> None:
    entry = await make_due(schedules, successfulJobsHistoryLimit=2, failedJobsHistoryLimit=0)
    ids = [f"{number:011x}00000t-default" for number in range(5)]
    await schedules.observe(entry, [Observed(run, 1000, "live") for run in ids], 500)
    ended = [Observed(run, 1000, "succeeded", 5000 + number) for number, run in enumerate(ids[:3])]
    await schedules.observe(entry, [*ended, Observed(ids[3], 1000, "failed", 9000)], 500)
    history = await schedules.history("n")
    assert [run.id for run in history.succeeded] == [ids[2], ids[1]]
    assert history.failed == []
    after = await entry_of(schedules)
    assert (after.success, list(after.runs)) == (5002, [ids[4]])
    assert await schedules.successes() == {"n": (5002, None)}


async def test_a_run_seen_to_end_twice_is_one_run(schedules: ScheduleStore) -> None:
    entry = await make_due(schedules)
    seen = [Observed("00000000001000000t-default", 1000, "succeeded", 5000)]
    await schedules.observe(entry, [Observed("00000000001000000t-default", 1000, "live")], 500)
    await schedules.observe(entry, seen, None)
    await schedules.observe(entry, seen, None)
    assert len((await schedules.history("n")).succeeded) == 1


async def test_lists_come_in_pages_by_name(schedules: ScheduleStore) -> None:
    for name in ("c", "a", "b"):
        await schedules.put(name, spec())
    await schedules.put("d", spec(), owner="o", uid="u", generation=1)
    first, cursor = await schedules.list(None, 3)
    assert [entry.name for entry in first] == ["a", "b", "c"]
    rest, end = await schedules.list(cursor, 3)
    assert ([entry.name for entry in rest], end) == (["d"], None)
    assert [entry.name for entry in (await schedules.list(owner="o"))[0]] == ["d"]
    with pytest.raises(InvalidCursor):
        await schedules.list("NOT A CURSOR")


async def test_a_run_by_hand_is_a_run_of_the_schedule(schedules: ScheduleStore, tasks: Queue) -> None:
    await schedules.put("n", spec(suspend=True, concurrencyPolicy="Forbid"))
    ids = {await trigger(schedules, tasks, "n") for _ in range(2)}
    entry = await entry_of(schedules)
    assert set(entry.runs) == ids
    assert len(ids) == 2
    assert entry.last is None
    job = await tasks.get(ids.pop())
    assert job is not None
    assert (job.state, job.type, job.schedule) == (State.QUEUED, "email", "n")


async def test_a_run_by_hand_of_nothing(schedules: ScheduleStore, tasks: Queue) -> None:
    with pytest.raises(NotFound):
        await trigger(schedules, tasks, "n")


async def test_a_damaged_record_is_reported_and_harms_no_other(schedules: ScheduleStore, tasks: Queue) -> None:
    await make_due(schedules, "good")
    await make_due(schedules, "odd")
    await tasks.client.hset("{dtq:schedules}:e:odd", "spec", "{")
    taken = await schedules.due(10, 1000)
    assert [entry.name for entry in taken.entries] == ["good"]
    assert list(taken.broken) == ["odd"]
    assert [entry.name for entry in (await schedules.list())[0]] == ["good"]


DAMAGE: dict[str, bytes] = {
    "created": b"9" * 25,
    "last": b"x",
    "success": b"-1",
    "next": b"\xff",
    "gen": b"",
    "uid": b"\xff",
    "owner": b"\xff",
}


@pytest.mark.parametrize("field", [*DAMAGE, "r:x", "r:\xff"])
async def test_whatever_is_damaged_in_a_record_it_can_be_made_anew(schedules: ScheduleStore, tasks: Queue, field: str) -> None:
    await schedules.put("odd", spec())
    await tasks.client.hset("{dtq:schedules}:e:odd", field.encode("latin-1"), DAMAGE.get(field, b"1"))
    await make_due(schedules, "good")
    assert [entry.name for entry in (await schedules.list())[0]] == ["good"]
    assert await schedules.get("odd") is None
    await schedules.delete("odd", owner=ANY)
    assert await schedules.put("odd", spec()) == "created"
    assert await schedules.get("odd") is not None


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]", b'{"id":"x"}', b'{"id":"x","tick":9e99,"state":"s","finished":1}'])
async def test_what_cannot_be_read_of_a_history_is_left_out(schedules: ScheduleStore, tasks: Queue, text: bytes) -> None:
    await schedules.put("n", spec())
    good = {
        "events": b'{"reason":"r","message":"m","time":1}',
        "ok": b'{"id":"0197000000000001d-default","tick":1,"state":"s","finished":1}',
    }
    for kind in ("events", "ok", "bad"):
        await tasks.client.rpush(f"{{dtq:schedules}}:{kind}:n", text, good.get(kind, good["ok"]))
    history = await schedules.history("n")
    assert (len(history.events), len(history.succeeded), len(history.failed)) == (1, 1, 1)
    assert await schedules.newest_events(["n"]) == [None]


async def test_names_and_successes_of_no_schedule_are_passed_over(schedules: ScheduleStore, tasks: Queue) -> None:
    for name in ("a", "z"):
        await schedules.put(name, spec())
    bad = {b"\xff": 0, b"": 0, b"B B": 0, b"b\xff1": 0, b"b\xff2": 0, b"b\xff3": 0}
    await tasks.client.zadd("{dtq:schedules}:names", bad)
    await tasks.client.zadd("{dtq:schedules}:due", dict.fromkeys(bad, 1))
    await tasks.client.hset("{dtq:schedules}:success", mapping={b"\xff": b"1 ", b"a": b"12 o", b"z": b"x o", b"c": b"\xff"})
    found: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = await schedules.list(cursor, 2)
        found += [entry.name for entry in page]
        if cursor is None:
            break
    assert found == ["a", "z"]
    assert await schedules.successes() == {"a": (12, "o")}
    assert (await schedules.due(10, 1000)).broken == {}


async def test_an_entry_that_somebody_wrote_over_is_reported_and_harms_no_other(schedules: ScheduleStore, tasks: Queue) -> None:
    for name in ("bad", "n"):
        await make_due(schedules, name)
    await tasks.client.set("{dtq:schedules}:e:bad", "oops")
    taken = await schedules.due(10, 1000)
    assert ([entry.name for entry in taken.entries], list(taken.broken)) == (["n"], ["bad"])
    assert [entry.name for entry in (await schedules.list())[0]] == ["n"]
    assert await schedules.get("bad") is None
    with pytest.raises(QueueDamaged, match="'dtq:schedules'"):
        await schedules.put("bad", spec())


async def test_histories_that_somebody_wrote_over_begin_anew(schedules: ScheduleStore, tasks: Queue) -> None:
    entry = await make_due(schedules)
    for kind in ("events", "ok", "bad"):
        await tasks.client.set(f"{{dtq:schedules}}:{kind}:n", "oops")
    await tasks.client.set("{dtq:schedules}:success", "oops")
    history = await schedules.history("n")
    assert (history.events, history.succeeded, history.failed) == ([], [], [])
    assert await schedules.newest_events(["n"]) == [None]
    now = await schedules.now()
    await schedules.advance([unreadable(entry, "no time zone", now)])
    await schedules.observe(entry, [Observed("00000000000000001t-default", now, "succeeded", now)], None)
    assert [event.reason for event in (await schedules.history("n")).events] == ["InvalidSchedule"]


@pytest.mark.parametrize("key", ["names", "due", "watch"])
async def test_a_list_of_schedules_that_somebody_wrote_over_is_told_and_can_be_made_anew(
    schedules: ScheduleStore, tasks: Queue, key: str
) -> None:
    entry = await make_due(schedules)
    await schedules.advance([advance(entry, decide(entry, await schedules.now()), await schedules.now())])
    await tasks.client.delete(f"{{dtq:schedules}}:{key}")
    await tasks.client.set(f"{{dtq:schedules}}:{key}", "oops")
    with pytest.raises(QueueDamaged, match="'dtq:schedules'"):
        await (schedules.list() if key == "names" else schedules.due(10, 1000) if key == "due" else schedules.watched(10, 1000))
    await tasks.client.delete(f"{{dtq:schedules}}:{key}")
    assert await schedules.put("n", spec()) == "unchanged"
    assert [found.name for found in (await schedules.list())[0]] == ["n"]
    assert (await schedules.due(10, 1000)).next is not None
    assert (await schedules.watched(10, 1000)).entries == []
