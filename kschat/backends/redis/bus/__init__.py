"""What daemons tell each other by Redis's publish and subscribe, and who is on which of them.

- ``bus``                ``RedisBus``: two connections, one that publishes and one that listens
- ``subscriptions``      the channels that are listened to
- ``outbox``             what is told in one turn of the reactor
- ``presence_registry``  this daemon's part of who is where
- ``heartbeat``          how often a daemon says that it lives, and when it is dead
"""
