"""Bring a database to the present schema. Any number of processes may do so at once."""

from __future__ import annotations

import re

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from dtq.errors import StoreUnavailable

__all__ = ["migrate"]

LOCK = 1685352822
"""Advisory lock key ("dtqv"): one process migrates, the others wait for it."""
CONNECT_SECONDS = 5


def migrate(dsn: str) -> None:
    """Apply what is missing, in one transaction: all of it or nothing. Blocks.

    A database that does not exist is created, if the role may.

    Raises:
        StoreUnavailable: the server cannot be reached, or refuses.
    """
    try:
        _connect(dsn).close()
    except psycopg.OperationalError as error:
        if not re.search(r'database ".*" does not exist', str(error)):
            raise StoreUnavailable(f"PostgreSQL does not answer: {error}") from error
        _create_database(dsn)
    try:
        _upgrade(dsn)
    except psycopg.Error as error:
        raise StoreUnavailable(f"PostgreSQL refuses to migrate: {error}") from error


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


def _upgrade(dsn: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: _connect(dsn), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS dtq")
        config = Config()
        config.set_main_option("script_location", "dtq.storage:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
