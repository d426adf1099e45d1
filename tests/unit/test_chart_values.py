"""Each value in values.yaml changes something that is rendered."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
import yaml
from chart_kit import CHART, Json, merged, text

FIXED: Json = {"valkey": {"password": "one"}, "postgresql": {"password": "two"}}
"""Random passwords would be a difference too."""

OTHER: dict[str, Any] = {
    "*image.pullPolicy": "Never",
    "*image.digest": "sha256:" + 64 * "0",
    "*.whenUnsatisfiable": "DoNotSchedule",
    "*.tolerations": [{"key": "other"}],
    "*.affinity": {"nodeAffinity": {}},
    "*.extraEnv": [{"name": "OTHER", "value": "x"}],
    "*.extraVolumes": [{"name": "other", "emptyDir": {}}],
    "*.extraVolumeMounts": [{"name": "other", "mountPath": "/other"}],
    "image.pullSecrets": ["other"],
    "auth.extraKeys": ["ci read sha256:" + 64 * "0"],
    "config": {"RESULTTTL": 600},
    "redis.url": "redis://other",
    "database.url": "postgresql://other/db",
    "valkey.maxmemory": "512mb",
    "postgresql.sharedBuffers": "256MB",
    "blobs.url": "s3://other",
    "*.accessModes": ["ReadWriteMany"],
    "*.size": "9Gi",
    "*.tmpSize": "9Gi",
    "*.cpu": "1",
    "*.requests.memory": "100Mi",
    "*.limits.memory": "3Gi",
    "smtp.addr": "other:25",
    "smtp.tls": "starttls",
    "submitter.service.type": "NodePort",
    "*.maxUnavailable": "50%",
    "operator.namespaces": ["other"],
    "workers.default.queues": ["other"],
    "*.handlers": ["other"],
    "*.terminationGracePeriodSeconds": 999,
    "*.fallbackReplicas": 3,
    "*.policies": [{"type": "Pods", "value": 3, "periodSeconds": 9}],
    "*.serverAddress": "http://other",
    "workerDefaults.autoscaling.mode": "keda",
    "ingress.host": "other.example.com",
    "ingress.path": "/other",
    "httpRoute.parentRefs": [{"name": "other"}],
    "httpRoute.hostnames": ["other.example.com"],
    "networkPolicy.*From": [{"podSelector": {}}],
    "monitoring.*.interval": "7s",
    "monitoring.rules.disabled": ["DTQQueueWaitBudgetBurnsFast"],
    "monitoring.rules.matchers": 'job="other"',
    "monitoring.rules.thresholds.objective": 0.98,
    "*abels": {"other": "x"},
    "*nnotations": {"other": "x"},
    "*.nodeSelector": {"other": "x"},
    "*Labels.grafana_dashboard": "2",
}
"""What a value is changed to, where its type alone does not tell."""

_NAMED = {"workers": {"default": {"queues": ["a"]}}}
_HPA = {"workerDefaults": {"autoscaling": {"mode": "hpa", "min": 1}}, **_NAMED}
_KEDA = {"workerDefaults": {"autoscaling": {"mode": "keda"}}, **_NAMED}
NEEDS: dict[str, Json] = {
    "redis.url": {"valkey": {"enabled": False}, "redis": {"url": "redis://first"}},
    "redis.existingSecret": {"valkey": {"enabled": False}, "redis": {"existingSecret": "first"}},
    "redis.existingSecretKey": {"valkey": {"enabled": False}, "redis": {"existingSecret": "s"}},
    "database.url": {"postgresql": {"enabled": False}, "database": {"url": "postgresql://first"}},
    "database.existingSecret": {"postgresql": {"enabled": False}, "database": {"existingSecret": "first"}},
    "database.existingSecretKey": {"postgresql": {"enabled": False}, "database": {"existingSecret": "s"}},
    "valkey.existingSecret": {"valkey": {"password": ""}},
    "postgresql.existingSecret": {"postgresql": {"password": ""}},
    "smtp.addr": {},
    "smtp.*": {"smtp": {"addr": "x:25"}},
    **{
        f"{each}.extraVolumeMounts": {each: {"extraVolumes": [{"name": "other", "emptyDir": {}}]}}
        for each in ("submitter", "scheduler", "operator", "workerDefaults")
    },
    "operator.serviceAccount.create": {"operator": {"serviceAccount": {"name": "x"}}},
    "*.topologySpread.*": {"blobs": {"url": "s3://x"}},
    "*.pdb.*": {"blobs": {"url": "s3://x"}},
    "workerDefaults.autoscaling.mode": _NAMED,
    "workerDefaults.autoscaling.hpa.*": _HPA,
    "workerDefaults.autoscaling.prometheus.query": merged(
        _KEDA, {"workerDefaults": {"autoscaling": {"prometheus": {"serverAddress": "http://x"}}}}
    ),
    "workerDefaults.autoscaling.*": _KEDA,
    "ingress.enabled": {"ingress": {"host": "x.example.com"}},
    "ingress.tls.secretName": {"ingress": {"enabled": True, "host": "x.example.com", "tls": {"enabled": True}}},
    "ingress.*": {"ingress": {"enabled": True, "host": "x.example.com"}},
    "httpRoute.enabled": {"httpRoute": {"parentRefs": [{"name": "x"}]}},
    "httpRoute.*": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "x"}]}},
    "networkPolicy.*From": {"networkPolicy": {"enabled": True}},
    "monitoring.podMonitor.[!e]*": {"monitoring": {"podMonitor": {"enabled": True}}},
    "monitoring.serviceMonitor.[!e]*": {"monitoring": {"serviceMonitor": {"enabled": True}}},
    "monitoring.rules.[!e]*": {"monitoring": {"rules": {"enabled": True}}},
    "monitoring.dashboard.[!e]*": {"monitoring": {"dashboard": {"enabled": True}}},
}
"""Values beside which a value counts; the first pattern that fits."""

NOT_RENDERED = {
    "global": "is there for parent charts",
    "crds.check": "looks at the cluster: tests/cluster",
    "blobs.persistence.enabled": "without it there is no place for blobs, which is refused; with blobs.url it does not count",
    "valkey.enabled": "with and without it are two of the cases in test_chart_kubernetes",
    "postgresql.enabled": "likewise",
}


def leaves(values: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, name))
        else:
            yield ".".join((*path, name)), value


LEAVES = dict(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))


def other(path: str, value: Any) -> Any:
    for pattern, replacement in OTHER.items():
        if fnmatchcase(path, pattern):
            return replacement
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    assert isinstance(value, str), f"no other value is known for {path}"
    return "other"


def nested(path: str, value: Any) -> Json:
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


@pytest.mark.parametrize("path", [path for path in LEAVES if path not in NOT_RENDERED])
def test_it_changes_what_is_rendered(path: str) -> None:
    needed = next((values for pattern, values in NEEDS.items() if fnmatchcase(path, pattern)), {})
    before = merged(FIXED, needed)
    after = merged(before, nested(path, other(path, LEAVES[path])))
    assert text(after) != text(before)


def test_every_exception_is_a_value() -> None:
    assert NOT_RENDERED.keys() <= LEAVES.keys()
