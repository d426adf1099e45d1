"""Wrong values are refused with a sentence that a person understands: by the schema, or when they contradict each other."""

from __future__ import annotations

import pytest
from chart_kit import Json, refusal, render

KEDA: Json = {"queues": ["a"], "autoscaling": {"mode": "keda"}}
HPA: Json = {"queues": ["a"], "autoscaling": {"mode": "hpa", "min": 1}}


def pool(*values: Json) -> Json:
    """Values of a pool `p`; later ones add to its autoscaling."""
    own = {**values[0], "autoscaling": {}}
    for each in values:
        own["autoscaling"] = {**own["autoscaling"], **each.get("autoscaling", {})}
        own |= {name: value for name, value in each.items() if name != "autoscaling"}
    return {"workers": {"p": own}}


CONTRADICTIONS: list[tuple[Json, str]] = [
    (
        {"valkey": {"enabled": False}},
        "valkey.enabled is false and there is no other server: set redis.url or redis.existingSecret, or valkey.enabled=true",
    ),
    (
        {"postgresql": {"enabled": False}},
        "postgresql.enabled is false and there is no other server: set database.url or database.existingSecret, or postgresql.enabled=true",
    ),
    (
        {"redis": {"url": "redis://x"}},
        "redis.url names a server of your own, but valkey.enabled=true starts another: set valkey.enabled=false, or remove redis.url",
    ),
    (
        {"database": {"existingSecret": "x"}},
        "database.existingSecret names a server of your own, but postgresql.enabled=true starts another: "
        "set postgresql.enabled=false, or remove database.existingSecret",
    ),
    (
        {"valkey": {"enabled": False}, "redis": {"url": "redis://x", "existingSecret": "x"}},
        "redis.url and redis.existingSecret are both set: remove one of them",
    ),
    (
        {"postgresql": {"enabled": False}, "database": {"existingSecret": "x", "existingSecretKey": ""}},
        "database.existingSecretKey is empty: set it to the entry of Secret x that holds the URL",
    ),
    (
        {"valkey": {"password": "x", "existingSecret": "x"}},
        "valkey.password and valkey.existingSecret are both set: remove one of them",
    ),
    (
        {"auth": {"anonymous": True, "existingSecret": "x"}},
        "auth.anonymous=true needs no keys, but auth.existingSecret names some: set auth.anonymous=false, or remove auth.existingSecret",
    ),
    (
        {"auth": {"anonymous": True, "extraKeys": ["ci read sha256:" + 64 * "0"]}},
        "auth.extraKeys are added to the chart's own keys, and there are none: put these lines into the entry `keys` of "
        "auth.existingSecret, or remove auth.extraKeys",
    ),
    (
        {"ingress": {"enabled": True}},
        "ingress.enabled=true, but ingress.host is empty: set it to the name that clients use, such as dtq.example.com",
    ),
    (
        {"httpRoute": {"enabled": True}},
        "httpRoute.enabled=true, but httpRoute.parentRefs is empty: name the Gateway, as in [{name: my-gateway, namespace: gateways}]",
    ),
    (
        {"blobs": {"persistence": {"enabled": False}}},
        "there is no place for blobs: set blobs.url to an object store, or blobs.persistence.enabled=true",
    ),
    (
        {"blobs": {"url": "s3://x", "persistence": {"existingClaim": "x"}}},
        "blobs.url and blobs.persistence.existingClaim are both set: remove one of them",
    ),
    (
        {"operator": {"clusterWide": True, "namespaces": ["x"]}},
        "operator.clusterWide=true serves every namespace, but operator.namespaces lists some: remove one of them",
    ),
    (
        {"operator": {"serviceAccount": {"create": False}}},
        "operator.serviceAccount.create=false without a name would give the operator's rights to the account default, and so to other pods "
        "of the namespace: set operator.serviceAccount.name to an account of yours, or create=true",
    ),
    (
        {"commonLabels": {"app.kubernetes.io/name": "x"}},
        "commonLabels has app.kubernetes.io/name, which the chart sets: choose another name (all but app.kubernetes.io/..., dtq.dev/... "
        "and helm.sh/chart)",
    ),
    ({"submitter": {"podLabels": {"helm.sh/chart": "x"}}}, "submitter.podLabels has helm.sh/chart, which the chart sets"),
    (pool({"queues": ["a"], "podLabels": {"dtq.dev/pool": "x"}}), "workers.p.podLabels has dtq.dev/pool, which the chart sets"),
    ({"workerDefaults": {"podLabels": {"dtq.dev/blobs": "x"}}}, "workerDefaults.podLabels has dtq.dev/blobs, which the chart sets"),
    (
        {"monitoring": {"rules": {"labels": {"app.kubernetes.io/part-of": "x"}}}},
        "monitoring.rules.labels has app.kubernetes.io/part-of, which the chart sets",
    ),
    (pool({"queues": ["a", "*"]}), 'workers.p.queues has "*", which is every queue, and others: remove one or the others'),
    (
        pool({"queues": ["a"], "timeoutSeconds": 300, "terminationGracePeriodSeconds": 300}),
        "workers.p.terminationGracePeriodSeconds is 300, but its jobs may run for 300 s (timeoutSeconds, longestTimeoutSeconds) and would "
        "be interrupted at every scale-in: set it to 330 or more, or 0",
    ),
    (
        pool({"queues": ["a"], "terminationGracePeriodSeconds": 60}),
        "workers.p.terminationGracePeriodSeconds is 60, but its jobs may run for 120 s",
    ),
    (
        pool(KEDA, {"queues": ["*"]}),
        'workers.p.autoscaling.mode is keda, but the pool serves "*", whose demand is not that of one queue: name its queues, as in '
        "workers.p.queues=[default]",
    ),
    (pool(KEDA, {"autoscaling": {"min": 4, "max": 3}}), "workers.p.autoscaling.min is 4 and max is 3: set max to at least min"),
    (
        pool(HPA, {"autoscaling": {"min": 0}}),
        "workers.p.autoscaling.min is 0, but an HorizontalPodAutoscaler needs at least 1 pod: set it to 1, or mode to keda to scale to 0",
    ),
    (
        pool(HPA, {"autoscaling": {"cooldownPeriod": 5}}),
        "workers.p.autoscaling.cooldownPeriod is for mode keda, and the mode is hpa: set mode=keda, or remove it",
    ),
    (
        pool(HPA, {"autoscaling": {"prometheus": {"serverAddress": "http://x"}}}),
        "workers.p.autoscaling.prometheus is for mode keda, and the mode is hpa: set mode=keda, or remove it",
    ),
    (
        pool(KEDA, {"autoscaling": {"hpa": {"metricLabels": {"a": "b"}}}}),
        "workers.p.autoscaling.hpa is for mode hpa, and the mode is keda: set mode=hpa, or remove it",
    ),
    (
        pool(KEDA, {"autoscaling": {"prometheus": {"query": "x"}}}),
        "workers.p.autoscaling.prometheus.query is set without a server to ask: set prometheus.serverAddress",
    ),
    (
        pool({"queues": ["a"]}, {"autoscaling": {"max": 5}}),
        "workers.p.autoscaling.max is set, but nothing scales this pool: set workers.p.autoscaling.mode to keda or hpa, or remove it",
    ),
    (
        pool(KEDA, {"replicas": 2}),
        "workers.p.replicas is set, but autoscaling.mode=keda decides how many pods there are: remove it, and set "
        "workers.p.autoscaling.min and max",
    ),
    (
        {"scheduler": {"extraEnv": [{"name": "REDISADDR", "value": "x"}]}},
        "scheduler.extraEnv sets REDISADDR, which the chart sets: remove it there, and change redis.url",
    ),
    (
        pool({"queues": ["a"], "extraEnv": [{"name": "WORKERCOUNT", "value": "3"}]}),
        "workers.p.extraEnv sets WORKERCOUNT, which the chart sets: remove it there, and change workers.POOL.concurrency",
    ),
    (
        {"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
        "monitoring.podMonitor and monitoring.serviceMonitor are both enabled",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), CONTRADICTIONS)
def test_contradictions_are_told_with_what_to_change(values: Json, sentence: str) -> None:
    assert sentence in refusal(values)


def test_all_contradictions_are_told_at_once() -> None:
    said = refusal({"valkey": {"enabled": False}, "ingress": {"enabled": True}, **pool(KEDA, {"queues": ["*"], "replicas": 2})})
    assert "These values cannot be used:" in said
    assert said.count("\n- ") == 4


SCHEMA: list[tuple[Json, str]] = [
    ({"submiter": {}}, "additional properties 'submiter' not allowed"),
    ({"submitter": {"replica": 2}}, "at '/submitter': additional properties 'replica' not allowed"),
    ({"submitter": {"service": {"ports": 1}}}, "at '/submitter/service': additional properties 'ports' not allowed"),
    ({"submitter": {"replicas": "two"}}, "at '/submitter/replicas': got string, want integer"),
    ({"submitter": {"replicas": -1}}, "at '/submitter/replicas': minimum: got -1, want 0"),
    ({"submitter": {"resources": {"limits": {"memory": "much"}}}}, "at '/submitter/resources/limits/memory'"),
    ({"submitter": {"extraEnv": [{"nome": "A"}]}}, "missing property 'name'"),
    ({"image": {"pullPolicy": "Sometimes"}}, "value must be one of 'Always', 'IfNotPresent', 'Never'"),
    ({"image": {"tag": 1}}, "at '/image/tag': got number, want string"),
    ({"valkey": {"image": {"tag": ""}}}, "at '/valkey/image/tag': minLength: got 0, want 1"),
    ({"postgresql": {"image": {"repository": ""}}}, "at '/postgresql/image/repository': minLength: got 0, want 1"),
    ({"operator": {"image": {"digest": "latest"}}}, "at '/operator/image/digest': 'latest' does not match pattern"),
    ({"config": {"RESULTTL": 5}}, "at '/config': additional properties 'RESULTTL' not allowed"),
    ({"config": {"RESULTTTL": 0}}, "at '/config/RESULTTTL': minimum: got 0, want 1"),
    ({"config": {"LOGLEVEL": "LOUD"}}, "at '/config/LOGLEVEL': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
    ({"config": {"REDISADDR": "x"}}, "at '/config': additional properties 'REDISADDR' not allowed"),
    ({"redis": {"url": "http://x"}}, "at '/redis/url': 'http://x' does not match pattern '^((rediss?|sentinel)://.+)?$'"),
    ({"workers": {"p": {}}}, "at '/workers/p': missing property 'queues'"),
    ({"workers": {"p": {"queues": []}}}, "at '/workers/p/queues': minItems: got 0, want 1"),
    ({"workers": {"p": {"queues": ["Two Words"]}}}, "at '/workers/p/queues/0': 'Two Words' does not match pattern"),
    ({"workers": {"p": {"queues": ["a"], "autoscaling": {"mode": "both"}}}}, "value must be one of 'none', 'keda', 'hpa'"),
    ({"workers": {"p": {"queues": ["a"], "autoscaling": {"minimum": 1}}}}, "additional properties 'minimum' not allowed"),
    ({"workers": {"p" * 21: {"queues": ["a"]}}}, "maxLength: got 21, want 20"),
    ({"workers": {"p": {"queues": ["a"], "pdb": {"maxUnavailable": "some"}}}}, "'some' does not match pattern '^[0-9]{1,3}%$'"),
    ({"auth": {"extraKeys": ["dtq_secret"]}}, "at '/auth/extraKeys/0': 'dtq_secret' does not match pattern"),
]


@pytest.mark.parametrize(("values", "message"), SCHEMA)
def test_wrong_values_are_told_with_their_place(values: Json, message: str) -> None:
    assert message in refusal(values)


def test_below_global_anything_is_allowed() -> None:
    assert render({"global": {"imageRegistry": "x", "deep": {"er": [1]}}})
