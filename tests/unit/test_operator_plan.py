"""What a comparison of resources and entries calls for; definition, nesting, settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dtq.errors import ConfigError
from dtq.schedule.entry import Entry
from dtq.schedule.spec import parse_spec
from dtq_operator.accept import Accepted, Refused
from dtq_operator.config import load_operator_settings
from dtq_operator.crd import APPLY, FIELDS, missing_fields, problem
from dtq_operator.main import served_namespaces
from dtq_operator.nesting import CUT, decode, depth
from dtq_operator.plan import is_ahead, is_current, removals
from dtq_operator.resource import Resource
from dtq_operator.resync import resource_key

DEFINITION = Path(__file__).parents[2] / "charts" / "dtq" / "crds" / "scheduledjobs.yaml"
SPEC = parse_spec({"schedule": "@daily", "jobTemplate": {"type": "email"}})
OTHER = parse_spec({"schedule": "@weekly", "jobTemplate": {"type": "email"}})


def entry(name: str = "ns.a", uid: str = "u", generation: int = 1, owner: str | None = "c/ns") -> Entry:
    return Entry(name=name, uid=uid, generation=generation, owner=owner, spec=SPEC, created=0)


def resource(generation: int = 1, observed: int = 1, uid: str = "u", **statuses: str) -> Resource:
    found = [{"type": kind, "status": status} for kind, status in statuses.items()]
    return Resource("ns", "a", uid, generation, 0, deleting=False, spec={}, status={"observedGeneration": observed, "conditions": found})


def test_an_entry_goes_when_it_was_without_a_resource_twice_in_a_row() -> None:
    first = removals([entry("ns.a"), entry("ns.b")], {"ns.b"}, frozenset())
    assert first.remove == []
    assert removals([entry("ns.a"), entry("ns.b")], {"ns.b"}, first.missing).remove == [entry("ns.a")]


def test_one_that_came_back_in_between_stays() -> None:
    first = removals([entry()], set(), frozenset())
    second = removals([entry()], {"ns.a"}, first.missing)
    assert removals([entry()], set(), second.missing).remove == []


def test_one_of_another_life_is_missed_for_the_first_time() -> None:
    first = removals([entry(uid="old")], set(), frozenset())
    assert removals([entry(uid="new")], set(), first.missing).remove == []


def test_current_is_what_redis_and_status_both_have() -> None:
    good = resource(Accepted="True", Synced="True")
    assert is_current(good, Accepted(SPEC), entry())
    assert not is_current(good, Accepted(SPEC), None)
    assert not is_current(good, Accepted(OTHER), entry())
    assert not is_current(good, Accepted(SPEC), entry(uid="other"))
    assert not is_current(good, Accepted(SPEC), entry(generation=2))
    assert not is_current(good, Refused("UnknownType", ""), entry())
    assert not is_current(resource(Accepted="True", Synced="False"), Accepted(SPEC), entry())
    assert not is_current(resource(generation=2, Accepted="True", Synced="True"), Accepted(SPEC), entry())


def refused(status: str = "False", reason: str = "UnknownType", message: str = "known: email") -> Resource:
    found = {"type": "Accepted", "status": status, "reason": reason, "message": message}
    return replace(resource(), status={"observedGeneration": 1, "conditions": [found]})


def test_refused_is_current_when_the_status_says_so() -> None:
    verdict = Refused("UnknownType", "known: email")
    assert is_current(refused(), verdict, None)
    assert not is_current(refused(status="True"), verdict, None)
    assert not is_current(resource(), verdict, None)


def test_a_refusal_is_told_anew_when_its_reason_or_message_is_another_now() -> None:
    assert not is_current(refused(), Refused("UnknownType", "known: email, greet"), None)
    assert not is_current(refused(), Refused("InvalidPayload", "known: email"), None)


def test_an_older_copy_of_the_api_servers_data_is_recognised() -> None:
    assert is_ahead(resource(generation=1), entry(generation=2))
    assert not is_ahead(resource(generation=2), entry(generation=2))
    assert not is_ahead(resource(generation=1, uid="new"), entry(generation=2))
    assert not is_ahead(resource(), None)


@pytest.mark.parametrize(
    ("owner", "name", "key"),
    [
        ("c/ns", "ns.a", ("ns", "a")),
        ("c/ns", "ns.a.b", ("ns", "a.b")),
        ("c/ns", "other.a", None),
        ("d/ns", "ns.a", None),
        ("cc/ns", "ns.a", None),
        (None, "ns.a", None),
    ],
)
def test_the_resource_of_an_entry(owner: str | None, name: str, key: tuple[str, str] | None) -> None:
    assert resource_key(entry(name, owner=owner), "c") == key


def served(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = [{"group": "dtq.dev", "version": "v1", "kind": "ScheduledJob"}]
    return {"components": {"schemas": {"x": {}, "dev.dtq.v1.ScheduledJob": {**schema, "x-kubernetes-group-version-kind": kinds}}}}


def schema() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(DEFINITION.read_text("utf-8"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def test_the_charts_definition_is_new_enough() -> None:
    assert problem(served(schema())) is None


def test_an_older_definition_is_named_with_what_to_do() -> None:
    older = schema()
    del older["properties"]["spec"]["properties"]["jobTemplate"]["properties"]["maxRetries"]
    del older["properties"]["status"]
    said = problem(served(older)) or ""
    assert "older than this operator, it lacks spec.jobTemplate.maxRetries, status.observedGeneration, " in said
    assert said.endswith(f"apply the chart's: {APPLY}")


def test_what_to_do_is_what_the_chart_says_in_the_same_case() -> None:
    assert APPLY in (DEFINITION.parents[1] / "templates" / "_validate.tpl").read_text("utf-8")


def test_no_definition_is_named_too() -> None:
    assert "the cluster has no scheduledjobs.dtq.dev" in (problem(None) or "")
    assert missing_fields({}) == list(FIELDS)


def test_the_definition_bounds_every_text_and_list() -> None:
    def unbounded(path: str, node: dict[str, Any]) -> list[str]:
        kind = node.get("type")
        closed = "enum" in node or node.get("format") == "date-time"
        here = (
            [path] if (kind == "string" and "maxLength" not in node and not closed) or (kind == "array" and "maxItems" not in node) else []
        )
        inner = list(node.get("properties", {}).items()) + ([("[]", node["items"])] if "items" in node else [])
        return here + [found for name, child in inner for found in unbounded(f"{path}.{name}", child)]

    properties = schema()["properties"]
    assert unbounded("spec", properties["spec"]) + unbounded("status", properties["status"]) == []


def test_ordinary_json_is_read_as_it_is() -> None:
    value = {"a": [1, {"b": '{"[]}\\"'}], "c": "\u2028"}
    assert decode(json.dumps(value).encode()) == value


def test_deep_json_is_cut_and_the_rest_is_kept() -> None:
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    found = decode(f'{{"items":[{{"x":"}}]\\"","deep":{deep}}},{{"y":2}}]}}'.encode())
    assert found["items"][0]["x"] == '}]"'
    assert found["items"][1] == {"y": 2}
    assert depth(found) == CUT


@pytest.mark.parametrize(("value", "levels"), [(1, 0), ({}, 1), ([], 1), ({"a": [1, {"b": 2}]}, 3), ("[[[", 0)])
def test_depth(value: object, levels: int) -> None:
    assert depth(value) == levels


def test_namespaces() -> None:
    assert served_namespaces("", "mine") == ["mine"]
    assert served_namespaces("", None) == ["default"]
    assert served_namespaces("*", "mine") is None
    assert served_namespaces("a,b", "mine") == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("namespaces", "a,*"), ("namespaces", "A"), ("namespaces", "a/b"), ("clustername", ""), ("clustername", "a/b"), ("resyncseconds", 0)],
)
def test_wrong_settings_are_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{name.upper()}="):
        load_operator_settings(**{name: value})


def test_namespaces_are_written_once_each() -> None:
    assert load_operator_settings(namespaces=" b, a,b,").namespaces == "b,a"
