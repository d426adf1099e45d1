"""DTQ's scheduler: whatever must happen by itself. Any number of replicas may run; none of them leads.

Roles, one small module each: the Ticker fires schedules, the Watcher follows their runs, the Recoverer takes jobs from dead
workers, the Forwarder makes delayed jobs ready, the Sweeper carries forgotten results to PostgreSQL, the Janitor keeps its
table in order, and the Gauges show the queues. Every role is a step done over and over (``roles``), and every step may be
done by two replicas at once: a tick starts one job, since the job's id is derived from schedule and minute.
"""
