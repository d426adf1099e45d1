"""A DuckDB session that can read its inputs and nothing else.

The locks, from the outside in: one statement that yields rows is let through; ``enable_external_access=false`` with
``allowed_paths`` closes files, the network, extensions, ATTACH and secrets; ``lock_configuration`` keeps SQL from opening
them again; Python objects cannot be scanned; the process has no more memory than DATAMEMORY and some room around it.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from dtq.errors import Permanent
from dtq.jobs.data_processing import DataInput

__all__ = ["Session", "memory_bytes", "open_session"]

MAX_THREADS = 2
TEMP_FACTOR = 8
"""What a query may write to its temporary folder, as a multiple of its memory."""

ROOM = 1024**3
"""Bytes of address space beside DuckDB's own memory: thread stacks, allocator arenas, rows on their way to Python."""

MAX_MESSAGE = 2000
_DELIMITERS = ",;\t|"
_HINTS = re.compile(r"\n\s*(?:Possible (?:solutions|fixes|Solution)|See also|This limit was set by|The search space used was)")
"""What follows in DuckDB's messages tells how to change settings that are locked here."""

_UNITS = {"KB": 1000, "MB": 1000**2, "GB": 1000**3}


def memory_bytes(text: str) -> int:
    """DATAMEMORY in bytes."""
    return int(text[:-2]) * _UNITS[text[-2:]]


class Session:
    """One locked connection. ``folder`` holds the inputs' files; every error of a query is a :class:`Permanent`."""

    def __init__(self, connection: Any, folder: Path) -> None:
        """Use :func:`open_session`."""
        self._connection = connection
        self._folder = folder
        self._names: dict[str, str] = {}

    def add_input(self, name: str, path: Path, table: DataInput) -> None:
        """Make a file readable as table ``name``.

        Raises:
            Permanent: the file is empty or not of its format.
        """
        self._names[str(path)] = name
        if path.stat().st_size == 0:
            raise Permanent(f"input {name!r} is empty (0 bytes)")
        self._create_view(name, path, table, table.delimiter)
        if table.kind == "csv" and table.delimiter is None:
            self._insist_on_delimiter(name, path, table)

    def _create_view(self, name: str, path: Path, table: DataInput, delimiter: str | None) -> None:
        self.run(f'CREATE OR REPLACE VIEW "{name}" AS FROM {_reader(path, table, delimiter)}', f"input {name!r}: ")

    def _insist_on_delimiter(self, name: str, path: Path, table: DataInput) -> None:
        """Rows of differing length make DuckDB guess one column that holds whole lines; with the delimiter told, it says what is wrong."""
        columns = [row[0] for row in self.run(f'DESCRIBE "{name}"')]
        found = [char for char in _DELIMITERS if len(columns) == 1 and char in columns[0]]
        if found:
            self._create_view(name, path, table, found[0])

    def lock(self) -> None:
        """No setting can be changed from here on."""
        self._connection.execute("SET lock_configuration = true")

    def run(self, sql: str, prefix: str = "") -> list[tuple[Any, ...]]:
        """Execute a statement and return its rows.

        Raises:
            Permanent: with DuckDB's words, after ``prefix``.
        """
        with self._errors(prefix):
            rows: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
            return rows

    def run_user(self, before: str, text: str, after: str = "") -> list[tuple[Any, ...]]:
        """Execute the user's ``text`` between words of ours; errors tell lines of the text alone."""
        try:
            return self.run(f"{before}\n{text}{after}")
        except Permanent as error:
            raise Permanent(re.sub(r"^LINE (\d+):", lambda match: f"LINE {int(match[1]) - 1}:", str(error), flags=re.MULTILINE)) from None

    def batches(self, sql: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """Execute a statement and yield its rows, ``size`` at a time."""
        with self._errors():
            cursor = self._connection.execute(sql)
            while rows := cursor.fetchmany(size):
                yield rows

    def only_select(self, sql: str) -> tuple[str, bool]:
        """The one statement in ``sql``, without its end mark, and whether it was bound as it stands.

        Binding tells wrong names and refused files before anything runs, with positions in the user's own text. A PIVOT
        cannot be bound so: its columns depend on the data.

        Raises:
            Permanent: not SQL, not one statement, or not one that yields rows.
        """
        try:
            statements = self._connection.extract_statements(sql)
            kinds = [str(statement.type).rpartition(".")[2] for statement in statements]
        except duckdb.Error as error:
            raise Permanent(self._words(error)) from None
        except ValueError:  # a kind of statement that the client library has no name for
            raise Permanent("only SELECT (also WITH, FROM, VALUES, PIVOT) is allowed") from None
        if len(statements) != 1:
            raise Permanent(f"sql holds {len(statements)} statements; give exactly one SELECT")
        kind = kinds[0]
        if kind not in {"SELECT", "MULTI"}:
            raise Permanent(f"sql is of the kind {kind.replace('_', ' ')}; only SELECT (also WITH, FROM, VALUES, PIVOT) is allowed")
        text = _without_end(str(statements[0].query))
        if kind == "SELECT":
            with self._errors():
                self._connection.sql(text)
        return text, kind == "SELECT"

    @contextlib.contextmanager
    def _errors(self, prefix: str = "") -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, UnicodeDecodeError, OverflowError, RuntimeError) as error:
            words = self._words(error)
            raise Permanent(prefix + words.partition("\n\nLINE")[0] if prefix else words) from None

    def _words(self, error: BaseException) -> str:
        """DuckDB's message, with inputs called by their names and without hints at settings that are locked."""
        text = str(error)
        for path, name in self._names.items():
            text = text.replace(path, f"input {name}")
        text = text.replace(f"{self._folder}/", "")
        text = _HINTS.split(text)[0].strip()
        if "Error when sniffing" in text:
            text += "\nIts rows may differ in length, or it may be no CSV; if it is, give delimiter and header"
        if "Invalid unicode" in text:
            text += "\nGive the input's encoding: latin-1 or utf-16"
        if isinstance(error, duckdb.PermissionException):
            text += "\nSQL can read its inputs only: name files as inputs (blob or url)"
        if isinstance(error, duckdb.OutOfMemoryException):
            text += "\nThe query needs more than it may use (DATAMEMORY)"
        return text[:MAX_MESSAGE]


