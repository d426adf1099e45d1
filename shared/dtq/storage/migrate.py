"""Bring a database to the present schema. Any number of processes may do so at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from dtq.errors import StoreUnavailable

__all__ = ["migrate", "wait_for_server"]

LOCK = 1685352822
"""Advisory lock key ("dtqv"): one process migrates, the others wait for it."""
CONNECT_SECONDS = 5
RETRY_SECONDS = 1.0

_PASSING = re.compile("the database system is|too many|remaining connection slots")
"""In what a server says that does not serve now, and will later."""


def migrate(dsn: str) -> bool:
    """Apply what is missing, in one transaction: all of it or nothing. Blocks.

    A database that does not exist is created, if the role may. Returns False when the schema is newer than this program: it is left alone.

    Raises:
        StoreUnavailable: the server cannot be reached, or refuses.
    """
    try:
        _connect(dsn).close()
    except psycopg.OperationalError as error:
        if not re.search(r'database ".*" does not exist', str(error)):
            raise StoreUnavailable(f"PostgreSQL {'refuses' if _refused(error) else 'does not answer'}: {error}") from error
        _create_database(dsn)
    try:
        return _upgrade(dsn)
    except psycopg.Error as error:
        raise StoreUnavailable(f"PostgreSQL refuses to migrate: {error}") from error


def wait_for_server(dsn: str, seconds: float, tell: Callable[[str], None]) -> None:
    """Wait until the server answers, for at most ``seconds``; blocks. ``tell`` is given the first reason for waiting.

    Returns at once when it refuses, as for a wrong password: waiting does not help then, and :func:`migrate` says why.
    """
    deadline = time.monotonic() + seconds
    told = False
    while True:
        try:
            _connect(dsn).close()
            return
        except psycopg.OperationalError as error:
            if _refused(error) or time.monotonic() >= deadline:
                return
            if not told:
                tell(f"waiting up to {seconds:g} s for PostgreSQL: {str(error).splitlines()[0]}")
                told = True
        time.sleep(RETRY_SECONDS)


def _refused(error: psycopg.OperationalError) -> bool:
    """Whether a server answered, and did not like the user, password, database or address."""
    _, fatal, words = str(error).partition("FATAL:")
    return bool(fatal) and not _PASSING.search(words)


def _connect(dsn: str) -> psycopg.Connection:
    return psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS, client_encoding="utf8", application_name="dtq-migrate")


def _create_database(dsn: str) -> None:
    """Create the database that ``dsn`` names, unless another process is quicker."""
    name = str(conninfo_to_dict(dsn)["dbname"])
    try:
        with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name)))
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        pass
    except psycopg.Error as error:
        raise StoreUnavailable(f"database {name!r} does not exist and cannot be created: {error}") from error


def _upgrade(dsn: str) -> bool:
    engine = create_engine("postgresql+psycopg://", creator=lambda: _connect(dsn), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS dtq")
        config = Config()
        config.set_main_option("script_location", "dtq.storage:migrations")
        config.attributes["connection"] = connection
        if _is_newer(connection, config):
            return False  # as after a rollback: a program works with the schema of the next version, too
        command.upgrade(config, "head")
    return True


def _is_newer(connection: Connection, config: Config) -> bool:
    """Whether the schema's revision is none that this program knows."""
    options = {"version_table": "schema_version", "version_table_schema": "dtq"}
    present = MigrationContext.configure(connection, opts=options).get_current_revision()
    return present is not None and present not in {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
