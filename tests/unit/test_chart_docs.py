"""The chart's generated files, and its agreement with the program."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chart_kit import CHART, EVERYTHING, Json, containers, lint, refusal, render

from dtq import __version__
from dtq.config import Settings
from dtq_operator.config import OperatorSettings

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
ELSEWHERE = {"VALKEYPASSWORD", "POSTGRESQLPASSWORD", "REDISCLI_AUTH", "VALKEYCLI_AUTH", "DATA", "URL", "QUEUE", "KEY", "POD"}
"""Variables of the containers that are no settings: of the servers' start scripts, of `helm test`, and one that the values name."""


def test_readme_and_schema_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "tools/chart_docs.py"), "--check"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_helm_lint_has_nothing_to_say(values: Json) -> None:
    code, words = lint(values)
    assert code == 0, words
    assert "[WARNING]" not in words


def test_the_versions_are_the_program_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def objects(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from objects(child, f"{path}.{name}")


def test_every_object_is_closed_but_those_of_others() -> None:
    """What Kubernetes defines, such as an affinity, is left to its own schema."""
    open_ones = {path for path, schema in objects(SCHEMA) if schema.get("type") == "object" and "additionalProperties" not in schema}
    assert {path for path in open_ones if not path.endswith(".affinity")} == {".global"}


def test_every_value_has_a_description() -> None:
    """But maps whose values have one each, and what is named as in Kubernetes: resources and the like are described as a whole."""
    described = ("resources", "podSecurity", "behavior")
    missing = {
        path
        for path, schema in objects(SCHEMA)
        if "description" not in schema and "properties" not in schema and not any(f".{name}." in path for name in described)
    }
    assert missing == set()


def test_config_and_other_values_are_all_settings() -> None:
    known = {name.upper() for name in Settings.model_fields}
    taken = set(SCHEMA["properties"]["config"]["properties"])
    made = {entry["name"] for _, container in containers(render(EVERYTHING)) for entry in container["env"]} - ELSEWHERE
    assert known - taken - made == {"ALLOWANONYMOUS", "DATADIR", "WORKERS"}  # the first one without keys, the others are for `dtq up`
    assert made - {name.upper() for name in OperatorSettings.model_fields} - known == set()


def test_variables_that_the_chart_makes_can_be_set_nowhere_else() -> None:
    """Neither in `config`, nor in extraEnv, where they would stand twice. The lists of both are kept by hand."""
    documents = [*render(EVERYTHING), *render({"auth": {"anonymous": True}})]
    made = {entry["name"] for name, container in containers(documents) if name.startswith("Deployment/") for entry in container["env"]}
    free = {*EVERYTHING["config"], *(entry["name"] for entry in EVERYTHING["submitter"]["extraEnv"])}
    assert made >= free
    assert set(SCHEMA["properties"]["config"]["properties"]) & (made - free) == set()
    said = refusal({"scheduler": {"extraEnv": [{"name": name, "value": "x"} for name in sorted(made)]}})
    assert {name for name in made if f"scheduler.extraEnv sets {name}, which the chart sets" in said} == made - free
