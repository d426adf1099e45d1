"""What the chart makes of its values."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_kit import CHART, EVERYTHING, Json, containers, find, merged, notes, pods, render, setting

from dtq.apikeys import find_key, parse_keys

CASES = pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
DIGEST = "sha256:" + 64 * "0"
SERVICES = ("submitter", "scheduler", "operator", "worker-default")


def by_key(entries: list[Json]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in entries}


# -- pods


@CASES
def test_every_pod_fits_pod_security_restricted(values: Json) -> None:
    for name, spec in pods(render(values)):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert all({"configMap", "emptyDir", "secret", "persistentVolumeClaim"} & volume.keys() for volume in spec.get("volumes", [])), name


@CASES
def test_every_container_is_locked_down_and_has_resources(values: Json) -> None:
    for name, container in containers(render(values)):
        expected = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == expected, name
        assert container["resources"]["requests"], name
        assert container["resources"]["limits"]["memory"], name


@CASES
def test_every_pod_that_runs_on_has_three_probes(values: Json) -> None:
    documents = [document for document in render(values) if document["kind"] != "Pod"]
    for name, spec in pods(documents):
        for container in spec["containers"]:
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys(), name


def test_probes_wait_longer_than_a_check_takes() -> None:
    from dtq.probe import CHECK_SECONDS

    for name in SERVICES:
        (container,) = find(render(), "Deployment", name)["spec"]["template"]["spec"]["containers"]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["timeoutSeconds"] > CHECK_SECONDS
        patience = container["readinessProbe"]["periodSeconds"] * container["readinessProbe"]["failureThreshold"]
        assert patience == (300 if name == "submitter" else 10)  # it is the submitter that says 503 while Redis is away


def test_a_server_has_time_to_start_after_it_waited_for_the_one_before() -> None:
    waits = re.search(r'"\$waited" -ge (\d+)', (CHART / "files/lock.sh").read_text())
    assert waits is not None
    for server in ("valkey", "postgresql"):
        assert f"lock {'Valkey' if server == 'valkey' else 'PostgreSQL'}\n" in (CHART / f"files/{server}.sh").read_text()
        (container,) = find(render(), "StatefulSet", server)["spec"]["template"]["spec"]["containers"]
        probe = container["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= int(waits[1]) + 300


@CASES
def test_only_the_operator_has_a_token(values: Json) -> None:
    documents = render(values)
    assert [name for name, spec in pods(documents) if spec["automountServiceAccountToken"]] == ["Deployment/r-dtq-operator"]
    accounts = [document for document in documents if document["kind"] == "ServiceAccount"]
    assert len(accounts) == 6
    assert all(account["automountServiceAccountToken"] is False for account in accounts)


@CASES
def test_no_variable_stands_twice_and_references_point_backwards(values: Json) -> None:
    for name, container in containers(render(values)):
        names = [entry["name"] for entry in container.get("env", [])]
        assert len(names) == len(set(names)), name
        for reference, user in (("VALKEYPASSWORD", "REDISADDR"), ("POSTGRESQLPASSWORD", "DATABASEURL")):
            if reference in names and user in names:
                assert names.index(reference) < names.index(user), name


def test_only_the_submitter_sleeps_before_it_stops_and_is_never_missing() -> None:
    documents = render()
    sleeping = [name for name, spec in pods(documents) if "sleep" in str(spec["containers"][0].get("lifecycle"))]
    assert sleeping == ["Deployment/r-dtq-submitter"]
    assert find(documents, "Deployment", "submitter")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_migrations_run_before_submitter_and_scheduler_alone() -> None:
    migrating = [name for name, spec in pods(render()) if spec.get("initContainers")]
    assert migrating == ["Deployment/r-dtq-scheduler", "Deployment/r-dtq-submitter"]


def test_another_password_replaces_the_pods_that_use_it_and_no_others() -> None:
    def checksums(values: Json) -> dict[str, str]:
        documents = [document for document in render(values) if "template" in (document.get("spec") or {})]
        return {each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]["checksum/secrets"] for each in documents}

    base: Json = {"valkey": {"password": "one"}, "postgresql": {"password": "p"}}
    first, second = checksums(base), checksums(merged(base, {"valkey": {"password": "two"}}))
    assert {name for name in first if first[name] == second[name]} == {"r-dtq-postgresql"}
    assert first == checksums(merged(base, {"smtp": {"addr": "m:25", "existingSecret": "s"}, "ingress": {"enabled": True, "host": "x"}}))


def test_a_pod_of_a_server_that_cannot_start_does_not_keep_the_next_one_from_being_made() -> None:
    for server in ("valkey", "postgresql"):
        assert find(render(), "StatefulSet", server)["spec"]["podManagementPolicy"] == "Parallel"


def test_another_version_of_the_chart_restarts_no_server(tmp_path: Path) -> None:
    newer = tmp_path / "dtq"
    shutil.copytree(CHART, newer)
    chart = newer / "Chart.yaml"
    chart.write_text(re.sub("ersion: [0-9].*", "ersion: 99.1.0", chart.read_text()))
    values: Json = {"valkey": {"password": "v"}, "postgresql": {"password": "p"}}
    one, two = render(values), render(values, chart=newer)
    for server in ("valkey", "postgresql"):
        before, after = find(one, "StatefulSet", server), find(two, "StatefulSet", server)
        assert before["metadata"]["labels"] != after["metadata"]["labels"]
        assert before["spec"] == after["spec"]


def test_a_pod_has_its_own_labels_before_the_common_ones() -> None:
    documents = render({"commonLabels": {"team": "a", "tier": "b"}, "submitter": {"podLabels": {"team": "c"}}})
    labels = find(documents, "Deployment", "submitter")["spec"]["template"]["metadata"]["labels"]
    assert (labels["team"], labels["tier"]) == ("c", "b")


@pytest.mark.parametrize(
    ("name", "values", "image"),
    [
        ("submitter", {}, "example.com/dtq-submitter:9"),
        ("submitter", {"submitter": {"image": {"tag": "8"}}}, "example.com/dtq-submitter:8"),
        ("operator", {"operator": {"image": {"repository": "mine"}}}, "mine:9"),
        ("scheduler", {"scheduler": {"image": {"digest": DIGEST, "tag": "8"}}}, f"example.com/dtq-scheduler@{DIGEST}"),
        ("worker-default", {"workers": {"default": {"image": {"digest": DIGEST}}}}, f"example.com/dtq-worker@{DIGEST}"),
        ("valkey", {"valkey": {"image": {"digest": DIGEST}}}, f"valkey/valkey@{DIGEST}"),
        ("postgresql", {"postgresql": {"image": {"digest": DIGEST}}}, f"postgres@{DIGEST}"),
        ("postgresql", {"postgresql": {"image": {"tag": "18.1"}}}, "postgres:18.1"),
    ],
)
def test_images_are_named_by_tag_or_digest(name: str, values: Json, image: str) -> None:
    found = dict(pods(render({"image": {"registry": "example.com", "tag": "9"}, **values})))
    (spec,) = [spec for pod, spec in found.items() if pod.endswith(f"/r-dtq-{name}")]
    assert {container["image"] for container in [*spec.get("initContainers", []), *spec["containers"]]} == {image}


def test_hashes_in_annotations_are_salted_with_the_release_and_stay() -> None:
    """Two releases of one password have different ones, none is the password's own, and a second rendering has the same."""

    def hashes(documents: list[Json]) -> set[str]:
        templates = [document["spec"]["template"] for document in documents if "template" in (document.get("spec") or {})]
        return {template["metadata"]["annotations"]["checksum/secrets"] for template in templates}

    values: Json = {"valkey": {"password": "secret"}, "postgresql": {"password": "secret"}}
    one, two = hashes(render(values, "one")), hashes(render(values, "two"))
    assert one & two == set()
    assert hashlib.sha256(b"secret").hexdigest() not in one
    assert hashes(render({**values, "ingress": {"annotations": {"another": "rendering"}}}, "one")) == one


