"""DTQ's shared package: jobs, the queue engine, result storage, schedules and configuration.

Every service imports this package and never another service. The pure modules (``job``, ``ids``, ``retry``,
``errors``, ``keys``, ``schedule.cron``) import no driver, so that decisions can be tested without a server.
"""

__version__ = "0.1.0"
