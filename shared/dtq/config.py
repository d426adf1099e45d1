"""Configuration: environment variables without underscores, read once, in each service's main.

Every field is one variable: the field name in upper case. ``dtq config`` prints them all.
"""

from __future__ import annotations

import re
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dtq.errors import ConfigError
from dtq.masking import masked
from dtq.sentinel import SCHEME, parse_sentinel
from dtq.server_urls import check_postgres_url, check_redis_url

__all__ = ["QUEUE_NAME", "Settings", "load_as", "load_settings", "parse_addr"]

QUEUE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
"""What a queue may be called: the name becomes part of Redis keys, job ids and metric labels."""


def parse_addr(addr: str) -> tuple[str, int]:
    """Split ``host:port``, ``[ipv6]:port`` or ``:port`` (all interfaces).

    Raises:
        ValueError: it is none of these.
    """
    host, sep, port = addr.rpartition(":")
    if not sep or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError("expected host:port, such as 127.0.0.1:8080")
    host = host.removeprefix("[").removesuffix("]")
    return host or "0.0.0.0", int(port)  # noqa: S104 - ':8080' means every interface, as in Go programs


class Settings(BaseSettings):
    """Every setting of every service. Seconds and bytes are plain numbers."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, case_sensitive=False)

    redisaddr: str = Field(
        "127.0.0.1:6379",
        description="Redis or Valkey: host:port, or a redis://, rediss:// or sentinel:// URL. Cluster mode is detected.",
    )
    waitreplicas: int = Field(
        0, ge=0, le=10, description="Replicas of Redis that must have a write before it is answered; else the answer is 503. 0 asks none."
    )
    databaseurl: str = Field("postgresql://127.0.0.1:5432/dtq", description="PostgreSQL URL.", repr=False)
    apiaddr: str = Field("127.0.0.1:8080", description="Where the submitter listens: host:port.")
    metricsaddr: str = Field(
        "127.0.0.1:0", description="Where worker and scheduler serve /metrics, /livez and /readyz; port 0 picks a free one."
    )
    queues: str = Field("*", description="Queues a worker takes jobs from, comma-separated, first served first; * is every queue.")
    workercount: int = Field(10, ge=1, le=10_000, description="Jobs run at once by one worker process.")
    workertimeout: float = Field(10.0, gt=0, le=86_400, allow_inf_nan=False, description="Seconds a job may run when it names no timeout.")
    maxretries: int = Field(5, ge=0, le=100, description="Retries of a failed job when it names no max_retries.")
    retrybase: float = Field(1.0, gt=0, le=3600, allow_inf_nan=False, description="Backoff of the first retry, seconds; doubles each time.")
    retrycap: float = Field(600.0, gt=0, le=86_400, allow_inf_nan=False, description="Longest backoff, seconds.")
    leaseseconds: float = Field(4.0, ge=1, le=3600, allow_inf_nan=False, description="A worker silent for so long is taken for dead.")
    shutdownseconds: float = Field(
        30.0, ge=0, le=86_400, allow_inf_nan=False, description="Time for running jobs to end at a stop; then they are handed back."
    )
    processes: int = Field(0, ge=0, le=1024, description="Processes for sync handlers; 0 is one a CPU core.")
    handlers: str = Field("", description="Modules with further job types, comma-separated.")
    maxbodybytes: int = Field(10 * 1024 * 1024, ge=1024, le=512 * 1024 * 1024, description="Largest request body.")
    requestseconds: float = Field(
        30.0, ge=0.1, le=3600, allow_inf_nan=False, description="Seconds a client has to send a request's head, and as many for its body."
    )
    maxconnections: int = Field(10_000, ge=1, le=1_000_000, description="Connections to one submitter; more are refused with 503.")
    maxqueuelength: int = Field(0, ge=0, description="Jobs one queue may hold before submit answers 429; 0 is no limit.")
    resultttl: int = Field(300, ge=1, le=30 * 86_400, description="Seconds a finished job stays in Redis; then it is read from PostgreSQL.")
    deadttl: int = Field(7 * 86_400, ge=1, le=365 * 86_400, description="Seconds a failed job stays in the dead-letter set.")
    idempotencyttl: int = Field(86_400, ge=1, le=30 * 86_400, description="Seconds an idempotency key is remembered.")
    retentiondays: int = Field(30, ge=1, le=3650, description="Days a finished job's row is kept in PostgreSQL.")
    apikeysfile: str = Field("", description="File with API keys (hashes) and roles; empty: no keys needed.")
    allowanonymous: bool = Field(False, description="Allow a non-loopback APIADDR without API keys.")
    smtpaddr: str = Field("127.0.0.1:1025", description="SMTP server for email jobs: host:port.")
    smtpfrom: str = Field("dtq@localhost", description="Sender of email jobs that name none.")
    smtpuser: str = Field("", description="SMTP user; empty: no login.")
    smtppassword: str = Field("", description="SMTP password.", repr=False)
    smtptls: Literal["none", "starttls", "tls"] = Field("none", description="How to encrypt SMTP: none, starttls or tls.")
    bloburl: str = Field("file://./.data/blobs", description="Blob store: file://, s3://, gs:// or az:// URL.")
    fetchallow: str = Field("", description="Hosts or networks (CIDR) that jobs may fetch from although private, comma-separated.")
    fetchmaxbytes: int = Field(256 * 1024 * 1024, ge=1, description="Largest file a job may fetch by URL or copy from a blob.")
    fetchtimeout: float = Field(30.0, gt=0, le=3600, allow_inf_nan=False, description="Seconds one fetch by URL may take.")
    imagemaxpixels: int = Field(100_000_000, ge=1, description="Largest image that image_resize opens or makes, width x height.")
    datamemory: str = Field("512MB", pattern=r"^\d+(KB|MB|GB)$", description="Memory one data_processing job may use.")
    loglevel: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    logformat: Literal["json", "console"] = Field("json", description="json or console.")
    datadir: str = Field(".data", description="Where `dtq up` keeps its servers' data, blobs and mails.")
    workers: int = Field(1, ge=0, le=256, description="Worker processes that `dtq up` starts.")

    @field_validator("apiaddr", "metricsaddr", "smtpaddr")
    @classmethod
    def _is_addr(cls, value: str) -> str:
        parse_addr(value)
        return value

    @field_validator("redisaddr")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if value.startswith(("redis://", "rediss://", "unix://")):
            check_redis_url(value)
            return value
        if value.startswith(SCHEME):
            parse_sentinel(value)
            return value
        try:
            parse_addr(value)
        except ValueError:
            raise ValueError("expected host:port, or a redis://, rediss:// or sentinel:// URL") from None
        return value

    @field_validator("databaseurl")
    @classmethod
    def _is_postgres(cls, value: str) -> str:
        if not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("expected a postgresql:// URL")
        check_postgres_url(value)
        return value

    @field_validator("queues")
    @classmethod
    def _are_queues(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        bad = [name for name in names if name != "*" and not QUEUE_NAME.fullmatch(name)]
        if bad or not names or ("*" in names and len(names) > 1):
            raise ValueError("expected * or queue names of a-z, 0-9, '.', '_' and '-', comma-separated")
        return ",".join(names)

    @field_validator("loglevel", "logformat", "smtptls", mode="before")
    @classmethod
    def _any_case(cls, value: object, info: object) -> object:
        if not isinstance(value, str):
            return value
        return value.upper() if getattr(info, "field_name", "") == "loglevel" else value.lower()

    @property
    def redis_url(self) -> str:
        """REDISADDR as a URL."""
        return self.redisaddr if "://" in self.redisaddr else f"redis://{self.redisaddr}"

    @property
    def queue_names(self) -> list[str] | None:
        """The queues to serve, or None for all."""
        return None if self.queues == "*" else self.queues.split(",")

    @property
    def handler_modules(self) -> list[str]:
        """Modules named in HANDLERS."""
        return [name.strip() for name in self.handlers.split(",") if name.strip()]


S = TypeVar("S", bound=Settings)


def load_settings(**overrides: object) -> Settings:
    """Read the environment. Raises as :func:`load_as`."""
    return load_as(Settings, **overrides)


def load_as(kind: type[S], **overrides: object) -> S:
    """Read the environment into ``kind``: a service may have settings of its own besides those of all.

    Raises:
        ConfigError: one line per wrong variable: its name, its value and what is allowed.
    """
    try:
        return kind(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = []
        for item in error.errors():
            name = str(item["loc"][0]).upper() if item["loc"] else "settings"
            # An address that cannot be read may have its password anywhere before the @.
            hidden = name in {"SMTPPASSWORD", "DATABASEURL"} or (name == "REDISADDR" and "@" in str(item["input"]))
            value = "(not shown)" if hidden else masked(repr(item["input"]))
            lines.append(f"{name}={value}: {item['msg'].removeprefix('Value error, ')}")
        raise ConfigError("\n".join(lines)) from None
