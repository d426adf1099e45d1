"""docs/kubernetes.md has every field, reason, event and value that there is, and what it shows is accepted."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_kit import CHART, containers, render

from dtq.jobs import BUILTIN
from dtq_operator.accept import Accepted, Acceptor

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "kubernetes.md"
PAGE = FILE.read_text("utf-8")
OPERATOR = ROOT / "services" / "operator" / "dtq_operator"
SCHEDULES = ROOT / "shared" / "dtq" / "schedule"
SCHEMA = yaml.safe_load((CHART / "crds" / "scheduledjobs.yaml").read_text("utf-8"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))

FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SHELL = [body for language, body in FENCE.findall(PAGE) if language == "sh"]
YAML = [yaml.safe_load(body) for language, body in FENCE.findall(PAGE) if language == "yaml"]
RESOURCES = [block for block in YAML if "apiVersion" in block]
SHOWN_VALUES = [block for block in YAML if "apiVersion" not in block]

CONDITIONS = {"Accepted", "Synced", "Ready"}


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return re.split(r"^#+ ", PAGE.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    return [[cell.strip() for cell in re.split(r" \|(?= )", line[1:-1])] for line in lines[1:]]


def leaves(schema: dict[str, Any], before: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, schema) of each field that has no named fields below it."""
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from leaves(inner, f"{before}{name}.")
        else:
            yield before + name, inner


def _number(quantity: str) -> float:
    """Of CPUs or bytes."""
    for unit, factor in {"m": 0.001, "Mi": 2**20, "Gi": 2**30}.items():
        if quantity.endswith(unit):
            return float(quantity.removesuffix(unit)) * factor
    return float(quantity)


def test_the_size_of_a_default_installation_is_that_of_its_pods() -> None:
    documents = [document for document in render() if document["kind"] in ("Deployment", "StatefulSet")]
    cpu = memory = 0.0
    for document in documents:
        for container in document["spec"]["template"]["spec"]["containers"]:
            requests = container["resources"]["requests"]
            cpu += document["spec"]["replicas"] * _number(requests["cpu"])
            memory += document["spec"]["replicas"] * _number(requests["memory"])
    claims = [document["spec"] for document in render() if document["kind"] == "PersistentVolumeClaim"]
    claims += [claim["spec"] for document in documents for claim in document["spec"].get("volumeClaimTemplates", [])]
    sizes = [claim["resources"]["requests"]["storage"] for claim in claims]
    assert sizes == 3 * ["8Gi"]
    assert f"asks for {cpu * 1000:.0f}m CPU and {memory / 2**30:g} GiB of memory, and for three volumes of 8 GiB" in PAGE


