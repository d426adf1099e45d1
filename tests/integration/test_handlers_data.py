"""The handler of data_processing, on real files."""

from __future__ import annotations

import gzip
import http.server
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dtq.blobs import BlobStore
from dtq.config import Settings, load_settings
from dtq.errors import Permanent
from dtq.jobs import DataProcessing
from dtq.testing import FakeContext
from dtq_worker.handlers.data_processing import process_data
from dtq_worker.scratch import scratch_folder

ROWS = {"t": {"rows": [{"n": 1, "name": "a"}, {"n": 2, "name": "b"}, {"n": 3, "name": None}]}}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return load_settings(bloburl=f"file://{tmp_path}/blobs", fetchallow="127.0.0.1", datamemory="200MB")


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore.from_url(settings.bloburl)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path: Path) -> Iterator[None]:
    yield
    assert list((tmp_path / "tmp").iterdir()) == []


def run(settings: Settings, sql: str, inputs: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    context = FakeContext(settings)
    result = process_data(DataProcessing.model_validate({"sql": sql, "inputs": inputs or {}, **fields}), context)
    assert context.output_key == result.get("blob")
    return result


def failure(settings: Settings, sql: str, inputs: dict[str, Any] | None = None, **fields: Any) -> str:
    with pytest.raises(Permanent) as caught:
        run(settings, sql, inputs, **fields)
    return str(caught.value)


def read(blobs: BlobStore, key: str, tmp_path: Path) -> list[tuple[Any, ...]]:
    """The rows of a Parquet blob."""
    blobs.download(key, tmp_path / "read.parquet", 10**9)
    with duckdb.connect() as connection:
        return connection.execute(f"FROM '{tmp_path}/read.parquet'").fetchall()


def parquet(path: Path, sql: str) -> bytes:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet)")
    return path.read_bytes()


def test_a_small_result_stands_in_the_job(settings: Settings) -> None:
    assert run(settings, "SELECT name, n * 2 AS twice FROM t WHERE n < 3 ORDER BY n DESC", ROWS) == {
        "columns": ["name", "twice"],
        "types": ["VARCHAR", "BIGINT"],
        "rows": [["b", 4], ["a", 2]],
        "row_count": 2,
    }


@pytest.mark.parametrize(
    "sql",
    [
        "FROM t",
        "TABLE t",
        "(SELECT * FROM t)",
        "WITH x AS (FROM t) FROM x",
        "SELECT * FROM t;",
        "SELECT * FROM t; -- end",
        "SELECT * FROM t -- end",
        "/* begin */ SELECT * FROM t /* end */",
        "SELECT ';ü' AS x, * FROM t ; /* ; */ ; -- ;",
        "SELECT *\nFROM t;;",
        "SUMMARIZE t",
        "VALUES (1), (2), (3)",
    ],
)
@pytest.mark.parametrize("output", [None, {"format": "parquet"}])
def test_every_way_to_write_a_query_is_understood(settings: Settings, sql: str, output: Any) -> None:
    assert run(settings, sql, ROWS, output=output)["row_count"] in {2, 3}


@pytest.mark.parametrize("output", [None, {"format": "parquet"}])
def test_a_pivot_is_a_query_too(settings: Settings, output: Any) -> None:
    assert run(settings, "PIVOT (FROM t WHERE name IS NOT NULL) ON name USING sum(n)", ROWS, output=output)["columns"] == ["a", "b"]


