"""What the tests on a cluster are written with: commands, waiting, namespaces, releases of the chart, the HTTP API."""

from clusterkit.api import Api
from clusterkit.commands import CommandFailed, Outcome, run
from clusterkit.helm import Release
from clusterkit.kubectl import Json, Kubectl
from clusterkit.settings import Cluster
from clusterkit.waiting import wait_for

__all__ = ["Api", "Cluster", "CommandFailed", "Json", "Kubectl", "Outcome", "Release", "run", "wait_for"]
