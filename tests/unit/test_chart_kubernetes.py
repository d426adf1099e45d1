"""What the chart makes is valid to Kubernetes, whatever is switched on: checked against its own schemas, strictly."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from chart_kit import EVERYTHING, Json, render
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource

OLDEST = next(version for version in all_versions() if version.startswith("1.30."))
NEWEST = all_versions()[-1]

CASES: dict[str, Json] = {
    "defaults": {},
    "everything": EVERYTHING,
    "own servers by URL": {
        "valkey": {"enabled": False},
        "postgresql": {"enabled": False},
        "redis": {"url": "rediss://user:p@redis.example.com"},
        "database": {"url": "postgresql://dtq:p@db.example.com/dtq"},
        "blobs": {"url": "s3://bucket", "existingSecret": "aws"},
    },
    "own servers and keys by Secret": {
        "valkey": {"enabled": False},
        "postgresql": {"enabled": False},
        "redis": {"existingSecret": "r"},
        "database": {"existingSecret": "d", "existingSecretKey": "DATABASE"},
        "auth": {"existingSecret": "k"},
    },
    "nothing kept": {
        "valkey": {"persistence": {"enabled": False}},
        "postgresql": {"persistence": {"enabled": False}},
        "blobs": {"persistence": {"keep": False}},
    },
    "anonymous, cluster-wide": {"auth": {"anonymous": True}, "operator": {"clusterWide": True}},
    "little": {
        "operator": {"enabled": False},
        "workers": {"default": None},
        "submitter": {"preStopSeconds": 0, "pdb": {"enabled": False}, "serviceAccount": {"create": False}},
        "monitoring": {"serviceMonitor": {"enabled": True}},
    },
}

CUSTOM = {"keda.sh", "monitoring.coreos.com", "gateway.networking.k8s.io"}
"""Groups whose definitions Kubernetes does not have: the tests on a cluster let the server check them."""


@lru_cache
def registry(version: str) -> Any:
    definitions = schema_contents(f"kubernetes-json-schema/v{version}-local-strict/_definitions.json", version)
    return Registry().with_resource("_definitions.json", Resource.from_contents(definitions))


@lru_cache
def validator(version: str, name: str) -> Any:
    schema = schema_contents(f"kubernetes-json-schema/v{version}-local-strict/{name}.json", version)
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry(version))


def problems(document: Json, version: str) -> list[str]:
    group, _, api = document["apiVersion"].rpartition("/")
    if group in CUSTOM:
        return []
    name = "-".join(filter(None, [document["kind"].lower(), group.split(".")[0], api]))
    where = f"{document['kind']}/{document['metadata']['name']}"
    return [f"{where}: {error.json_path}: {error.message}" for error in validator(version, name).iter_errors(document)]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", CASES)
def test_every_resource_fits_the_schema(case: str, version: str) -> None:
    assert [problem for document in render(CASES[case]) for problem in problems(document, version)] == []


def like_numbers() -> Json:
    """Names that YAML takes for a number or a boolean where they stand without quotes."""
    service: Json = {"priorityClassName": "5", "serviceAccount": {"create": False, "name": "77"}}
    return {
        "nameOverride": "on",
        "fullnameOverride": "no",
        "image": {"pullSecrets": ["6"]},
        "valkey": {"enabled": False},
        "postgresql": {"enabled": False},
        "redis": {"existingSecret": "1e3", "existingSecretKey": "0x1"},
        "database": {"existingSecret": "true", "existingSecretKey": "off"},
        "auth": {"existingSecret": "10"},
        "smtp": {"addr": "mail:25", "existingSecret": "11"},
        "blobs": {"existingSecret": "12", "persistence": {"storageClass": "13", "size": "8"}},
        "submitter": {**service, "topologySpread": {"topologyKey": "y"}, "tmpSize": "64"},
        "scheduler": {**service, "topologySpread": {"topologyKey": "y"}},
        "operator": {"priorityClassName": "5"},
        "workers": {"default": None, "1": {"queues": ["2024"]}, "on": {"queues": ["7"], "autoscaling": {"mode": "hpa", "min": 1}}},
        "ingress": {"enabled": True, "host": "3", "className": "2", "path": "/a: b", "tls": {"enabled": True, "secretName": "4"}},
        "networkPolicy": {"enabled": True},
    }


SERVERS: Json = {
    "fullnameOverride": "dtq",
    "valkey": {"existingSecret": "1", "persistence": {"storageClass": "2", "size": "3"}, "priorityClassName": "4"},
    "postgresql": {"existingSecret": "1", "persistence": {"storageClass": "2", "size": "3"}, "priorityClassName": "4"},
    "blobs": {"persistence": {"existingClaim": "5"}},
}


@pytest.mark.parametrize("values", [like_numbers(), SERVERS], ids=["services", "servers"])
def test_names_that_look_like_numbers_stay_texts(values: Json) -> None:
    documents = render(values, "123")
    assert [problem for document in documents for problem in problems(document, NEWEST)] == []
    for document in documents:
        named = [document["metadata"]["name"], *document["metadata"]["labels"].values()]
        assert all(isinstance(name, str) for name in named), named


def test_a_wrong_field_would_be_found() -> None:
    service = next(document for document in render() if document["kind"] == "Service")
    wrong = {**service, "spec": {**service["spec"], "selektor": {}}}
    assert problems(wrong, NEWEST)
    assert not problems(service, NEWEST)


@pytest.mark.parametrize("case", CASES)
def test_names_are_given_once(case: str) -> None:
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in render(CASES[case])]
    assert len(names) == len(set(names))
