"""Events between daemons over Redis publish and subscribe, and the registry of online users.

- ``bus``                ``RedisBus``: two connections, one that publishes and one that subscribes
- ``subscriptions``      the subscribed channels
- ``outbox``             the events of one reactor turn
- ``presence_registry``  this daemon's part of the presence registry
- ``heartbeat``          the heartbeat interval, and the silence after which a daemon is dead
"""
