"""The job type ``data_processing``: run one SQL query over named inputs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, StringConstraints, field_validator

from dtq.blobkey import BlobKey
from dtq.jobs.fields import Payload, Url, exactly_one
from dtq.registry import JobType

__all__ = ["DATA_PROCESSING", "DataFormat", "DataInput", "DataOutput", "DataProcessing", "guess_format"]

DataFormat = Literal["csv", "json", "parquet"]

_SUFFIXES: dict[str, DataFormat] = {
    "csv": "csv",
    "tsv": "csv",
    "txt": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
    "parquet": "parquet",
    "pq": "parquet",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)


def guess_format(name: str) -> DataFormat | None:
    """The format that a file's name tells, also before ``.gz``; None if it tells none."""
    parts = name.lower().rpartition("/")[2].removesuffix(".gz").rpartition(".")
    return _SUFFIXES.get(parts[2]) if parts[1] else None


class DataInput(Payload):
    """A table that the query can read: exactly one of ``blob``, ``url`` and ``rows``."""

    blob: BlobKey | None = Field(None, description="Key in the blob store.")
    url: Url | None = Field(None, description="Fetched by the worker.")
    rows: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = Field(None, description="Rows as objects: column to value.")
    format: DataFormat | None = Field(None, description="Guessed from the name when left out. json is an array or one object a line.")
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] | None = Field(None, description="CSV: guessed when left out.")
    header: bool | None = Field(None, description="CSV: whether the first line names the columns; guessed when left out.")
    encoding: Literal["utf-8", "latin-1", "utf-16"] | None = Field(None, description="CSV: utf-8 when left out.")

    @property
    def name(self) -> str:
        """The file's name, or empty for inline rows."""
        return self.blob or unquote(urlsplit(self.url or "").path)

    @property
    def kind(self) -> DataFormat:
        """The format given or guessed; inline rows are json."""
        return "json" if self.rows is not None else self.format or guess_format(self.name) or "csv"

    def model_post_init(self, context: object, /) -> None:
        """Check that there is one source and one format, and options that fit it."""
        source = exactly_one(blob=self.blob, url=self.url, rows=self.rows)
        if source == "rows" and self.format is not None:
            raise ValueError("rows have no format; leave it out")
        if source != "rows" and self.format is None and guess_format(self.name) is None:
            raise ValueError(f"the name {self.name[-80:]!r} tells no format; give format: csv, json or parquet")
        options = [name for name in ("delimiter", "header", "encoding") if getattr(self, name) is not None]
        if options and self.kind != "csv":
            raise ValueError(f"{' and '.join(options)} can only be given for csv")


class DataOutput(Payload):
    """A file for the result."""

    format: DataFormat = "parquet"
    blob: BlobKey | None = Field(None, description="Blob key of the result; jobs/ID.EXTENSION when left out.")


class DataProcessing(Payload):
    """One query in DuckDB's SQL over named inputs; it can read nothing else."""

    sql: Annotated[str, StringConstraints(min_length=1, max_length=100_000)] = Field(description="One SELECT.")
    inputs: dict[str, DataInput] = Field(default_factory=dict, max_length=32, description="Tables, by the name that the query uses.")
    output: DataOutput | None = Field(None, description="Write a file; when left out, small results stand in the job's result.")

    @field_validator("sql")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip() or "\0" in value:
            raise ValueError("expected one SELECT statement")
        return value

    @field_validator("inputs")
    @classmethod
    def _are_tables(cls, value: dict[str, DataInput]) -> dict[str, DataInput]:
        bad = [name for name in value if not _NAME.fullmatch(name)]
        if bad:
            raise ValueError(f"the table name {bad[0][:80]!r} is not made of letters, digits and '_', or begins with a digit")
        if len({name.lower() for name in value}) < len(value):
            raise ValueError("two table names differ only in case, which SQL does not tell apart")
        return value


DATA_PROCESSING = JobType(
    name="data_processing",
    payload=DataProcessing,
    summary="Run SQL (DuckDB) over CSV, JSON and Parquet files or inline rows.",
    timeout=120,
    examples=(
        {
            "sql": "SELECT city, sum(amount) AS total FROM sales GROUP BY city ORDER BY total DESC",
            "inputs": {"sales": {"rows": [{"city": "Oslo", "amount": 3}, {"city": "Rome", "amount": 4}, {"city": "Oslo", "amount": 2}]}},
        },
        {
            "sql": "SELECT * FROM events WHERE level = 'error'",
            "inputs": {"events": {"url": "https://example.com/events.parquet"}},
            "output": {"format": "csv", "blob": "reports/errors.csv"},
        },
    ),
)
