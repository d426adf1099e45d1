"""What tests of autoscaling and of lost pods share: releases with a job that lasts as long as one says, load, and what became of it."""

from scalekit.load import Load
from scalekit.replicas import Replicas
from scalekit.site import Site, deployed

__all__ = ["Load", "Replicas", "Site", "deployed"]
