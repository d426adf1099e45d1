"""States, legal transitions, and the text form that the scripts rely on."""

from __future__ import annotations

import re

import msgspec
import pytest

from dtq.job import PRIORITIES, TERMINAL, TRANSITIONS, Priority, State, TerminalJob, can_move

LEGAL = {
    ("scheduled", "queued"),
    ("scheduled", "cancelled"),
    ("queued", "running"),
    ("queued", "cancelled"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("running", "retrying"),
    ("running", "queued"),
    ("retrying", "queued"),
    ("retrying", "cancelled"),
    ("failed", "queued"),
    ("cancelled", "queued"),
}


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_legal_transitions(old: State, new: State) -> None:
    assert can_move(old, new) == ((str(old), str(new)) in LEGAL)


def test_every_state_is_reached_and_known() -> None:
    assert set(TRANSITIONS) == set(State)
    reached = set().union(*TRANSITIONS.values()) | {State.SCHEDULED}
    assert reached == set(State)


def test_success_is_final() -> None:
    assert TRANSITIONS[State.SUCCEEDED] == frozenset()


def test_only_running_jobs_succeed_or_fail() -> None:
    sources = {old for old, new in TRANSITIONS.items() if new & {State.SUCCEEDED, State.FAILED}}
    assert sources == {State.RUNNING}


def test_terminal_states() -> None:
    assert {State.SUCCEEDED, State.FAILED, State.CANCELLED} == TERMINAL


def test_every_priority_has_a_lane() -> None:
    assert set(PRIORITIES) == {str(priority) for priority in Priority}
    assert len(set(PRIORITIES.values())) == 3


@pytest.mark.parametrize("replays", [0, 3])
def test_terminal_text_starts_with_what_the_scripts_look_for(replays: int) -> None:
    row = TerminalJob(
        id="i", queue="q", type='a"b', state=State.FAILED, submitted=1, finished=2, replays=replays, payload=msgspec.Raw(b'{"state":"x"}')
    )
    text = msgspec.json.encode(row).decode()
    pattern = r'\{"id":"[^"]*","queue":"[^"]*","type":".*?","state":"(\w+)","submitted":\d+,"finished":(\d+),"replays":(\d+)'
    found = re.match(pattern, text)
    assert found is not None
    assert found.groups() == ("failed", "2", str(replays))
