"""The command ``dtq``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dtq import __version__
from dtq.apikeys import find_key, parse_keys
from dtq.cli import main
from dtq.config import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


Captured = pytest.CaptureFixture[str]


def shown(capsys: Captured) -> dict[str, dict[str, str]]:
    assert main(["config", "--format", "json"]) == 0
    return {row["variable"]: row for row in json.loads(capsys.readouterr().out)}


def test_config_shows_every_setting(capsys: Captured) -> None:
    table = shown(capsys)
    assert list(table) == [name.upper() for name in Settings.model_fields]
    assert table["WORKERTIMEOUT"]["default"] == "10"
    assert table["ALLOWANONYMOUS"]["default"] == "false"


def test_config_shows_what_differs_from_the_default(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERCOUNT", "3")
    assert main(["config"]) == 0
    out = capsys.readouterr().out
    assert "WORKERCOUNT=3   (default: 10)\n" in out
    assert "MAXRETRIES=5\n" in out


def test_config_as_markdown_is_a_table_of_defaults(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERCOUNT", "3")
    assert main(["config", "--format", "markdown"]) == 0
    assert "| `WORKERCOUNT` | `10` | Jobs run at once by one worker process. |" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [
        ("SMTPPASSWORD", "sesame", "***"),
        ("DATABASEURL", "postgresql://dtq:sesame@db:5432/dtq", "postgresql://dtq:***@db:5432/dtq"),
        ("DATABASEURL", "postgresql://db/dtq?user=dtq&password=sesame", "postgresql://db/dtq?user=dtq&password=***"),
        ("REDISADDR", "rediss://:ses:a@me@redis:6379/0", "rediss://:***@redis:6379/0"),
    ],
)
def test_config_masks_secrets(capsys: Captured, monkeypatch: pytest.MonkeyPatch, name: str, value: str, masked: str) -> None:
    monkeypatch.setenv(name, value)
    assert shown(capsys)[name]["value"] == masked


def test_wrong_settings_end_with_a_line_each_and_code_2(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERCOUNT", "ten")
    monkeypatch.setenv("APIADDR", "here")
    assert main(["config"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(line.partition("=")[0] for line in err.splitlines()) == ["dtq: APIADDR", "dtq: WORKERCOUNT"]


def test_config_loads_no_driver() -> None:
    heavy = "{'redis', 'psycopg', 'sqlalchemy', 'alembic', 'fastapi', 'httpx', 'obstore'}"
    program = f"import sys; from dtq.cli import main; main(['config']); sys.exit(str({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_apikey_prints_the_line_that_lets_its_key_in(capsys: Captured) -> None:
    assert main(["apikey", "--name", "ci", "--role", "read"]) == 0
    out, err = capsys.readouterr()
    secret = next(word for word in err.split() if word.startswith("dtq_"))
    assert secret not in out
    key = find_key(parse_keys(out), secret)
    assert key is not None
    assert (key.name, key.role) == ("ci", "read")


def test_migrate_names_a_database_that_is_away_in_one_line(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASEURL", "postgresql://127.0.0.1:1/dtq")
    assert main(["migrate"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("dtq: PostgreSQL does not answer")
    assert len(err.splitlines()) == 1


def test_version(capsys: Captured) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"dtq {__version__}\n"


def test_versions_of_all_distributions_are_the_same() -> None:
    root = Path(__file__).parents[2]
    manifests = [root / "shared/pyproject.toml", *root.glob("services/*/pyproject.toml")]
    assert [path for path in manifests if f'version = "{__version__}"' not in path.read_text()] == []


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["apikey", "--role", "king"], ["apikey", "--name", "two words"]])
def test_wrong_arguments(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: dtq" in capsys.readouterr().err
