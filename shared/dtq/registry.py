"""Job types and their handlers, joined by name.

A type is a :class:`JobType` (name and payload model); a handler is a function marked with :func:`handler`. A module
that holds them is named in HANDLERS or in an entry point of the group ``dtq.handlers``. Loading a module only looks at
its attributes: there is no global registry that an import would change.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from dtq.errors import ConfigError, Permanent

__all__ = ["Handler", "JobContext", "JobType", "Registry", "handler", "handler_in", "load_registry"]

P = TypeVar("P", bound=BaseModel, contravariant=True)
ENTRY_POINTS = "dtq.handlers"


@dataclass(frozen=True, slots=True)
class JobType:
    """A kind of job: what it is called and what its payload must look like.

    ``timeout`` (seconds) and ``max_retries`` are this type's defaults, used where a submission gives none; None means
    the worker's WORKERTIMEOUT and MAXRETRIES. ``examples`` are payloads shown in the API documentation.
    """

    name: str
    payload: type[BaseModel]
    summary: str = ""
    timeout: float | None = None
    max_retries: int | None = None
    examples: tuple[Mapping[str, Any], ...] = ()


class JobContext(Protocol):
    """What a handler knows of the attempt it runs, and its way to report progress."""

    @property
    def id(self) -> str:
        """The job's id, the same for every attempt: use it to make effects idempotent."""
        ...

    @property
    def queue(self) -> str:
        """Name of the queue the job came from."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        ...

    @property
    def retries_left(self) -> int:
        """How often the job will run again at most, should this attempt fail; 0: this is the last one."""
        ...

    @property
    def settings(self) -> Any:
        """The worker's :class:`dtq.config.Settings`."""
        ...

    def progress(self, fraction: float, message: str = "") -> None:
        """Report progress, ``fraction`` in 0..1; GET /jobs/ID shows the latest report. Cheap, never blocks."""
        ...

    def output(self, key: str) -> None:
        """Name the blob that GET /jobs/ID/output streams."""
        ...


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that executes jobs of one type.

    ``func(payload, ctx)`` returns something JSON can hold. A coroutine function runs on the worker's event loop; a
    plain function runs in a process of its own pool, where it can be killed at its timeout.
    """

    job_type: JobType
    func: Callable[..., Any]
    is_async: bool
    module: str | None = None
    """Of one made by :func:`handler_in`: the module that is imported as it runs."""


def handler(job_type: JobType) -> Callable[[Callable[..., Any]], Handler]:
    """Mark a function as the handler of ``job_type``."""

    def mark(func: Callable[..., Any]) -> Handler:
        return Handler(job_type, func, inspect.iscoroutinefunction(func))

    return mark


def handler_in(job_type: JobType, place: str) -> Handler:
    """The handler of ``job_type`` is the plain function at ``place`` ("package.module:function"), imported only where it runs.

    For a handler whose libraries take much memory or time to load: submitter and worker do without them, and the
    processes that run its jobs have them loaded before the first.

    Raises:
        ValueError: ``place`` is not so written.
    """
    module, colon, name = place.partition(":")
    if not (module and colon and name.isidentifier()):
        raise ValueError(f'the place of a handler is written "package.module:function", not {place!r}')

    def run(payload: Any, ctx: JobContext) -> Any:
        func = getattr(importlib.import_module(module), name)
        if inspect.iscoroutinefunction(func):
            raise Permanent(f"{place} is a coroutine function: handler_in is for plain ones")
        return func(payload, ctx)

    return Handler(job_type, run, is_async=False, module=module)


@dataclass(slots=True)
class Registry:
    """The job types and handlers of one process."""

    types: dict[str, JobType] = field(default_factory=dict)
    handlers: dict[str, Handler] = field(default_factory=dict)

    def add_type(self, job_type: JobType, source: str) -> None:
        """Add a type.

        Raises:
            ConfigError: another type has the same name.
        """
        known = self.types.setdefault(job_type.name, job_type)
        if known is not job_type:
            raise ConfigError(f"job type {job_type.name!r} in {source} is already defined elsewhere; give it another name")

    def add_handler(self, found: Handler, source: str) -> None:
        """Add a handler and its type.

        Raises:
            ConfigError: the type has a handler already.
        """
        self.add_type(found.job_type, source)
        known = self.handlers.setdefault(found.job_type.name, found)
        if known is not found:
            raise ConfigError(f"job type {found.job_type.name!r} has a second handler in {source}; keep one")

    @property
    def handler_modules(self) -> list[str]:
        """Modules that are imported only as their handlers run (:func:`handler_in`)."""
        return list(dict.fromkeys(found.module for found in self.handlers.values() if found.module is not None))

    def check_handlers(self) -> None:
        """See that what :func:`handler_in` names is there, without importing it: what a worker needs, and a submitter does not.

        Raises:
            ConfigError: there is no such module.
        """
        for found in self.handlers.values():
            if found.module is None:
                continue
            try:
                why = "" if importlib.util.find_spec(found.module) else "there is no such module"
            except Exception as error:  # noqa: BLE001 - a third party's package may raise anything
                why = repr(error)
            if why:
                raise ConfigError(f"the handler of {found.job_type.name!r} is in {found.module!r}: {why}; check its name and PYTHONPATH")

    def add_module(self, name: str) -> None:
        """Import module ``name`` and take every JobType and Handler among its attributes.

        Raises:
            ConfigError: the module cannot be imported, or holds no job type.
        """
        try:
            module = importlib.import_module(name)
        except Exception as error:  # a third party's module may raise anything
            raise ConfigError(f"HANDLERS: module {name!r} cannot be imported: {error!r}; check its name and PYTHONPATH") from error
        found = 0
        for value in vars(module).values():
            if isinstance(value, Handler):
                self.add_handler(value, name)
            elif isinstance(value, JobType):
                self.add_type(value, name)
            else:
                continue
            found += 1
        if not found:
            raise ConfigError(f"HANDLERS: module {name!r} defines no JobType or @handler; see README, 'Add a job type'")


def load_registry(modules: Iterable[str], *, entry_points: bool = True) -> Registry:
    """The registry of the given modules and of the installed entry points ``dtq.handlers``.

    Raises:
        ConfigError: a module cannot be used.
    """
    registry = Registry()
    names = list(modules)
    if entry_points:
        names += [point.value for point in importlib.metadata.entry_points(group=ENTRY_POINTS)]
    for name in dict.fromkeys(names):
        registry.add_module(name)
    return registry
