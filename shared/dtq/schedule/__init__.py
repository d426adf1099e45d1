"""Schedules: cron lines in time zones, and when a tick starts a job, as Kubernetes' batch/v1 CronJob does it.

Pure (no driver, no clock): ``fields`` and ``cron`` (what a line means), ``zones`` (local time and real time), ``decide``
(what to do now), ``spec`` (what a user writes), ``entry`` (what is kept). ``store`` keeps entries in Redis or Valkey.

A *tick* is every real instant at which the wall clock of the zone enters a minute that matches the five fields. Three
things follow without further rules: a local time in the spring gap has no tick, in the autumn repeat it has two, and a
day that a zone leaves out (Pacific/Apia, 30 December 2011) has none.
"""