# -- settings


def test_large_numbers_are_written_out() -> None:
    assert setting(render(EVERYTHING), "submitter", "MAXBODYBYTES") == "20971520"


def test_a_service_s_own_variables_go_before_common_settings() -> None:
    documents = render(EVERYTHING)
    assert setting(documents, "submitter", "LOGLEVEL") == "INFO"
    assert setting(documents, "scheduler", "LOGLEVEL") == "DEBUG"


def test_a_pool_has_its_own_settings_and_the_defaults_below_them() -> None:
    documents = render(
        {"workerDefaults": {"concurrency": 4}, "workers": {"images": {"queues": ["b", "a"], "concurrency": 2, "processes": 0}}}
    )
    assert setting(documents, "worker-images", "QUEUES") == "b,a"
    assert setting(documents, "worker-images", "WORKERCOUNT") == "2"
    assert setting(documents, "worker-images", "PROCESSES") == "0"
    assert setting(documents, "worker-default", "WORKERCOUNT") == "4"


def test_submitter_and_operator_know_the_job_types_of_all_pools() -> None:
    documents = render(EVERYTHING)
    assert setting(documents, "worker-default", "HANDLERS") == "greet"
    assert setting(documents, "submitter", "HANDLERS") == "greet,more.jobs"
    assert setting(documents, "operator", "HANDLERS") == "greet,more.jobs"


