"""One body of tests that every backend passes.

- ``istore``, ``router``  the tests, as mixins; a backend's test module says how one is made
- ``made``                messages for them, the odd ones among them
- ``doubles``             a store and a router for the chat's own tests, that answer when told; they pass the contracts
"""
