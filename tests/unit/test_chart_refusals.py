"""Wrong values are refused with a sentence that a person understands: by the schema, or when they contradict each other."""

from __future__ import annotations

import pytest
import yaml
from chart_kit import CHART, Json, merged, notes, refusal, render, setting, text

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
        {"scheduler": {"extraEnv": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]}},
        "scheduler.extraEnv has A twice: remove one of them",
    ),
    (
        {"submitter": {"extraVolumes": [{"name": "blobs"}]}},
        "submitter.extraVolumes has blobs, which is a volume of the chart: choose another name",
    ),
    ({"operator": {"extraVolumes": [{"name": "x"}, {"name": "x"}]}}, "operator.extraVolumes has x twice: remove one of them"),
    (
        {"submitter": {"extraVolumeMounts": [{"name": "x", "mountPath": "/x"}]}},
        "submitter.extraVolumeMounts mounts x, which is none of its volumes: add it to submitter.extraVolumes",
    ),
    (
        pool({"queues": ["a"], "extraVolumes": [{"name": "x"}], "extraVolumeMounts": [{"name": "x", "mountPath": "/tmp/"}]}),
        "workers.p.extraVolumeMounts mounts x at /tmp/, where another volume is: choose another mountPath",
    ),
    (
        {"auth": {"extraKeys": [f"{name} read sha256:{64 * '0'}" for name in ("a", "b")]}},
        "auth.extraKeys has the key of a again, for b, and submitters would take none of the keys: remove one of the lines",
    ),
    (
        {"ingress": {"enabled": True, "host": "x", "tls": {"secretName": "x"}}},
        "ingress.tls.secretName names a certificate, but ingress.tls.enabled=false serves plain http: set ingress.tls.enabled=true, or "
        "remove ingress.tls.secretName",
    ),
    (
        {"ingress": {"enabled": True, "host": "10.0.0.1"}},
        "ingress.host is the address 10.0.0.1, and an Ingress takes names only: set it to a name, such as dtq.example.com",
    ),
    (
        {"networkPolicy": {"apiFrom": [{"podSelector": {}}]}},
        "networkPolicy.apiFrom is set, but networkPolicy.enabled=false lets everybody in: set networkPolicy.enabled=true, or remove it",
    ),
    (
        {"smtp": {"existingSecret": "x"}},
        "smtp.existingSecret is set, but smtp.addr is empty, and no mail would be sent: set smtp.addr, as in mail.example.com:587, or "
        "remove smtp.existingSecret",
    ),
    ({"smtp": {"tls": "tls"}}, "smtp.tls is tls, but smtp.addr is empty, and no mail would be sent: set smtp.addr"),
    (
        {"valkey": {"maxmemory": "2gb"}},
        "valkey.maxmemory is 2gb, but its container gets 1Gi of memory, and would be killed when that is used up: lower it to two thirds "
        "of that, or raise valkey.resources.limits.memory",
    ),
    ({"postgresql": {"sharedBuffers": "1GB"}}, "postgresql.sharedBuffers is 1GB, but its container gets 1Gi of memory"),
    (
        {"submitter": {"resources": {"requests": {"memory": "2Gi"}}}},
        "submitter.resources.requests.memory is 2Gi, more than its limit, 512Mi: lower it, or raise submitter.resources.limits.memory",
    ),
    (
        pool({"queues": ["a"], "resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}}),
        "workers.p.resources.requests.cpu is 2, more than its limit, 1500m",
    ),
    (
        {"workers": {"p" * 21: {"queues": ["a"]}}},
        f'workers has a pool "{21 * "p"}", and a pool\'s name has up to 20 characters of a-z, 0-9 and -, with - only between others',
    ),
    ({"workers": {"Mail": {"queues": ["a"]}}}, 'workers has a pool "Mail", and a pool\'s name'),
    (
        pool({"queues": ["a"], "handlers": ["greet.py"]}),
        "workers.p.handlers names the file greet.py, where a module belongs: set it to greet",
    ),
    (
        pool(HPA, {"autoscaling": {"hpa": {"metricLabels": {"queue": "b"}}}}),
        "workers.p.autoscaling.hpa.metricLabels has queue, which is made from the pool's queues: remove it there, and change "
        "workers.p.queues",
    ),
    (
        pool(KEDA, {"autoscaling": {"fallbackReplicas": 11}}),
        "workers.p.autoscaling.fallbackReplicas is 11 and max is 10: set it to at most max",
    ),
    (
        {"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
        "monitoring.podMonitor and monitoring.serviceMonitor are both enabled",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), CONTRADICTIONS)
def test_contradictions_are_told_with_what_to_change(values: Json, sentence: str) -> None:
    assert sentence in refusal(values)


@pytest.mark.parametrize("release", ["a.b", "1a", 26 * "a" + "." + 20 * "b"])
def test_a_release_whose_name_no_service_can_have_is_refused(release: str) -> None:
    assert f"the release's name, {release}, is the beginning of the names of Services" in refusal({}, release)
    assert render({"fullnameOverride": "dtq"}, release)


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
    ({"workers": {"p": {"queues": ["a"], "pdb": {"maxUnavailable": "some"}}}}, "'some' does not match pattern '^(100|[0-9]{1,2})%$'"),
    ({"submitter": None}, "at '': missing property 'submitter'"),
    ({"workers": None}, "at '': missing property 'workers'"),
    ({"submitter": {"service": None}}, "at '/submitter': missing property 'service'"),
    ({"submitter": {"replicas": None}}, "at '/submitter': missing property 'replicas'"),
    ({"workerDefaults": {"autoscaling": {"max": None}}}, "at '/workerDefaults/autoscaling': missing property 'max'"),
    ({"valkey": {"persistence": {"size": "0"}}}, "at '/valkey/persistence/size': '0' does not match pattern"),
    ({"valkey": {"persistence": {"storageClass": "-"}}}, "at '/valkey/persistence/storageClass': '-' does not match pattern"),
    ({"image": {"registry": "https://x/y"}}, "at '/image/registry': 'https://x/y' does not match pattern"),
    ({"submitter": {"image": {"repository": "x:1"}}}, "at '/submitter/image/repository': 'x:1' does not match pattern"),
    ({"image": {"pullSecrets": ["X Y"]}}, "at '/image/pullSecrets/0': 'X Y' does not match pattern"),
    ({"submitter": {"replicas": 10**12}}, "at '/submitter/replicas': maximum"),
    ({"submitter": {"podSecurity": {"runAsUser": 10**12}}}, "at '/submitter/podSecurity/runAsUser': maximum"),
    ({"scheduler": {"pdb": {"maxUnavailable": "150%"}}}, "at '/scheduler/pdb/maxUnavailable': '150%' does not match pattern"),
    ({"smtp": {"addr": "smtp://mail:25"}}, "at '/smtp/addr': 'smtp://mail:25' does not match pattern"),
    ({"smtp": {"addr": "mail:0"}}, "at '/smtp/addr': 'mail:0' does not match pattern"),
    ({"commonLabels": {"a b": "c"}}, "at '/commonLabels': additional properties 'a b' not allowed"),
    ({"submitter": {"podLabels": {"a": "x y"}}}, "at '/submitter/podLabels/a': 'x y' does not match pattern"),
    ({"monitoring": {"rules": {"matchers": "{a=b}"}}}, "at '/monitoring/rules/matchers': '{a=b}' does not match pattern"),
    ({"monitoring": {"rules": {"alertLabels": {"a-b": "c"}}}}, "at '/monitoring/rules/alertLabels': additional properties 'a-b'"),
    ({"operator": {"serviceAccount": {"name": "A b"}}}, "at '/operator/serviceAccount/name': 'A b' does not match pattern"),
    ({"ingress": {"tls": {"secretName": "X Y"}}}, "at '/ingress/tls/secretName': 'X Y' does not match pattern"),
    ({"auth": {"extraKeys": ["dtq_secret"]}}, "at '/auth/extraKeys/0': 'dtq_secret' does not match pattern"),
]


@pytest.mark.parametrize(("values", "message"), SCHEMA)
def test_wrong_values_are_told_with_their_place(values: Json, message: str) -> None:
    assert message in refusal(values)


def test_null_is_nothing_for_what_is_empty_by_default() -> None:
    nulls = _nulls(yaml.safe_load((CHART / "values.yaml").read_text()))
    assert nulls["commonLabels"] is None
    assert nulls["submitter"]["extraEnv"] is None
    keda: Json = {"queues": ["a"], "autoscaling": {"mode": "keda"}}
    switched: Json = {
        **{"valkey": {"password": "v"}, "postgresql": {"password": "p"}, "smtp": {"addr": "m:25"}},
        "monitoring": {name: {"enabled": True} for name in ("podMonitor", "rules", "dashboard")},
        "workers": {"keda": keda, "hpa": {"queues": ["a"], "autoscaling": {"mode": "hpa", "min": 1}}},
        "ingress": {"enabled": True, "host": "x"},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]},
        "networkPolicy": {"enabled": True},
    }
    assert text(merged(nulls, switched)) == text(switched)
    assert notes(merged(nulls, switched)) == notes(switched)


