"""The JSON Schema of the chart's values: types from the defaults in values.yaml, narrowed by the rules below. No name but a known one
is taken, except below ``global`` and where Kubernetes has its own schema.
"""

from __future__ import annotations

import copy
from fnmatch import fnmatchcase
from typing import Any

from dtq.config import QUEUE_NAME, Settings

__all__ = ["MADE", "schema"]

Json = dict[str, Any]
Path = tuple[str, ...]

MADE = frozenset(
    {
        *("redisaddr", "databaseurl", "apiaddr", "metricsaddr", "apikeysfile", "allowanonymous", "bloburl"),
        *("queues", "workercount", "workertimeout", "shutdownseconds", "processes", "handlers"),
        *("smtpaddr", "smtpfrom", "smtpuser", "smtppassword", "smtptls", "datadir", "workers"),
    }
)
"""Settings that are made from other values, or are those of `dtq up`: not for ``config``. A test compares them with what is rendered, and
with the list in templates/_validate.tpl."""


def _string(pattern: str = "", *, empty: bool = True, **more: Any) -> Json:
    rule: Json = {"type": "string", **more}
    if pattern:
        rule["pattern"] = f"^({pattern})?$" if empty else f"^({pattern})$"
    return rule


def _closed(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _strings(**more: Any) -> Json:
    return {"type": "array", "items": {"type": "string", "minLength": 1}, **more}


TEXTS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
LABEL = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = rf"^([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{LABEL}$"
LABELS: Json = {"type": "object", "patternProperties": {_LABEL_KEY: _string(LABEL)}, "additionalProperties": False}
_PROMETHEUS_NAME = "[a-zA-Z_][a-zA-Z0-9_]*"
PROMETHEUS_LABELS: Json = {
    "type": "object",
    "patternProperties": {f"^{_PROMETHEUS_NAME}$": {"type": "string"}},
    "additionalProperties": False,
}
_MATCHER = rf"{_PROMETHEUS_NAME}\s*(=|!=|=~|!~)\s*(\"([^\"\\]|\\.)*\"|'([^'\\]|\\.)*')"
OBJECTS: Json = {"type": "array", "items": {"type": "object"}}
OPEN: Json = {"type": "object"}
QUANTITY: Json = _string(r"[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?", empty=False)
SIZE: Json = _string(r"[1-9][0-9]*(\.[0-9]+)?(k|Ki|M|Mi|G|Gi|T|Ti)?", empty=False)
NUMBER_OR_QUANTITY: Json = {"anyOf": [{"type": "number", "minimum": 0}, QUANTITY]}
AMOUNTS: Json = {"type": "object", "additionalProperties": NUMBER_OR_QUANTITY}
PULL: Json = {"enum": ["Always", "IfNotPresent", "Never"]}
NAME = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"
ID: Json = {"type": ["integer", "null"], "minimum": 1, "maximum": 2_147_483_647}
_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = rf"([A-Za-z0-9.-]+(:[0-9]+)?/)?{_PART}(/{_PART})*"
SECONDS_IN_A_DAY = 86_400

_PERIOD = {"type": "integer", "minimum": 1, "maximum": 1800}
_POLICY = _closed(type={"enum": ["Pods", "Percent"]}, value={"type": "integer", "minimum": 1}, periodSeconds=_PERIOD)
_RULES = _closed(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies={"type": "array", "minItems": 1, "items": {**_POLICY, "required": ["type", "value", "periodSeconds"]}},
)
_VARIABLE = _closed(name=_string("[A-Za-z_][A-Za-z0-9_]*", empty=False), value={"type": "string"}, valueFrom=OPEN)

RULES: list[tuple[str, Json]] = [
    ("*fullnameOverride", _string("[a-z]([a-z0-9-]*[a-z0-9])?")),
    ("*nameOverride", _string("[a-z]([a-z0-9-]*[a-z0-9])?", maxLength=30)),
    ("*image.pullPolicy", PULL),
    ("*image.tag", _string("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")),
    ("image.registry", _string(r"[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*/?")),
    ("*image.repository", _string(REPOSITORY)),
    *((f"{server}image.repository", {"minLength": 1}) for server in ("", "valkey.", "postgresql.")),
    *((f"{server}.image.tag", {"minLength": 1}) for server in ("valkey", "postgresql")),
    ("*image.digest", _string("sha256:[0-9a-f]{64}")),
    ("image.pullSecrets", {"items": _string(NAME, empty=False)}),
    ("*existingSecret", _string(NAME)),
    ("*existingSecretKey", _string("[A-Za-z0-9._-]+")),
    *((pattern, _string(NAME)) for pattern in ("*existingClaim", "*.storageClass", "*lassName", "*.tls.secretName", "*erviceAccount.name")),
    ("auth.extraKeys", {"type": "array", "items": _string(r"[A-Za-z0-9._@-]{1,64} (read|submit|admin) sha256:[0-9a-f]{64}", empty=False)}),
    ("redis.url", _string(r"(rediss?|sentinel)://.+")),
    ("database.url", _string(r"postgres(ql)?://.+")),
    ("valkey.password", _string(r"[A-Za-z0-9._~-]+")),
    ("postgresql.password", _string(r"[A-Za-z0-9._~-]+")),
    ("valkey.maxmemory", _string(r"[0-9]+([kmg]b?)?")),
    ("postgresql.sharedBuffers", _string(r"[0-9]+(kB|MB|GB)", empty=False)),
    ("postgresql.maxConnections", {"minimum": 10, "maximum": 10_000}),
    ("blobs.url", _string(r"(s3|s3a|gs|az|azure|abfs|abfss)://.+")),
    (
        "*persistence.accessModes",
        {"minItems": 1, "items": {"enum": ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]}, "uniqueItems": True},
    ),
    ("*.size", SIZE),
    ("*.tmpSize", QUANTITY),
    ("smtp.addr", _string(r"([^\s/:\[\]]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}")),
    ("smtp.from", _string(r"[^\r\n]+")),
    ("smtp.tls", {"enum": ["none", "starttls", "tls"]}),
    ("*.resources", _closed(requests=AMOUNTS, limits=AMOUNTS, claims=OBJECTS)),
    ("*.podSecurity", _closed(runAsUser=ID, runAsGroup=ID, fsGroup=ID)),
    ("*.extraEnv", {"type": "array", "items": {**_VARIABLE, "required": ["name"]}}),
    ("*.extraVolumes", {"type": "array", "items": {"type": "object", "required": ["name"]}}),
    ("*.extraVolumeMounts", {"type": "array", "items": {"type": "object", "required": ["name", "mountPath"]}}),
    ("*.tolerations", OBJECTS),
    ("*.affinity", OPEN),
    ("*.behavior", _closed(scaleUp=_RULES, scaleDown=_RULES)),
    *((pattern, LABELS) for pattern in ("commonLabels", "*.podLabels", "monitoring.*.labels")),
    *((pattern, PROMETHEUS_LABELS) for pattern in ("*.alertLabels", "*.metricLabels")),
    ("*nnotations", TEXTS),
    ("*.nodeSelector", LABELS),
    ("*eplicas", {"maximum": 2_147_483_647}),
    ("*.autoscaling.m[ai][xn]", {"maximum": 2_147_483_647}),
    ("*.service.type", {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}),
    ("*.service.port", {"minimum": 1, "maximum": 65_535}),
    ("*.topologyKey", {"minLength": 1}),
    ("*.whenUnsatisfiable", {"enum": ["ScheduleAnyway", "DoNotSchedule"]}),
    ("*.maxUnavailable", {"type": ["integer", "string"], "minimum": 0, "maximum": 2_147_483_647, "pattern": "^(100|[0-9]{1,2})%$"}),
    ("submitter.*Seconds", {"maximum": 3600}),
    ("submitter.shutdownSeconds", {"minimum": 1}),
    ("operator.namespaces", {"items": _string("[a-z0-9]([a-z0-9-]*[a-z0-9])?", empty=False), "uniqueItems": True}),
    ("operator.clusterName", _string("[a-z0-9]([a-z0-9-]*[a-z0-9])?", empty=False, maxLength=63)),
    ("operator.resyncSeconds", {"minimum": 1, "maximum": 3600}),
    ("*.queues", {"items": _string(rf"\*|{QUEUE_NAME.pattern}", empty=False), "minItems": 1, "uniqueItems": True}),
    ("*.handlers", {"items": _string(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", empty=False), "uniqueItems": True}),
    ("workerDefaults.concurrency", {"minimum": 1, "maximum": 10_000}),
    ("workerDefaults.processes", {"maximum": 1024}),
    ("workerDefaults.*imeoutSeconds", {"minimum": 1, "maximum": SECONDS_IN_A_DAY}),
    ("workerDefaults.terminationGracePeriodSeconds", {"maximum": SECONDS_IN_A_DAY + 3600}),
    ("*.autoscaling.mode", {"enum": ["none", "keda", "hpa"]}),
    ("*.autoscaling.max", {"minimum": 1}),
    ("*.autoscaling.pollingInterval", {"minimum": 1}),
    ("*.serverAddress", _string("https?://.+")),
    ("ingress.host", _string(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?")),
    ("ingress.path", _string("/.*", empty=False)),
    ("httpRoute.parentRefs", {"items": {"type": "object", "required": ["name"]}}),
    ("httpRoute.hostnames", _strings()),
    ("networkPolicy.*From", OBJECTS),
    ("monitoring.*.interval", _string(r"([0-9]+(ms|[smhd]))+")),
    ("monitoring.rules.disabled", _strings()),
    ("monitoring.rules.matchers", _string(rf"\s*{_MATCHER}(\s*,\s*{_MATCHER})*\s*")),
]
"""Path pattern -> what it has besides the type of its default; later rules add to earlier ones."""


def schema(values: Json, texts: dict[Path, str]) -> Json:
    """The schema of ``values``, the chart's defaults; ``texts`` are the descriptions."""
    root = _object(values, (), texts)
    properties = root["properties"]
    properties["global"] = {"type": "object", "description": texts["global",]}
    properties["config"] = {**_config(), "description": texts["config",]}
    pool = copy.deepcopy(properties["workerDefaults"])
    pool["properties"] = {"queues": properties["workers"]["properties"]["default"]["properties"]["queues"], **pool["properties"]}
    properties["workers"] = {
        "type": "object",
        "description": texts["workers",],
        # Their names are checked in templates/_validate.tpl: helm says of a name that a schema refuses that it is somewhere else.
        "additionalProperties": {**_without_required(pool), "description": "A pool.", "required": ["queues"]},
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Values of the DTQ chart", **root}


def _node(value: Any, path: Path, texts: dict[Path, str]) -> Json:
    rules = [rule for pattern, rule in RULES if fnmatchcase(".".join(path), pattern)]
    if isinstance(value, dict) and value and not rules:
        node = _object(value, path, texts)
    else:
        node = {"type": _type(value), **({"minimum": 0} if _type(value) in ("integer", "number") else {})}
    for rule in rules:
        if "enum" in rule:
            node.pop("type", None)
        node |= copy.deepcopy(rule)
    return {"description": texts[path], **node} if path in texts else node


def _object(value: Json, path: Path, texts: dict[Path, str]) -> Json:
    """All that has no empty default is required: helm takes a value away that is set to null, and templates would stumble over that."""
    node = _closed(**{name: _node(child, (*path, name), texts) for name, child in value.items()})
    needed = [name for name, child in value.items() if child not in ("", [], {}) and not _may_be_null(child, (*path, name))]
    return {**node, "required": needed} if needed else node


def _may_be_null(value: Any, path: Path) -> bool:
    """What has a schema of its own below it, such as resources: null is nothing of it."""
    return isinstance(value, dict) and any(fnmatchcase(".".join(path), pattern) for pattern, _ in RULES)


def _without_required(node: Json) -> Json:
    """The same for a part of it: what a pool does not set is taken from workerDefaults."""
    properties = {name: _without_required(child) if "properties" in child else child for name, child in node["properties"].items()}
    return {**{key: value for key, value in node.items() if key != "required"}, "properties": properties}


def _type(value: Any) -> str:
    types = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return types[type(value)]


def _config() -> Json:
    """The settings that all services share, as dtq.config has them."""
    fields = Settings.model_json_schema()["properties"]
    keep = ("type", "minimum", "maximum", "exclusiveMinimum", "pattern", "enum", "description")
    known = {name.upper(): {key: field[key] for key in keep if key in field} for name, field in fields.items() if name not in MADE}
    for rule in known.values():
        if "enum" in rule:
            rule.pop("type", None)
    return _closed(**dict(sorted(known.items())))