def test_several_inputs_are_joined(settings: Settings, blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put("a.csv", b"id;name\n1;x\n2;y\n")
    blobs.put("b.jsonl", b'{"id":1,"v":[1,2]}\n{"id":2,"v":[]}\n')
    blobs.put("c.parquet", parquet(tmp_path / "c", "SELECT 1 AS id, DATE '2024-02-29' AS day"))
    inputs = {"a": {"blob": "a.csv"}, "b": {"blob": "b.jsonl"}, "c": {"blob": "c.parquet"}, "d": {"rows": [{"id": 1, "z": {"k": True}}]}}
    result = run(settings, "SELECT name, v, day, z FROM a JOIN b USING (id) JOIN c USING (id) JOIN d USING (id)", inputs)
    assert result["rows"] == [["x", [1, 2], "2024-02-29", {"k": True}]]


def test_a_file_is_fetched_by_url(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a b.csv.gz").write_bytes(gzip.compress(b"x,y\n1,2\n"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "web"))

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert run(settings, "FROM t", {"t": {"url": f"{url}/a%20b.csv.gz?x=1"}})["rows"] == [[1, 2]]
        assert "404" in failure(settings, "FROM t", {"t": {"url": f"{url}/none.csv"}})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_blob_name_is_never_a_pattern(settings: Settings, blobs: BlobStore) -> None:
    blobs.put("it's (1)/a,b.csv", b"x\n1\n")
    assert run(settings, "FROM t", {"t": {"blob": "it's (1)/a,b.csv"}})["rows"] == [[1]]


def test_a_million_rows_of_parquet(settings: Settings, blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put("big.parquet", parquet(tmp_path / "big", "SELECT i, i % 100 AS g, random() AS r FROM range(1000000) t(i)"))
    result = run(settings, "SELECT g, count(*) AS c, sum(i) AS s FROM t GROUP BY g ORDER BY g", {"t": {"blob": "big.parquet"}})
    assert result["row_count"] == 100
    assert result["rows"][1][:2] == [1, 10_000]
    assert run(settings, "SELECT * FROM t", {"t": {"blob": "big.parquet"}}, output={})["row_count"] == 1_000_000


@pytest.mark.parametrize("sql", ["SELECT i FROM range(1001) t(i)", "SELECT i, repeat('x', 1000) FROM range(300) t(i)"])
def test_a_large_result_becomes_a_file(settings: Settings, blobs: BlobStore, tmp_path: Path, sql: str) -> None:
    result = run(settings, sql)
    assert "rows" not in result
    assert result["blob"] == "jobs/0193f0c2a1b00000n-default.parquet"
    assert result["bytes"] == blobs.head(result["blob"]).size
    rows = read(blobs, result["blob"], tmp_path)
    assert [row[0] for row in rows] == list(range(result["row_count"]))


@pytest.mark.parametrize(
    ("format_", "content"), [("csv", b"n,name\n1,a\n2,b\n3,\n"), ("json", b'{"n":1,"name":"a"}\n{"n":2,"name":"b"}\n{"n":3,"name":null}\n')]
)
def test_an_output_file_can_be_asked_for(settings: Settings, blobs: BlobStore, format_: str, content: bytes) -> None:
    result = run(settings, "FROM t ORDER BY n", ROWS, output={"format": format_, "blob": f"reports/x.{format_}"})
    assert (result["blob"], result["format"], result["row_count"], result["columns"]) == (f"reports/x.{format_}", format_, 3, ["n", "name"])
    assert blobs.get(result["blob"], 1000) == content


def test_no_rows_are_a_result(settings: Settings, blobs: BlobStore, tmp_path: Path) -> None:
    assert run(settings, "FROM t WHERE n > 9", ROWS)["rows"] == []
    result = run(settings, "FROM t WHERE n > 9", ROWS, output={})
    assert read(blobs, result["blob"], tmp_path) == []


def test_values_that_json_does_not_know_are_written_so_that_it_does(settings: Settings) -> None:
    sql = """SELECT 1.50::DECIMAL(9,2), 170141183460469231731687303715884105727::HUGEINT, 'nan'::DOUBLE, 'inf'::DOUBLE, DATE '2024-02-29',
        TIMESTAMPTZ '2024-02-29 12:00:00+02', INTERVAL 90 MINUTE, 'ab'::BLOB, MAP {1: 'x'}, [DATE '2024-01-01'], '{"a": [1]}'::JSON, NULL,
        DATE '20000-01-01', 'infinity'::TIMESTAMP"""
    assert run(settings, sql)["rows"][0] == [
        1.5,
        "170141183460469231731687303715884105727",
        None,
        None,
        "2024-02-29",
        "2024-02-29T10:00:00+00:00",
        5400.0,
        "YWI=",
        {"1": "x"},
        ["2024-01-01"],
        {"a": [1]},
        None,
        "20000-01-01",
        "9999-12-31T23:59:59.999999",
    ]


FORBIDDEN_READS = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/hostname')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('/tmp/*.parquet')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM read_duckdb('/tmp/x.db')",
    "SELECT * FROM read_csv('http://169.254.169.254/latest')",
    "SELECT * FROM 'https://example.com/a.parquet'",
    "SELECT * FROM read_parquet('s3://bucket/a.parquet')",
    "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM read_text(''/etc/passwd'')'))",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) FROM x",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "PIVOT read_csv('/etc/passwd') ON column0",
    "SELECT getenv('HOME')",
    "SELECT * FROM duckdb_extensions()",
    "SELECT * FROM settings",
    "SELECT * FROM monkeypatch",
    "SELECT * FROM sqlite_scan('/tmp/x', 'y')",
    "SELECT * FROM postgres_scan('host=127.0.0.1', 'public', 'x')",
]


@pytest.mark.parametrize("sql", FORBIDDEN_READS)
@pytest.mark.parametrize("output", [None, {"format": "csv"}])
def test_a_query_reads_its_inputs_and_nothing_else(settings: Settings, sql: str, output: Any) -> None:
    message = failure(settings, sql, ROWS, output=output)
    assert message
    assert "root:" not in message


@pytest.mark.parametrize(
    "sql",
    [
        "COPY t TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "COPY t FROM '/etc/passwd'",
        "EXPORT DATABASE '/tmp/x'",
        "IMPORT DATABASE '/tmp/x'",
        "INSTALL httpfs",
        "FORCE INSTALL httpfs",
        "LOAD httpfs",
        "UPDATE EXTENSIONS",
        "ATTACH '/tmp/x.db'",
        "ATTACH ':memory:' AS x",
        "DETACH memory",
        "USE memory",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
        "RESET allowed_paths",
        "SET GLOBAL lock_configuration = false",
        "PRAGMA memory_limit = '100GB'",
        "PRAGMA database_list",
        "PRAGMA enable_profiling",
        "CALL enable_logging()",
        "CALL pragma_version()",
        "CREATE SECRET (TYPE s3)",
        "CREATE TABLE x AS SELECT 1",
        "CREATE MACRO f(x) AS x",
        "CREATE VIEW v AS SELECT 1",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET n = 1",
        "DELETE FROM t",
        "DROP VIEW t",
        "ALTER VIEW t RENAME TO u",
        "VACUUM",
        "CHECKPOINT",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY t TO '/tmp/x'",
        "SELECT 1) TO '/tmp/x' (FORMAT csv); --",
        "-- nothing",
        ";",
    ],
)
@pytest.mark.parametrize("output", [None, {"format": "csv"}])
def test_only_one_select_is_let_through(settings: Settings, sql: str, output: Any) -> None:
    message = failure(settings, sql, ROWS, output=output)
    assert "SELECT" in message or "Parser Error" in message or "configuration" in message


def test_a_proxy_password_of_the_environment_cannot_be_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:hunter2@proxy:3128")
    rows = run(settings, "SELECT value FROM duckdb_settings() WHERE value LIKE '%hunter2%'")["rows"]
    assert rows == []


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT x FROM t", '"x" not found'),
        ("SELECT * FROM u", "u does not exist"),
        ("SELECT no_such(1)", "no_such does not exist"),
        ("SELECT name::INT FROM t", "Could not convert"),
        ("SELECT error('boom')", "boom"),
        ("SELECT n FROM t GROUP BY name", "GROUP BY"),
    ],
)
@pytest.mark.parametrize("output", [None, {"format": "csv"}])
def test_a_wrong_query_fails_with_the_words_of_duckdb(settings: Settings, sql: str, words: str, output: Any) -> None:
    message = failure(settings, sql, ROWS, output=output)
    assert words in message
    assert "dtq_result" not in message


@pytest.mark.parametrize("output", [None, {"format": "csv"}])
def test_an_error_tells_the_line_of_the_query(settings: Settings, output: Any) -> None:
    assert "LINE 2:   name::INT" in failure(settings, "SELECT\n  name::INT\nFROM t", ROWS, output=output)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"", "0 bytes"),
        ("a.csv", b"a,b\n1,2\n3,4,5\n6\n", "differ in length"),
        ("a.csv", b"a,b\n" + b"1,2\n" * 30_000 + b"3,4,5\n", "Expected Number of Columns: 2 Found: 3"),
        ("a.csv", "a,b\nü,é\n".encode("latin-1"), "encoding"),
        ("a.csv", "a,b\nü,é\n".encode("utf-16"), "encoding"),
        ("a.csv", bytes(range(256)) * 50, "input 't'"),
        ("a.csv.gz", b"a,b\n1,2\n", "GZIP"),
        ("a.csv.gz", gzip.compress(b"a,b\n" * 10_000, mtime=0)[:-30], "input"),
        ("a.json", b"", "0 bytes"),
        ("a.json", b"<html>", "Malformed JSON"),
        ("a.json", b'[{"a":1},{"a"', "Malformed JSON"),
        ("a.json", b'{"a":1}\n{"a":', "Malformed JSON"),
        ("a.parquet", b"", "0 bytes"),
        ("a.parquet", b"no", "too small"),
        ("a.parquet", b"PAR1" + b"x" * 100 + b"PAR1", "input 't'"),
        ("a.parquet", b"a,b\n1,2\n" * 100, "input 't'"),
    ],
)
def test_a_damaged_input_is_told_by_its_name(settings: Settings, blobs: BlobStore, name: str, data: bytes, words: str) -> None:
    blobs.put(name, data)
    message = failure(settings, "SELECT count(*), max(COLUMNS(*)::VARCHAR) FROM t", {"t": {"blob": name}})
    assert words in message
    assert "/tmp/" not in message


def test_a_truncated_parquet_file_is_permanent(settings: Settings, blobs: BlobStore, tmp_path: Path) -> None:
    data = parquet(tmp_path / "whole", "SELECT i, md5(i::VARCHAR) AS h FROM range(10000) t(i)")
    for part in (0.1, 0.5, 0.99):
        blobs.put("cut.parquet", data[: int(len(data) * part)])
        assert "input 't'" in failure(settings, "SELECT max(h) FROM t", {"t": {"blob": "cut.parquet"}})


def test_a_csv_with_a_header_alone_has_no_rows(settings: Settings, blobs: BlobStore) -> None:
    blobs.put("a.csv", b"a,b\n")
    assert run(settings, "FROM t", {"t": {"blob": "a.csv"}}) == {
        "columns": ["a", "b"],
        "types": ["VARCHAR", "VARCHAR"],
        "rows": [],
        "row_count": 0,
    }


def test_csv_options_are_honoured(settings: Settings, blobs: BlobStore) -> None:
    blobs.put("a.csv", "ü|2\né|3\n".encode("latin-1"))
    table = {"blob": "a.csv", "delimiter": "|", "header": False, "encoding": "latin-1"}
    assert run(settings, "FROM t", {"t": table})["rows"] == [["ü", 2], ["é", 3]]
    blobs.put("a.csv", "x'y\n1'2\n".encode("utf-16"))
    table = {"blob": "a.csv", "delimiter": "'", "header": True, "encoding": "utf-16"}
    assert run(settings, "FROM t", {"t": table})["columns"] == ["x", "y"]


def test_an_input_may_have_the_name_of_a_keyword(settings: Settings) -> None:
    assert run(settings, 'SELECT * FROM "order"', {"order": ROWS["t"]})["row_count"] == 3


def test_a_missing_blob_is_told(settings: Settings) -> None:
    assert failure(settings, "FROM t", {"t": {"blob": "none.csv"}}) == "there is no blob 'none.csv'"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT repeat('x', 4000000000)",
        "SELECT list(i) FROM range(1000000000) t(i)",
        "SELECT string_agg(repeat('x', 1000), '') FROM range(1000000)",
    ],
)
def test_a_query_that_needs_too_much_memory_fails_and_the_process_lives(settings: Settings, sql: str) -> None:
    assert "DATAMEMORY" in failure(settings, sql)
    assert run(settings, "SELECT 1")["rows"] == [[1]]


def test_a_query_can_spill_but_not_without_bounds(settings: Settings) -> None:
    tight = settings.model_copy(update={"datamemory": "40MB"})
    assert run(tight, "SELECT count(*) FROM (SELECT DISTINCT i, md5(i::VARCHAR) FROM range(700000) t(i))")["rows"] == [[700_000]]
    assert "DATAMEMORY" in failure(
        tight, "SELECT i, md5(i::VARCHAR) || md5((i + 1)::VARCHAR) AS h FROM range(6000000) t(i) ORDER BY h", output={}
    )


def _endless(settings: Settings) -> None:
    run(settings, "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i FROM r) SELECT count(*) FROM r")


def test_an_endless_query_can_be_killed_and_its_folder_is_swept_later(settings: Settings, tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_endless, args=(settings,))
    process.start()
    deadline = time.monotonic() + 60
    while not list((tmp_path / "tmp").iterdir()) and time.monotonic() < deadline:
        process.join(0.05)
    process.kill()
    process.join()
    assert process.exitcode == -9
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    with scratch_folder() as folder:
        assert list((tmp_path / "tmp").iterdir()) == [folder]
