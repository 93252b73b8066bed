"""One module for each thing outside the process.

- ``memory``   a store and a router inside this process, for one daemon
"""