@pytest.mark.parametrize(
    ("pool", "grace"),
    [({}, 150), ({"longestTimeoutSeconds": 10}, 40), ({"timeoutSeconds": 600}, 630), ({"terminationGracePeriodSeconds": 900}, 900)],
)
def test_a_worker_has_time_for_its_longest_job_and_hands_back_ten_seconds_before_the_end(pool: Json, grace: int) -> None:
    documents = render({"workers": {"default": pool}})
    assert find(documents, "Deployment", "worker-default")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == grace
    assert setting(documents, "worker-default", "SHUTDOWNSECONDS") == str(grace - 10)


def test_the_default_pool_can_be_removed() -> None:
    names = [name for name, _ in pods(render({"workers": {"default": None}}))]
    assert "Deployment/r-dtq-worker-default" not in names


def test_submitter_and_workers_share_the_blobs() -> None:
    documents = render()
    claim = find(documents, "PersistentVolumeClaim", "blobs")["metadata"]
    assert claim["annotations"] == {"helm.sh/resource-policy": "keep"}
    for name in ("submitter", "worker-default"):
        spec = find(documents, "Deployment", name)["spec"]["template"]["spec"]
        assert {"name": "blobs", "persistentVolumeClaim": {"claimName": "r-dtq-blobs"}} in spec["volumes"]
        assert setting(documents, name, "BLOBURL") == "file:///var/lib/dtq/blobs"


TOGETHER = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"dtq.dev/blobs": "r-dtq"}}}


@pytest.mark.parametrize("persistence", [{}, {"existingClaim": "mine"}], ids=["own claim", "existing claim"])
def test_pods_that_share_a_volume_of_one_node_are_placed_together(persistence: Json) -> None:
    documents = render({"blobs": {"persistence": persistence}})
    for name in ("submitter", "worker-default"):
        template = find(documents, "Deployment", name)["spec"]["template"]
        (term,) = template["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term == TOGETHER
        assert term["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()  # or the first could not start
        assert "topologySpreadConstraints" not in template["spec"]
    budgets = {document["metadata"]["name"] for document in documents if document["kind"] == "PodDisruptionBudget"}
    assert budgets == {"r-dtq-scheduler"}  # of pods that must move together none may be held back
    template = find(documents, "Deployment", "scheduler")["spec"]["template"]
    assert "affinity" not in template["spec"]
    assert "topologySpreadConstraints" in template["spec"]
    assert "dtq.dev/blobs" not in template["metadata"]["labels"]


@pytest.mark.parametrize("blobs", [{"url": "s3://b"}, {"persistence": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}}])
def test_pods_whose_blobs_are_everywhere_are_spread(blobs: Json) -> None:
    documents = render({"blobs": blobs})
    budgets = {document["metadata"]["name"] for document in documents if document["kind"] == "PodDisruptionBudget"}
    assert budgets == {"r-dtq-submitter", "r-dtq-scheduler", "r-dtq-worker-default"}
    for name in ("submitter", "worker-default"):
        spec = find(documents, "Deployment", name)["spec"]["template"]["spec"]
        assert "affinity" not in spec
        assert "topologySpreadConstraints" in spec


def test_being_together_is_added_to_an_affinity_of_one_s_own() -> None:
    zone = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
    spot = {"weight": 1, "podAffinityTerm": zone}
    own: Json = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [zone],
            "preferredDuringSchedulingIgnoredDuringExecution": [spot],
        },
    }
    spec = find(render({"submitter": {"affinity": own}}), "Deployment", "submitter")["spec"]["template"]["spec"]
    expected = merged(own, {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [zone, TOGETHER]}})
    assert spec["affinity"] == expected


