"""Handler of ``data_processing``. It runs in a process of its own, which is killed when a query does not end in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dtq.blobkey import default_key
from dtq.config import Settings
from dtq.errors import Permanent
from dtq.jobs.data_processing import DataFormat, DataInput, DataProcessing
from dtq.registry import JobContext
from dtq_worker.fetch import fetch_to_file
from dtq_worker.handlers.data_session import Session, open_session
from dtq_worker.handlers.data_values import json_rows
from dtq_worker.handlers.inputs import blob_errors, store_blob, store_of
from dtq_worker.netrules import rules_of
from dtq_worker.scratch import scratch_folder

__all__ = ["process_data"]

MAX_INLINE_ROWS = 1000
MAX_INLINE_BYTES = 256 * 1024
"""Of a result that stands in the job itself, as JSON."""

RESULT = "dtq_result"
"""Table that holds a result until its size is known."""

_COPY = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": "FORMAT csv, HEADER true",
    "json": "FORMAT json",
}


def process_data(payload: DataProcessing, ctx: JobContext) -> dict[str, Any]:
    """Run a query.

    Returns:
        A small result: ``{columns: [name], types: [SQL type], rows: [[value]], row_count}``. A file:
        ``{columns, types, row_count, blob, format, bytes}``.
    """
    with scratch_folder() as folder:
        files = {name: _materialise(folder, index, table, ctx.settings) for index, (name, table) in enumerate(payload.inputs.items())}
        ctx.progress(0.2, "inputs are here")
        output = folder / "result"
        with open_session(folder, [*files.values(), output], ctx.settings.datamemory) as session:
            for name, path in files.items():
                session.add_input(name, path, payload.inputs[name])
            session.lock()
            return _query(session, payload, output, ctx)


def _materialise(folder: Path, index: int, table: DataInput, settings: Settings) -> Path:
    """The input as a file with a name of our own: a blob's name could hold what DuckDB takes for a pattern."""
    path = folder / f"{index}.{table.kind}{'.gz' if table.name.endswith('.gz') else ''}"
    if table.rows is not None:
        path.write_bytes(msgspec.json.encode(table.rows))
    elif table.url is not None:
        fetch_to_file(table.url, path, rules_of(settings))
    else:
        _link_blob(table.blob or "", path, settings)
    return path


def _link_blob(key: str, path: Path, settings: Settings) -> None:
    """A local blob is read where it lies, any other is copied."""
    with blob_errors():
        local = store_of(settings).local_path(key)
        if local is not None:
            path.symlink_to(local)
        else:
            store_of(settings).download(key, path, settings.fetchmaxbytes)


def _query(session: Session, payload: DataProcessing, output: Path, ctx: JobContext) -> dict[str, Any]:
    text, bound = session.only_select(payload.sql)
    wanted: DataFormat = payload.output.format if payload.output else "parquet"
    if payload.output and bound:  # known to become a file: it is written while the query runs
        columns = session.run_user("DESCRIBE", text)
        count = int(session.run_user("COPY (", text, f") {_target(output, wanted)}")[0][0])
    else:
        session.run_user(f"CREATE TEMP TABLE {RESULT} AS", text)
        columns = session.run(f"DESCRIBE {RESULT}")
        count = int(session.run(f"FROM {RESULT} SELECT count(*)")[0][0])
        small = None if payload.output else _inline(session, count, [row[1] for row in columns])
        if small is not None:
            return {**_described(columns, count), "rows": small}
        session.run(f"COPY {RESULT} {_target(output, wanted)}")
    ctx.progress(0.8, "query done")
    key = payload.output.blob if payload.output and payload.output.blob else default_key(ctx.id, wanted)
    info = store_blob(key, output, ctx.settings)
    ctx.output(key)
    return {**_described(columns, count), "blob": key, "format": wanted, "bytes": info.size}


def _described(columns: list[tuple[Any, ...]], count: int) -> dict[str, Any]:
    return {"columns": [row[0] for row in columns], "types": [row[1] for row in columns], "row_count": count}


def _target(output: Path, wanted: str) -> str:
    return f"TO '{output}' ({_COPY[wanted]}, USE_TMP_FILE false)"


def _inline(session: Session, count: int, types: list[str]) -> list[list[Any]] | None:
    """The rows of the result table, or None when they are too many or too large."""
    if count > MAX_INLINE_ROWS:
        return None
    rows: list[list[Any]] = []
    size = 0
    for batch in session.batches(f"FROM {RESULT}", 20):
        values = json_rows(batch, types)
        try:
            size += len(msgspec.json.encode(values))
        except (ValueError, UnicodeEncodeError) as error:
            raise Permanent(f"the result cannot be written as JSON: {error}; give an output file") from None
        if size > MAX_INLINE_BYTES:
            return None
        rows += values
    return rows
