"""One module for each thing outside the process.

- ``sqlite``   the default store: an SQLite file, for one daemon
- ``alone``    the replica of a daemon without Redis
- ``memory``   a store and a router inside this process, for one daemon
- ``held``     what that store is made of
- ``order``    the numbers that mids are ordered by, for every store
"""
