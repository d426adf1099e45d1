"""Fixtures of the tests on a cluster. `make test-cluster` runs them; each file also runs by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from clusterkit import Cluster, Kubectl
from clusterkit.front import Front, open_front
from clusterkit.installed import Installed, install_defaults
from clusterkit.namespaces import restricted_namespace

NewNamespace = Callable[[str], Kubectl]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the tests have measured and printed, which pytest else shows of failed ones only."""
    printed = [
        f"{report.nodeid.rpartition('/')[2]}: {line}"
        for report in terminalreporter.stats.get("passed", [])
        for title, content in report.sections
        if "stdout call" in title or "stdout setup" in title
        for line in content.splitlines()
        if line.strip()
    ]
    if printed:
        terminalreporter.section("measured")
        terminalreporter.write("\n".join(line[:240] for line in printed) + "\n")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that KUBECONFIG names."""
    return Cluster.from_environment()


@pytest.fixture(scope="session")
def session_namespace(cluster: Cluster) -> Iterator[NewNamespace]:
    """Makes namespaces that enforce Pod Security "restricted" and live to the end of the run."""
    with contextlib.ExitStack() as stack:
        yield lambda purpose: stack.enter_context(restricted_namespace(cluster.prefix, purpose))


@pytest.fixture(scope="module")
def new_namespace(cluster: Cluster) -> Iterator[NewNamespace]:
    """Likewise, to the end of the file."""
    with contextlib.ExitStack() as stack:
        yield lambda purpose: stack.enter_context(restricted_namespace(cluster.prefix, purpose))


@pytest.fixture(scope="session")
def installed(cluster: Cluster, session_namespace: NewNamespace) -> Installed:
    """Release `dtq` as `helm install` makes it with default values: nothing but the images' names is given."""
    return install_defaults(cluster, session_namespace("main"))


@pytest.fixture(scope="session")
def front(installed: Installed) -> Iterator[Front]:
    """The same release behind an Ingress with TLS, and with a mail sink."""
    with open_front(installed.release) as opened:
        yield opened