# -- secrets


def test_each_api_key_has_its_role_in_the_file_of_hashes() -> None:
    extra = "ci read sha256:" + 64 * "0"
    secret = find(render({"auth": {"extraKeys": [extra]}}), "Secret", "api-keys")["stringData"]
    keys = parse_keys(secret["keys"])
    assert [str(key) for key in keys if key.name == "ci"] == [extra]
    for role in ("admin", "submit", "read"):
        found = find_key(keys, secret[role])
        assert found is not None
        assert found.role == role


def test_without_keys_requests_are_served_to_all() -> None:
    documents = render({"auth": {"anonymous": True}})
    assert setting(documents, "submitter", "ALLOWANONYMOUS") == "true"
    assert setting(documents, "submitter", "APIKEYSFILE") is None
    assert "r-dtq-api-keys" not in str(documents)


def test_passwords_are_the_same_wherever_they_are_used_in_one_rendering() -> None:
    for server, start in (("valkey", "redis://:"), ("postgresql", "postgresql://dtq:")):
        secret = find(render(), "Secret", server)["stringData"]
        assert secret["url"].startswith(start + secret["password"] + "@")
        assert len(secret["password"]) == 40


def test_external_servers_are_taken_from_the_secrets_that_are_named() -> None:
    own: Json = {"valkey": {"enabled": False}, "postgresql": {"enabled": False}}
    documents = render(own | {"redis": {"existingSecret": "r", "existingSecretKey": "k"}, "database": {"url": "postgresql://d/d"}})
    assert setting(documents, "worker-default", "REDISADDR") == {"secretKeyRef": {"name": "r", "key": "k"}}
    assert setting(documents, "worker-default", "DATABASEURL") == {"secretKeyRef": {"name": "r-dtq-database", "key": "url"}}
    assert find(documents, "Secret", "database")["stringData"] == {"url": "postgresql://d/d"}
    assert not [document for document in documents if document["kind"] == "StatefulSet"]


# -- autoscaling


@pytest.mark.parametrize("mode", ["keda", "hpa"])
def test_a_scaled_pool_leaves_its_number_of_pods_to_the_scaler(mode: str) -> None:
    documents = render({"workers": {"default": {"queues": ["a"], "autoscaling": {"mode": mode, "min": 1}}}})
    assert "replicas" not in find(documents, "Deployment", "worker-default")["spec"]
    assert find(render(), "Deployment", "worker-default")["spec"]["replicas"] == 1


def test_keda_asks_the_submitter_for_the_demand_with_the_key_for_reading() -> None:
    documents = render(EVERYTHING)
    spec = find(documents, "ScaledObject", "worker-default")["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["metadata"] == {
        "url": "http://r-dtq-submitter.ns.svc:80/queues/default",
        "valueLocation": "demand",
        "targetValue": "10",
        "activationTargetValue": "0",
        "authMode": "bearer",
    }
    reference = find(documents, "TriggerAuthentication", "demand")["spec"]["secretTargetRef"]
    assert trigger["authenticationRef"] == {"name": "r-dtq-demand"}
    assert reference == [{"parameter": "token", "name": "r-dtq-api-keys", "key": "read"}]
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicasIfHigher"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 10)


