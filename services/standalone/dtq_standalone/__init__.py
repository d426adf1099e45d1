"""All of DTQ on one machine: ``dtq up``, also ``python -m dtq_standalone``.

Servers (Valkey, PostgreSQL) and services (submitter, scheduler, workers, an SMTP sink) are child processes of this one,
each in a session of its own: Ctrl-C on the terminal reaches only the parent, which stops them in order.

Roles, one small module each: ``folder`` owns the data folder and its lock, ``ports`` finds addresses that stay the same,
``servers`` starts what DTQ needs and is not given, ``plan`` decides which children run with which environment, ``child``
is one of them, ``supervisor`` keeps them running, ``ready`` waits for them, ``console`` says what people should know.
"""
