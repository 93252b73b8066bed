"""Whether the promise holds when things break: ``python -m chaos``, or ``make chaos``.

The runs:

* ``run``: one daemon on SQLite, which is killed while its clients' connections break.
* ``cluster``: three daemons on one RabbitMQ and one Redis, any of which is killed, stopped or restarted, while clients
  move between daemons.
* ``alone``: each such fault alone, and for how long it is felt.
* ``clock``: the wall clock is set under daemons of each kind.
* ``rolling``: three daemons behind haproxy, restarted one by one under a crowd of clients of all versions; from an
  earlier version to this one, if it is named.
* ``failover``: two daemons on a Redis whose replica takes its place again and again, at 50 messages a second; or on a
  PostgreSQL with a synchronous standby.
* ``brokers``: two daemons on a RabbitMQ cluster of three nodes, each fault of a node alone.

What they are made of:

* ``cast``: who takes part, and what each asks for.
* ``actors``: the real npm clients, in one node process (``actors.js``).
* ``ledger``: what was said to have been sent, acknowledged and received, and what of it is wrong.
* ``stage``: the clients on their way through proxies; lets them begin, and waits for them.
* ``proxy``, ``balancer``: TCP between clients and daemons: cuts, stalls and half-closes, and moves clients.
* ``cuts``: which connection breaks, and how.
* ``versions``: the source of an earlier version, for ``rolling``.
* ``daemon``, ``servers``: the daemon, and a whole cluster: killed, stopped, and started again.
* ``replicas``: a Redis with a replica and Sentinels, and its failovers.
* ``standby``: a PostgreSQL with a standby, and the faults of the two.
* ``pairs``: a store and its copy, as a run sees them.
* ``links``: the connections between daemons and a service, and what may be wrong with one.
* ``hooks``: a receiver of hooks that fails, and messages to users who are never there.
* ``disk``: a disk that is slow for a while.
* ``gate``: holds the bytes between servers on the two sides of a partition.
* ``nodes``: the three RabbitMQ nodes, and the connections between them.
* ``cluster_run``: what runs on a cluster have in common.
* ``archive``, ``inboxes``: checks the SQLite file, or the store, afterwards.
* ``signs``: lines of a daemon's log that show a bug.
* ``disclosed``: tokens and texts, which no log may contain; each run searches the logs of all servers.
* ``store``: opens the cluster's.
* ``report``, ``options``, ``runs``: what is said, the command line, and which run that means.
"""