def test_keda_needs_no_key_where_none_is_needed() -> None:
    documents = render({"auth": {"anonymous": True}, "workers": {"default": {"queues": ["a"], "autoscaling": {"mode": "keda"}}}})
    (trigger,) = find(documents, "ScaledObject", "worker-default")["spec"]["triggers"]
    assert "authenticationRef" not in trigger
    assert "authMode" not in trigger["metadata"]
    assert not [document for document in documents if document["kind"] == "TriggerAuthentication"]


def test_a_demand_that_cannot_be_asked_is_not_taken_for_none() -> None:
    """Or all pods would go when cooldownPeriod is over."""
    for pool in ("default", "prom"):
        spec = find(render(EVERYTHING), "ScaledObject", f"worker-{pool}")["spec"]
        assert [trigger["name"] for trigger in spec["triggers"]] == ["q0"]
        assert spec["advanced"]["scalingModifiers"]["formula"] == "(q0 ?? 0.001)"


def test_several_queues_are_summed() -> None:
    """Each queue has the little of its own that stands for a demand which cannot be asked, as above."""
    spec = find(render(EVERYTHING), "ScaledObject", "worker-two")["spec"]
    assert [trigger["name"] for trigger in spec["triggers"]] == ["q0", "q1"]
    modifiers = spec["advanced"]["scalingModifiers"]
    assert modifiers == {"formula": "(q0 ?? 0.001) + (q1 ?? 0.001)", "target": "10", "activationTarget": "0", "metricType": "AverageValue"}


def test_prometheus_is_asked_for_this_release_s_queues_and_silence_is_no_zero() -> None:
    values: Json = {"queues": ["a", "b.c"], "autoscaling": {"mode": "keda", "prometheus": {"serverAddress": "http://p"}}}
    (trigger,) = find(render({"workers": {"default": values}}), "ScaledObject", "worker-default")["spec"]["triggers"]
    assert trigger["type"] == "prometheus"
    assert trigger["metadata"]["query"] == 'sum(max by (queue) (dtq_queue_demand{namespace="ns",job="r",queue=~"a|b[.]c"}))'
    assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_an_hpa_sums_the_external_metric_of_its_queues() -> None:
    spec = find(render(EVERYTHING), "HorizontalPodAutoscaler", "worker-hpa")["spec"]
    (metric,) = spec["metrics"]
    assert metric["external"]["metric"]["name"] == "dtq_queue_demand"
    expected = {"matchLabels": {"job": "r"}, "matchExpressions": [{"key": "queue", "operator": "In", "values": ["d", "e.f"]}]}
    assert metric["external"]["metric"]["selector"] == expected
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "10"}