def words(path: Path) -> set[str]:
    """Every constant of a module that could be a reason; names that it exports are none."""
    found = set()
    for statement in ast.parse(path.read_text("utf-8")).body:
        if "__all__" not in ast.unparse(statement).split(" = ")[0]:
            found |= {node.value for node in ast.walk(statement) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {word for word in found if re.fullmatch(r"([A-Z][a-z]+)+", word)} - CONDITIONS - {"True", "False"}


def told(path: Path) -> set[str]:
    """Reasons of the events that a module makes."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Event" and call.args]
    return {str(call.args[0].value) for call in made if isinstance(call.args[0], ast.Constant)}


REFUSALS = words(OPERATOR / "accept.py")


def test_every_field_of_the_spec_is_listed_with_its_default_and_limits() -> None:
    table = {row[0].strip("`"): row for row in rows(section("Fields of spec"))}
    spec = dict(leaves(SCHEMA["properties"]["spec"]))
    assert set(table) == set(spec)
    for path, field in spec.items():
        _, default, allowed, _ = table[path]
        if "default" in field:
            assert default == f"`{str(field['default']).lower() if isinstance(field['default'], bool) else field['default']}`", path
        for choice in field.get("enum", []):
            assert f"`{choice}`" in allowed, path
        if "maximum" in field and field["maximum"] < 2**53:
            assert f"{field['minimum']} to {field['maximum']:,}" in allowed, path
        if "maxLength" in field and path != "timeZone":
            assert f"{field['maxLength']:,}" in allowed, path


def test_every_field_of_the_status_is_listed() -> None:
    status = SCHEMA["properties"]["status"]["properties"]
    text = section("Status")
    assert {row[0].strip("`") for row in rows(text)} == set(status)
    for field in status["active"]["items"]["properties"]:
        assert f"`{field}`" in text


def test_every_reason_of_a_condition_is_listed() -> None:
    table = rows(section("Conditions"))
    assert {row[0] for row in table} == CONDITIONS
    assert {row[2].strip("`") for row in table} == words(OPERATOR / "conditions.py") | REFUSALS
    assert {row[2].strip("`") for row in table if row[:2] == ["Accepted", "False"]} == REFUSALS


def test_every_event_is_listed() -> None:
    events = set().union(*(told(path) for path in SCHEDULES.glob("*.py")))
    assert "MissSchedule" in events
    listed = {name for row in rows(section("Events")) for name in re.findall(r"`(\w+)`", row[0])}
    assert listed == events | REFUSALS


def test_every_value_of_the_chart_is_listed() -> None:
    listed = {name for row in rows(section("Values")) for name in re.findall(r"`(\w+)`", row[0])}
    assert listed == set(VALUES)


def test_every_value_named_exists() -> None:
    pool = VALUES["workerDefaults"]
    named = set(re.findall(rf"`((?:{'|'.join(VALUES)})(?:\.\w+)+)", PAGE))
    assert len(named) > 30
    for path in named:
        first, *rest = path.split(".")
        here = {**pool, "queues": []} if first == "workers" else VALUES[first]
        for name in rest[1:] if first == "workers" else rest:
            if first == "config":
                break
            assert name in here, f"{path} is no value of the chart"
            here = here[name]


@pytest.mark.parametrize("values", SHOWN_VALUES, ids=range(len(SHOWN_VALUES)))
def test_the_chart_takes_the_values_shown(values: dict[str, Any]) -> None:
    assert render(values)


def test_a_certificate_reaches_every_container_that_opens_connections() -> None:
    (values,) = [block for block in SHOWN_VALUES if "/etc/ca" in str(block)]
    ours = {name: container for name, container in containers(render(values)) if name.startswith("Deployment/")}
    assert {"Deployment/r-dtq-submitter/migrate", "Deployment/r-dtq-worker-default/worker"} <= set(ours)
    for name, container in ours.items():
        assert "/etc/ca" in [mount["mountPath"] for mount in container["volumeMounts"]], name


def test_the_operator_accepts_the_resources_shown() -> None:
    acceptor = Acceptor({known.name: known for known in BUILTIN})
    examples = [resource for path in (ROOT / "examples").glob("*.yaml") for resource in yaml.safe_load_all(path.read_text("utf-8"))]
    assert RESOURCES
    for resource in [*RESOURCES, *examples]:
        assert isinstance(acceptor.accept(resource["spec"]), Accepted), resource["metadata"]["name"]


def test_the_quickstart_has_at_most_ten_lines() -> None:
    (block,) = [body for _, body in FENCE.findall(section("Quickstart"))]
    assert len(block.splitlines()) <= 10


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")
@pytest.mark.parametrize("block", SHELL, ids=range(len(SHELL)))
def test_commands_can_be_read_by_a_shell(block: str) -> None:
    done = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_named_in_commands_exist() -> None:
    named = {word for block in SHELL for word in re.findall(r"(?<![\w/.])(?:charts|examples)/[\w./-]+", block)}
    assert {"charts/dtq", "examples/every-minute.yaml"} <= named
    for path in named:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^):]+)\)", PAGE))))
def test_links_lead_to_a_file_and_a_heading_in_it(target: str) -> None:
    path, _, anchor = target.partition("#")
    file = FILE.parent / path if path else FILE
    assert file.exists()
    if anchor:
        titles = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}
