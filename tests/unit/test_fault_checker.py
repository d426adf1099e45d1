"""The checker of the fault tests finds each kind of broken promise, and nothing where none is broken."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from faultkit.checker import Verdict, check
from faultkit.history import Event
from faultkit.rules import RULES
from faultkit.story import Recipe, Story
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtq.job import State

RECIPES = [
    Recipe(),
    Recipe(keyed=False),
    Recipe("flaky", 2, answers_lost=2),
    Recipe("always", max_retries=1),
    Recipe("permanent"),
    Recipe(type="task_pool", delay=1.0),
    Recipe(crashes=1),
    Recipe(crashes=1, late=True),
    Recipe("flaky", 1, crashes=2),
    Recipe(crashes=3),
    Recipe(cancelled=True),
    Recipe(cancelled=True, again=True),
    Recipe("permanent", again=True),
    Recipe("always", max_retries=0, again=True),
    Recipe(refused=True),
    Recipe(schedule="every-minute"),
    Recipe(delay=0.2),
]


def told(recipes: list[Recipe]) -> Story:
    story = Story()
    for recipe in recipes:
        story.add(recipe)
    return story


def verdict(story: Story, **options: Any) -> Verdict:
    return check(sorted(story.events, key=lambda event: event.at), story.rows, story.views, **options)


def test_nothing_is_found_where_all_is_as_promised() -> None:
    found = verdict(told(RECIPES))
    assert found.violations == []


def test_figures_count_what_happened() -> None:
    found = verdict(told(RECIPES)).figures
    assert found == {
        "accepted": 15,
        "unanswered": 2,
        "refused": 1,
        "succeeded": 10,
        "failed": 5,
        "cancelled": 1,
        "retried by hand": 3,
        "ticks": 1,
        "executions": 27,
        "executed again": 4,
        "of these with a lost worker": 4,
        "completed twice": 1,
        "twice at once": 0,
        "attempts lost": 7,
        "workers lost": 7,
        "kills": 7,
    }


# -- violations: each function plants one, and returns the rule that must find it

Plant = Callable[[Story, random.Random], str]


def row_of(story: Story, choice: random.Random, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    return choice.choice([row for row in story.rows if fits(row)])


def any_row(_: dict[str, Any]) -> bool:
    return True


def submitted(row: dict[str, Any]) -> bool:
    return row["schedule"] is None


def succeeded(row: dict[str, Any]) -> bool:
    return bool(row["state"] == "succeeded")


def outcomes(row: dict[str, Any]) -> list[str]:
    return [attempt["outcome"] for attempt in row["attempts"]]


def retold(story: Story, event: Event, **changes: Any) -> None:
    story.events[story.events.index(event)] = msgspec.structs.replace(event, **changes)


def event_of(story: Story, kind: str, job: str, choose: int = 0) -> Event:
    return [event for event in story.events if event.kind == kind and event.job == job][choose]


def forget_in_redis(story: Story, row: dict[str, Any]) -> None:
    """So that a changed row does not just disagree with Redis."""
    story.views[row["id"]] = None


def row_lost(story: Story, choice: random.Random) -> str:
    story.rows.remove(row_of(story, choice, submitted))
    return "accepted"


def two_rows(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, any_row)
    story.rows.append(row | {"submitted_at": row["submitted_at"] - timedelta(days=1)})
    return "accepted"


def row_of_a_live_job(story: Story, choice: random.Random) -> str:
    row_of(story, choice, any_row)["state"] = "running"
    return "accepted"


def runs_again(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, any_row)
    view = story.views[row["id"]]
    assert view is not None
    story.views[row["id"]] = msgspec.structs.replace(view, state=choice.choice([State.QUEUED, State.RUNNING, State.RETRYING]))
    return "agreement"


def differs_in_redis(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    view = story.views[row["id"]]
    assert view is not None
    changes: dict[str, Any] = choice.choice(
        [
            {"state": State.FAILED},
            {"replays": 7},
            {"result": b'{"tag":"other"}'},
            {"attempts": ()},
            {"payload": b"{}"},
            {"max_retries": 77},
            {"queue": "x"},
            {"type": "x"},
        ]
    )
    story.views[row["id"]] = msgspec.structs.replace(view, **changes)
    return "agreement"


def second_job_of_a_key(story: Story, choice: random.Random) -> str:
    keyed = choice.choice([event for event in story.events if event.kind == "sent" and event.key])
    row = choice.choice([row for row in story.rows if succeeded(row)])
    for number in (1, 2):
        changes = {"id": f"019d00000000000{number}n-default", "schedule": None, "payload": {**row["payload"], "tag": keyed.tag}}
        story.rows.append(copy.deepcopy(row) | changes)
    return "one job"


def second_job_of_a_submission(story: Story, choice: random.Random) -> str:
    taken = {event.tag for event in story.events if event.kind == "accepted"}
    event = choice.choice([event for event in story.events if event.kind == "sent" and not event.key and event.tag in taken])
    story.note("accepted", "client 9", tag=event.tag, job="019d000000000001n-default", status=202)
    return "one job"


def job_that_nobody_sent(story: Story, choice: random.Random) -> str:
    row = copy.deepcopy(row_of(story, choice, succeeded))
    story.rows.append(row | {"id": "019d000000000001n-default", "schedule": None, "payload": {**row["payload"], "tag": "other"}})
    return "one job"


def refused_job(story: Story, choice: random.Random) -> str:
    sent = Counter(event.tag for event in story.events if event.kind == "sent")
    event = choice.choice([event for event in story.events if event.kind == "refused" and sent[event.tag] == 1])
    row = copy.deepcopy(row_of(story, choice, succeeded))
    story.rows.append(row | {"id": "019d000000000001n-default", "schedule": None, "payload": {**row["payload"], "tag": event.tag}})
    return "refused"


def fault_of_its_own(story: Story, choice: random.Random) -> str:
    event = choice.choice([event for event in story.events if event.kind == "accepted"])
    story.events.append(Event("faulty", event.at, who=event.who, status=500, text="POST /submit: {}"))
    return "answers"


def other_content(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, submitted)
    change: dict[str, Any] = choice.choice(
        [
            {"queue": "other"},
            {"type": "task_pool" if row["type"] == "task" else "task"},
            {"priority": "high"},
            {"max_retries": 77},
            {"payload": {**row["payload"], "times": 77}},
            {"payload": {**row["payload"], "more": 1}},
        ]
    )
    row |= change
    return "content"


def lost_content(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: submitted(row) and (row["max_retries"] is not None or row["state"] == "failed"))
    if row["max_retries"] is not None and choice.random() < 0.5:
        row["max_retries"] = None
    else:
        lost = choice.choice(["kind", "times"])
        row["payload"] = {name: value for name, value in row["payload"].items() if name != lost}
    return "content"


def other_result(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    row["result"] = {**row["result"], "tag": "other"}
    return "content"


def ran_and_vanished(story: Story, choice: random.Random) -> str:
    event = choice.choice([event for event in story.events if event.kind == "sent"])
    story.note("start", "worker 1", job="019d000000000001n-default", tag=event.tag, attempt=1, token="lonely", pid=1)
    return "started"


def impossible_success(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    row["payload"] = {**row["payload"], **choice.choice([{"kind": "always"}, {"kind": "permanent"}, {"kind": "flaky", "times": 9}])}
    return "outcome"


def cancelled_unasked(story: Story, choice: random.Random) -> str:
    row = row_of(
        story, choice, lambda row: submitted(row) and not any(e.kind == "cancel_sent" and e.job == row["id"] for e in story.events)
    )
    row |= {"state": "cancelled", "result": None}
    return "outcome"


def gave_up_early(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: row["state"] == "failed" and row["error"]["kind"] == "error")
    row["max_retries"] = 9
    return "outcome"


def lost_too_soon(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: outcomes(row) == ["lost"] * 3)
    del row["attempts"][0]
    return "outcome"


def failed_though_well(story: Story, choice: random.Random) -> str:
    """Of its own, that is: workers that it lost fail a job whatever its handler does."""
    failed = [row for row in story.rows if row["state"] == "failed" and row["error"]["kind"] != "worker_lost"]
    row = choice.choice([row for row in failed if row["payload"]["kind"] != "ok"])
    row["payload"] = {**row["payload"], "kind": "ok"}
    return "outcome"


def failed_too_often(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: row["replays"] == 0 and outcomes(row).count("failed") == 1)
    row["max_retries"] = sum(outcome != "lost" for outcome in outcomes(row)) - 2
    return "retries"


def more_lives_than_asked(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: row["replays"] == 1 and outcomes(row).count("failed") == 2)
    row["replays"] = 0
    return "retries"


def went_on_after_permanent(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: row["error"] is not None and row["error"]["kind"] == "permanent")
    row["attempts"][-1]["outcome"] = "retry"
    row["attempts"].append(row["attempts"][-1] | {"number": len(row["attempts"]) + 1})
    return "retries"


def numbers_repeat(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: len(row["attempts"]) > 1)
    row["attempts"][1]["number"] = 1
    return "attempts"


def end_of_an_attempt_missing(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: row["state"] != "cancelled")
    row["attempts"][-1]["outcome"] = choice.choice(["running", "retry", "cancelled"])
    return "attempts"


def ended_twice(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    row["attempts"].append(row["attempts"][-1] | {"number": len(row["attempts"]) + 1})
    return "attempts"


def never_tried(story: Story, choice: random.Random) -> str:
    row_of(story, choice, lambda row: row["state"] != "cancelled")["attempts"] = []
    return "attempts"


def ended_before_it_began(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    row["finished_at"] = row["submitted_at"] - timedelta(seconds=5)
    return "times"


def other_start(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    row["started_at"] += timedelta(seconds=1)
    return "times"


def too_early(story: Story, choice: random.Random) -> str:
    cancelled = {event.job for event in story.events if event.kind == "cancelled"}
    began = {event.tag for event in story.events if event.kind == "start" and event.job not in cancelled}
    tag = choice.choice(sorted({event.tag for event in story.events if event.fields.get("delay") and event.tag in began}))
    for event in [event for event in story.events if event.kind == "sent" and event.tag == tag]:
        retold(story, event, fields={**event.fields, "delay": 1000})
    return "delay"


def made_twice(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: row["type"] == "task" and "failed" in outcomes(row))
    ended = choice.choice([e for e in story.events if e.kind == "end" and e.job == row["id"] and e.state != "ok"])
    story.now += 10**12  # long after the last fault
    for twin in range(row["replays"] + 1):
        about = {"job": row["id"], "tag": ended.tag, "attempt": ended.attempt, "token": f"twin-{twin}", "pid": 7}
        story.note("start", "worker 7", **about)
        story.note("end", "worker 7", **about, state="error")
    return "executions"


def failure_made_up(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: "failed" in outcomes(row))
    choice.choice([attempt for attempt in row["attempts"] if attempt["outcome"] != "lost"])["worker"] = "host-7-00000000"
    return "executions"


def late_result_stored(story: Story, choice: random.Random) -> str:
    """A lost worker's handler had ended well, and its result was taken after all."""
    jobs = {row["id"]: row for row in story.rows}
    ends = [e for e in story.events if e.kind == "end" and e.state == "ok" and jobs[e.job]["state"] == "succeeded"]
    late = choice.choice([end for end in ends if jobs[end.job]["result"]["token"] != end.token])
    jobs[late.job]["result"] = {**jobs[late.job]["result"], "token": late.token}
    return "stale"