@pytest.mark.parametrize("mode", ["keda", "hpa"])
def test_pools_grow_at_once_and_shrink_slowly(mode: str) -> None:
    documents = render({"workers": {"default": {"queues": ["a"], "concurrency": 3, "autoscaling": {"mode": mode, "min": 1}}}})
    if mode == "keda":
        behavior = find(documents, "ScaledObject", "worker-default")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    else:
        behavior = find(documents, "HorizontalPodAutoscaler", "worker-default")["spec"]["behavior"]
    assert behavior == {
        "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
        "scaleDown": {"stabilizationWindowSeconds": 300, "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]},
    }


# -- rights and names


RULES = [
    {"apiGroups": ["dtq.dev"], "resources": ["scheduledjobs"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["dtq.dev"], "resources": ["scheduledjobs/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
]


@pytest.mark.parametrize(
    ("operator", "kind", "places", "served"),
    [
        ({}, "Role", ["ns"], "ns"),
        ({"namespaces": ["one", "two"]}, "Role", ["one", "two"], "one,two"),
        ({"clusterWide": True}, "ClusterRole", [None], "*"),
    ],
)
def test_the_operator_may_do_no_more_than_it_does(operator: Json, kind: str, places: list[str | None], served: str) -> None:
    documents = render({"operator": operator})
    roles = [document for document in documents if document["kind"] in ("Role", "ClusterRole")]
    bindings = [document for document in documents if document["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    assert [(role["kind"], role["metadata"].get("namespace"), role["rules"]) for role in roles] == [
        (kind, place, RULES) for place in places
    ]
    for role, binding in zip(roles, bindings, strict=True):
        assert binding["metadata"].get("namespace") == role["metadata"].get("namespace")
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role["metadata"]["name"]}
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "r-dtq-operator", "namespace": "ns"}]
    assert setting(documents, "operator", "NAMESPACES") == served


def test_without_the_operator_nobody_has_rights() -> None:
    kinds = {document["kind"] for document in render({"operator": {"enabled": False}})}
    assert kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} == set()


def test_names_fit_however_long_the_release_s_is() -> None:
    pool = "p" * 20
    names: set[str] = set()
    for release in ("a-name-as-long-as-helm-lets-the-name-of-a-release-one", "a-name-as-long-as-helm-lets-the-name-of-a-release-two"):
        for document in render({"workers": {pool: {"queues": ["a"]}}}, release):
            name = document["metadata"]["name"]
            assert len(name) <= 63, name
            names.add(f"{document['kind']}/{name}")
    assert len(names) == 2 * len(render({"workers": {pool: {"queues": ["a"]}}}))


def test_two_releases_in_one_namespace_share_nothing() -> None:
    one, two = ({(document["kind"], document["metadata"]["name"]) for document in render({}, release)} for release in ("one", "two"))
    assert one & two == set()


@CASES
def test_selectors_find_their_own_pods_alone(values: Json) -> None:
    documents = render(values)
    labels = {
        document["metadata"]["name"]: document["spec"]["template"]["metadata"]["labels"]
        for document in documents
        if "template" in (document.get("spec") or {})
    }
    for document in documents:
        if document["kind"] == "Service":
            found = [name for name, own in labels.items() if document["spec"]["selector"].items() <= own.items()]
            assert found, document["metadata"]["name"]
            assert all(name.startswith(document["metadata"]["name"]) for name in found)
        if document["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            selector = document["spec"]["selector"]["matchLabels"]
            assert [name for name, own in labels.items() if selector.items() <= own.items()] == [document["metadata"]["name"]]


# -- access


def test_the_ingress_leads_to_the_submitter() -> None:
    spec = find(render(EVERYTHING), "Ingress", "")["spec"]
    assert spec["tls"] == [{"hosts": ["dtq.example.com"], "secretName": "cert"}]
    (rule,) = spec["rules"]
    assert rule["http"]["paths"][0]["backend"] == {"service": {"name": "r-dtq-submitter", "port": {"name": "http"}}}


def test_the_http_route_leads_to_the_submitter() -> None:
    spec = find(render(EVERYTHING), "HTTPRoute", "")["spec"]
    assert spec["rules"][0]["backendRefs"] == [{"name": "r-dtq-submitter", "port": 80}]


def test_policies_let_only_the_services_reach_the_servers() -> None:
    documents = render(EVERYTHING)
    for server, clients in (
        ("valkey", ["submitter", "worker", "scheduler", "operator"]),
        ("postgresql", ["submitter", "worker", "scheduler"]),
    ):
        spec = find(documents, "NetworkPolicy", server)["spec"]
        assert spec["egress"] == []
        (rule,) = spec["ingress"]
        (peer,) = rule["from"]
        assert peer["podSelector"]["matchExpressions"] == [{"key": "app.kubernetes.io/component", "operator": "In", "values": clients}]
    assert not [document for document in render() if document["kind"] == "NetworkPolicy"]


def test_servers_keep_their_volumes_unless_told_otherwise() -> None:
    for keep, policy in ((True, "Retain"), (False, "Delete")):
        spec = find(render({"valkey": {"persistence": {"keep": keep}}}), "StatefulSet", "valkey")["spec"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": policy, "whenScaled": "Retain"}


# -- helm test, notes, definitions


@pytest.mark.parametrize(("queues", "chosen"), [(["*"], "default"), (["a", "default"], "default"), (["b", "a"], "b")])
def test_helm_test_uses_a_queue_that_is_served(queues: list[str], chosen: str) -> None:
    (container,) = find(render({"workers": {"default": {"queues": queues}}}), "Pod", "test")["spec"]["containers"]
    assert by_key(container["env"])["QUEUE"] == chosen


def test_helm_test_leaves_no_pod_behind() -> None:
    annotations = find(render(), "Pod", "test")["metadata"]["annotations"]
    assert set(annotations["helm.sh/hook-delete-policy"].split(",")) == {"before-hook-creation", "hook-succeeded", "hook-failed"}


def test_notes_show_how_to_submit_and_to_schedule() -> None:
    shown = notes()
    for line in (
        "kubectl port-forward",
        "curl localhost:8080/submit",
        "kind: ScheduledJob",
        "helm test r",
        "describe persistentvolumeclaims",
    ):
        assert line in shown
    assert "WARNING" not in shown


def test_notes_warn_of_an_open_door_and_of_missing_workers() -> None:
    values: Json = {"auth": {"anonymous": True}, "ingress": {"enabled": True, "host": "dtq.example.com"}, "workers": {"default": None}}
    shown = notes(values)
    assert "WARNING: auth.anonymous=true" in shown
    assert "whoever reaches dtq.example.com" in shown
    assert "WARNING: there is no worker pool" in shown
    assert "Authorization" not in shown


def binding(release: str, home: str, serves: str | None, **labels: str) -> Json:
    """What the chart of another release has left in the cluster."""
    own = {"instance": release, "component": "operator", "part-of": "dtq", **labels}
    metadata: Json = {"name": "x", "labels": {f"app.kubernetes.io/{name}": value for name, value in own.items()}}
    return {"metadata": metadata | ({"namespace": serves} if serves else {}), "subjects": [{"namespace": home}]}


def test_notes_warn_of_another_operator_of_the_same_scheduled_jobs(tmp_path: Path) -> None:
    chart = tmp_path / "dtq"
    shutil.copytree(CHART, chart)
    lookups = chart / "templates/_others.tpl"
    asked = lookups.read_text()
    # Without a cluster `lookup` finds nothing: here it finds what a test says.
    replaced = re.sub(r'\(lookup \$api "(\w+)" \S+ ""\)', r"(index $.Values.global.found `\1`)", asked)
    assert replaced.count("$.Values.global.found") == 2
    lookups.write_text(replaced)
    bindings = [
        binding("r", "ns", "ns"),  # this release's own, at an upgrade
        binding("r", "elsewhere", "ns"),  # of the same name in another namespace
        binding("two", "ns", "ns"),
        binding("two", "ns", "ns", component="submitter"),
        binding("other", "ns", "ns", **{"part-of": "another"}),
        {"metadata": {"name": "bare", "namespace": "ns"}},
    ]
    found: Json = {"RoleBinding": {"items": bindings}, "ClusterRoleBinding": {"items": [binding("all", "far", None)]}}
    shown = notes({"global": {"found": found}}, chart=chart)
    told = [line.strip() for line in shown.splitlines() if line.startswith("  release ")]
    assert told == ["release r in namespace elsewhere (it serves ns)", "release two in namespace ns (it serves ns)"]
    assert "WARNING: another operator serves the same ScheduledJobs" in shown
    everywhere = notes({"global": {"found": found}, "operator": {"clusterWide": True}}, chart=chart)
    assert "release all in namespace far (it serves every namespace)" in everywhere
    for quiet in ({"operator": {"enabled": False}}, {"crds": {"check": False}}):
        assert "another operator" not in notes({"global": {"found": found}, **quiet}, chart=chart)


REVISIONS = {"1": "109b59c0445d90fcefd46f5147e6cb6f4d172cf7aba8b58f64f0241749eab0cb"}
"""Of each revision of the definition the hash of its spec. A changed one is a new entry: upgrades compare nothing but the revision."""


def test_a_changed_definition_of_scheduled_jobs_has_another_revision() -> None:
    definition = yaml.safe_load((CHART / "crds/scheduledjobs.yaml").read_text())
    revision = definition["metadata"]["annotations"]["dtq.dev/revision"]
    spec = hashlib.sha256(json.dumps(definition["spec"], sort_keys=True).encode()).hexdigest()
    assert REVISIONS[revision] == spec, "count dtq.dev/revision up, and add an entry to REVISIONS"
    assert revision == max(REVISIONS, key=int)