def _without_end(text: str) -> str:
    """The statement without the semicolons and comments after it, so that more can follow."""
    data = text.encode()
    end = len(data)
    for offset, kind in reversed(duckdb.tokenize(text)):  # offsets count bytes
        if kind != duckdb.token_type.comment and data[offset : offset + 1] != b";":
            break
        end = offset
    return data[:end].decode() + "\n"


def _literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _reader(path: Path, table: DataInput, delimiter: str | None) -> str:
    if table.kind == "parquet":
        return f"read_parquet({_literal(path)})"
    if table.kind == "json":
        # All of inline rows decide on the types; a file is sampled, as DuckDB does.
        return f"read_json({_literal(path)}{', sample_size = -1' if table.rows is not None else ''})"
    # Without skip = 0 the sniffer may take a header and rows that do not fit the rest for preamble, and leave them out.
    options = [_literal(path), "skip = 0"]
    if delimiter is not None:
        options.append(f"delim = {_literal(delimiter)}")
    if table.header is not None:
        options.append(f"header = {str(table.header).lower()}")
    if table.encoding is not None:
        options.append(f"encoding = {_literal(table.encoding)}")
    return f"read_csv({', '.join(options)})"


@contextlib.contextmanager
def open_session(folder: Path, files: list[Path], memory: str) -> Iterator[Session]:
    """A session that may read and write ``files`` and no others; ``folder`` is its scratch space. Call ``lock()`` next."""
    config: dict[str, Any] = {
        "threads": min(MAX_THREADS, os.cpu_count() or 1),
        "memory_limit": memory,
        "temp_directory": str(folder / "spill"),
        "max_temp_directory_size": f"{memory_bytes(memory) * TEMP_FACTOR // 1000}KB",
        "home_directory": str(folder),
        "extension_directory": str(folder / "extensions"),
        "secret_directory": str(folder / "secrets"),
        "allow_persistent_secrets": False,
        "allow_community_extensions": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
    }
    with _limited_memory(memory_bytes(memory)), duckdb.connect(":memory:", config=config) as connection:
        connection.execute("SET http_proxy = ''")  # else duckdb_settings() shows the environment's, password and all
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET allowed_paths = [{', '.join(map(_literal, files))}]")
        connection.execute("SET enable_external_access = false")
        yield Session(connection, folder)


@contextlib.contextmanager
def _limited_memory(limit: int) -> Iterator[None]:
    """Bound the process, too: a single huge string is built beside the memory that DuckDB counts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux
        yield
        return
    wanted = pages * resource.getpagesize() + 2 * limit + ROOM
    bounds = [bound for bound in (wanted, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
