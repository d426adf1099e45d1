"""The operator's settings: those of every service, and four of its own."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from dtq.config import Settings, load_as

__all__ = ["OperatorSettings", "load_operator_settings"]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


class OperatorSettings(Settings):
    """Every setting that the operator knows."""

    namespaces: str = Field(
        "", description="Namespaces whose ScheduledJobs are served, comma-separated; * is all of the cluster; empty: the operator's own."
    )
    clustername: str = Field("default", description="Name of this cluster; clusters that share a Redis need different ones.")
    operatorname: str = Field(
        "",
        max_length=200,
        description="Name of this operator in Redis, no other's: of a namespace that it served and serves no more, schedules end."
        " Empty: they stay.",
    )
    resyncseconds: float = Field(
        60.0, ge=1, le=3600, allow_inf_nan=False, description="Seconds between full comparisons of resources and Redis."
    )

    @field_validator("namespaces")
    @classmethod
    def _are_namespaces(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        bad = [name for name in names if name != "*" and not _LABEL.fullmatch(name)]
        if bad or ("*" in names and len(names) > 1):
            raise ValueError("expected * or names of namespaces, comma-separated")
        return ",".join(dict.fromkeys(names))

    @field_validator("clustername")
    @classmethod
    def _is_label(cls, value: str) -> str:
        if not _LABEL.fullmatch(value):
            raise ValueError("expected up to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit")
        return value


def load_operator_settings(**overrides: object) -> OperatorSettings:
    """Read the environment. Raises as :func:`dtq.config.load_as`."""
    return load_as(OperatorSettings, **overrides)
