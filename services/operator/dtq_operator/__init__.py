"""DTQ's Kubernetes operator: every ScheduledJob resource becomes a schedule in Redis or Valkey.

The operator writes what is wanted; the scheduler owns when to fire. So jobs go on firing while the operator or the API
server is away, and whatever the operator does may be done twice, or by two operators at once.

Pure, each with one question: ``resource`` (what is in a resource), ``accept`` (may it be), ``plan`` (what differs from
Redis), ``conditions`` and ``status`` (what its status says), ``telling`` (which events are told), ``crd`` (is the
definition in the cluster new enough). At the edge: ``kube`` (API server), ``sync`` (makes one resource true), ``resync``
(all of them, over and over), ``mirror`` (fire state into status and events), ``handlers`` (kopf's entry points).

There is no finalizer: deleting a resource, or its namespace, never waits for the operator. kopf calls delete handlers
only for objects that a finalizer of its own holds back, so deletions are seen as raw events; what was deleted while
nobody looked is found by ``resync``. kopf keeps nothing in the resources either (``storage``).
"""