def test_a_url_of_ones_own_may_stand_beside_null_for_its_secret() -> None:
    own: Json = {"url": "redis://x", "existingSecret": None}
    documents = render({"valkey": {"enabled": False}, "redis": own, "auth": {"existingSecret": None}})
    assert setting(documents, "scheduler", "REDISADDR") == {"secretKeyRef": {"name": "r-dtq-redis", "key": "url"}}


def _nulls(values: Json) -> Json:
    """Null for every value that is empty."""
    found: Json = {}
    for name, value in values.items():
        if value in ("", [], {}):
            found[name] = None
        elif isinstance(value, dict) and (inner := _nulls(value)):
            found[name] = inner
    return found


@pytest.mark.parametrize(
    "values",
    [
        {"commonLabels": {"example.com/team": "a", "b": ""}, "submitter": {"nodeSelector": {"kubernetes.io/os": "linux"}}},
        {"image": {"registry": "registry.example.com:5000/team_a/b.c", "repository": "a/b--c"}, "smtp": {"addr": "[::1]:25"}},
        {"submitter": {"image": {"repository": "localhost:5000/Team/x".lower()}, "resources": {"limits": {"memory": "0.5Gi"}}}},
        {"monitoring": {"rules": {"enabled": True, "matchers": "namespace=~\"a|b\", job!='x'"}}},
        {"submitter": {"resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}}}},
        {"valkey": {"maxmemory": "1000m", "resources": {"limits": {"memory": "1Gi"}}}},
        {"valkey": {"maxmemory": "4gb", "resources": {"limits": {"memory": None}}}},
        {"valkey": {"enabled": False, "maxmemory": "9gb"}, "redis": {"url": "redis://x"}},
        {"workers": {"a1-b": {"queues": ["a"], "handlers": ["pyx.py3"]}}},
        {"submitter": {"podSecurity": {"runAsUser": None}}, "scheduler": {"resources": None}},
    ],
)
def test_what_is_unusual_but_right_is_taken(values: Json) -> None:
    assert render(values)


def test_below_global_anything_is_allowed() -> None:
    assert render({"global": {"imageRegistry": "x", "deep": {"er": [1]}}})