def result_of_nobody(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    row["result"] = choice.choice([None, "text", {**row["result"], "token": "none"}])
    return "stale"


def result_of_a_failure(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    end = next(event for event in story.events if event.kind == "end" and event.token == row["result"]["token"])
    retold(story, end, state=choice.choice(["error", "permanent", "cancelled"]))
    return "stale"


def result_of_another_job(story: Story, choice: random.Random) -> str:
    one, other = choice.sample([row for row in story.rows if succeeded(row)], 2)
    one["result"] = other["result"]
    return "stale"


def result_without_success(story: Story, choice: random.Random) -> str:
    row_of(story, choice, lambda row: row["state"] == "failed")["result"] = {"token": "x"}
    return "stale"


def crash_not_counted(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: row["type"] == "task" and outcomes(row) == ["lost", "lost", "retry", "succeeded"])
    row["attempts"][choice.randrange(2)]["outcome"] = "retry"
    return "crashes"


def twice_at_once(story: Story, choice: random.Random) -> str:
    """The queue gave a running job to a second worker."""
    story.now += 10**12
    job = story.add(Recipe())
    start = event_of(story, "start", job)
    story.events.append(msgspec.structs.replace(start, at=start.at + 1, token="twin", pid=7, who="worker 7"))
    return "exclusive"


def thrice_at_once(story: Story, choice: random.Random) -> str:
    """A fault explains the second run, but not the third."""
    story.now += 10**12
    job = story.add(Recipe())
    start = event_of(story, "start", job)
    for number in (7, 8):
        twin = {"token": f"twin-{number}", "pid": number, "who": f"worker {number}"}
        story.events.append(msgspec.structs.replace(start, at=start.at + number, **twin))
    story.events.append(Event("fault", start.at - 1, who="fault", text="SIGSTOP", target="worker-7", pid=7))
    return "exclusive"


def given_out_after_its_end(story: Story, choice: random.Random) -> str:
    """The end was told, and another worker got the job all the same; its own end was refused."""
    story.now += 10**12
    row = row_of(story, choice, lambda row: row["type"] == "task" and row["replays"] == 0 and succeeded(row))
    about = {"job": row["id"], "tag": row["payload"]["tag"], "attempt": len(row["attempts"]) + 1, "token": "again", "pid": 7}
    story.note("start", "worker 7", **about)
    story.note("end", "worker 7", **about, state="ok")
    return "over"


def failure_forgotten(story: Story, choice: random.Random) -> str:
    """The queue lost count of a failure, so that the row has one attempt less than were made."""
    story.now += 10**12
    job = story.add(Recipe("flaky", 2, again=choice.random() < 0.5))
    row = next(row for row in story.rows if row["id"] == job)
    del row["attempts"][choice.randrange(2)]
    return "over"


def still_ran_as_it_was_cancelled(story: Story, choice: random.Random) -> str:
    story.now += 10**12
    job = story.add(Recipe(cancelled=True))
    tag = next(row["payload"]["tag"] for row in story.rows if row["id"] == job)
    told = event_of(story, "cancelled", job)
    about = {"job": job, "tag": tag, "attempt": 1, "token": "late", "pid": 7}
    story.events.append(Event(kind="start", at=told.at - 1, who="worker 7", **about))
    story.note("end", "worker 7", **about, state=choice.choice(["ok", "error", "cancelled"]))
    return "cancelled"


def ran_after_it_was_cancelled(story: Story, choice: random.Random) -> str:
    story.now += 10**12
    job = story.add(Recipe(cancelled=True))
    tag = next(row["payload"]["tag"] for row in story.rows if row["id"] == job)
    story.note("start", "worker 7", job=job, tag=tag, attempt=1, token="late", pid=7)
    return "cancelled"


def cancelled_in_vain(story: Story, choice: random.Random) -> str:
    job = story.add(Recipe(cancelled=True))
    next(row for row in story.rows if row["id"] == job)["state"] = "succeeded"
    return "cancelled"


def came_back(story: Story, choice: random.Random) -> str:
    job = story.add(Recipe(cancelled=True))
    story.note("seen", "client 9", job=job, state="seen before")
    story.note("seen", "client 9", job=job, state="queued")
    return "cancelled"


def retried_in_vain(story: Story, choice: random.Random) -> str:
    """The retry was refused, and the job ran again all the same."""
    story.now += 10**12
    job = story.add(Recipe(cancelled=True, again=True))
    retold(story, event_of(story, "retried", job), kind="retry_refused")
    return "cancelled"


def unknown(story: Story, choice: random.Random) -> str:
    story.note("seen", "client 1", job=row_of(story, choice, any_row)["id"], state="unknown")
    return "known"


def other_end_seen(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    story.note("seen", "client 9", job=row["id"], state="failed", replays=row["replays"])
    return "seen"


def seen_running_after_its_end(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, succeeded)
    story.note("seen", "client 9", job="another", state="queued")
    story.note("seen", "client 9", job=row["id"], state="running", replays=row["replays"])
    return "seen"


def tick_started_two_jobs(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: row["schedule"] is not None)
    other = row["id"][:11] + "0000000000" + row["id"][21:]
    if choice.random() < 0.5:
        story.rows.append(copy.deepcopy(row) | {"id": other})
    else:
        story.note("start", "worker 7", job=other, tag=row["payload"]["tag"], attempt=1, token="twin", pid=7)
    return "ticks"


def tick_between_minutes(story: Story, choice: random.Random) -> str:
    row = row_of(story, choice, lambda row: row["schedule"] is not None)
    row["id"] = f"{int(row['id'][:11], 16) + 1:011x}{row['id'][11:]}"
    return "ticks"


PLANTS: list[Plant] = [
    row_lost,
    two_rows,
    row_of_a_live_job,
    runs_again,
    differs_in_redis,
    second_job_of_a_key,
    second_job_of_a_submission,
    job_that_nobody_sent,
    refused_job,
    fault_of_its_own,
    other_content,
    lost_content,
    other_result,
    ran_and_vanished,
    impossible_success,
    cancelled_unasked,
    gave_up_early,
    lost_too_soon,
    failed_though_well,
    failed_too_often,
    more_lives_than_asked,
    went_on_after_permanent,
    numbers_repeat,
    end_of_an_attempt_missing,
    ended_twice,
    never_tried,
    ended_before_it_began,
    other_start,
    too_early,
    made_twice,
    failure_made_up,
    late_result_stored,
    result_of_nobody,
    result_of_a_failure,
    result_of_another_job,
    result_without_success,
    crash_not_counted,
    twice_at_once,
    thrice_at_once,
    given_out_after_its_end,
    failure_forgotten,
    still_ran_as_it_was_cancelled,
    ran_after_it_was_cancelled,
    cancelled_in_vain,
    came_back,
    retried_in_vain,
    unknown,
    other_end_seen,
    seen_running_after_its_end,
    tick_started_two_jobs,
    tick_between_minutes,
]


def found_rules(story: Story) -> set[str]:
    return {violation.partition(":")[0] for violation in verdict(story).violations}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_violation_is_found(plant: Plant, seed: int) -> None:
    story = told(RECIPES)
    assert plant(story, random.Random(seed)) in found_rules(story)


def test_every_rule_has_a_planted_violation() -> None:
    assert {plant(told(RECIPES), random.Random(1)) for plant in PLANTS} == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_can_be_left_out(rule: str) -> None:
    plant = next(plant for plant in PLANTS if plant(told(RECIPES), random.Random(1)) == rule)
    story = told(RECIPES)
    plant(story, random.Random(1))
    assert not any(violation.startswith(f"{rule}:") for violation in verdict(story, skip=[rule]).violations)


def test_a_delayed_job_that_was_cancelled_and_sent_back_by_hand_starts_at_once() -> None:
    story = told([Recipe(cancelled=True, again=True)])
    for event in [event for event in story.events if event.kind == "sent"]:
        retold(story, event, fields={**event.fields, "delay": 1000})
    assert verdict(story).violations == []


@pytest.mark.parametrize(("target", "found"), [("clocks of some", True), ("postgres", True), ("worker-9", True), ("valkey", False)])
def test_only_what_may_have_hit_a_worker_explains_a_second_run(target: str, found: bool) -> None:
    story = told([])
    job = story.add(Recipe())
    start = event_of(story, "start", job)
    story.events.append(msgspec.structs.replace(start, at=start.at + 1, token="twin", pid=7, who="worker 7"))
    pid = 9 if target == "worker-9" else 0
    story.events.append(Event(kind="fault", at=start.at - 1, who="fault", text="broken", target=target, pid=pid))
    assert ("exclusive" in found_rules(story)) == found


@pytest.mark.parametrize(
    ("where", "outcome", "found"), [("task_pool", "cancelled", False), ("task_pool", "lost", True), ("task", "cancelled", True)]
)
def test_a_process_of_a_pool_that_was_killed_for_a_cancellation_ran_no_longer(where: str, outcome: str, found: bool) -> None:
    story = told([Recipe(type=where, kind="permanent", again=True)])
    end = next(event for event in story.events if event.kind == "end")
    story.events.remove(end)
    story.note("fault", "fault", text="SIGKILL", target="worker-1", pid=end.pid)  # until then the worker lived
    for attempt in story.rows[0]["attempts"]:
        attempt["outcome"] = outcome
    assert ("exclusive" in found_rules(story)) == found


@pytest.mark.parametrize(("last", "found"), [(2, False), (1, True)])
def test_of_a_job_that_was_put_back_often_only_the_latest_attempts_are_listed(last: int, found: bool) -> None:
    story = told([Recipe(kind="permanent", again=True)])
    (row,) = story.rows
    row["attempts"] = [{**row["attempts"][-1], "number": last}]
    assert ("over" in found_rules(story)) == found


def test_a_rule_that_there_is_not_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="no rule is called"):
        verdict(told([]), skip=["acepted"])


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    kind = draw(st.sampled_from(["ok", "flaky", "always", "permanent"]))
    crashes = draw(st.integers(0, 3))
    return Recipe(
        kind,
        times=draw(st.integers(0, 3)) if kind == "flaky" else 0,
        type=draw(st.sampled_from(["task", "task_pool"])),
        max_retries=draw(st.none() | st.integers(0, 4)),
        delay=draw(st.sampled_from([0.0, 0.5])),
        crashes=crashes,
        late=draw(st.booleans()),
        answers_lost=draw(st.integers(0, 2)),
        keyed=draw(st.booleans()),
        cancelled=draw(st.booleans()),
        again=draw(st.booleans()),
        schedule=draw(st.sampled_from(["", "", "", "every-minute", "hourly"])),
        refused=draw(st.sampled_from([False, False, False, True])),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(recipes(), max_size=12))
def test_nothing_is_found_in_any_history_that_is_as_promised(some: list[Recipe]) -> None:
    assert verdict(told(some)).violations == []


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(recipes(), max_size=6), st.sampled_from(PLANTS), st.integers(0, 10**6))
def test_a_violation_is_found_in_any_history(some: list[Recipe], plant: Plant, seed: int) -> None:
    story = told([*some, *RECIPES])
    assert plant(story, random.Random(seed)) in found_rules(story)
