"""Requests to other people's servers: questions, events and pushes.

- ``signing``  the secrets, and the signature of a request (Standard Webhooks)
- ``http``     sends a signed request to the URL of a setting
- ``asking``   asks an operator's back end whether users may do what they want to
- ``push``     Web Push: pushes to the browsers of users for whom messages wait
- ``push_client``  sends one push to a push service; ``push_hosts`` says where it may go
- ``webpush``  encrypts a push; ``vapid`` signs its request
- ``breaker``  a circuit breaker: a server that does not answer gets no requests for a while

Events are made from the store, so that no crash loses one:

- ``engine``     one daemon of a cluster at a time makes the events, and passes them to their consumers
- ``deriver``    looks at what the store has logged, and makes events of it
- ``events``     the events: their types, ids and data
- ``dispatcher`` passes the queued events of one consumer to it, and tries again what failed
- ``consumer``   what a consumer is
- ``marks``      tells the store which users came or went on this daemon
- ``webhook``    the consumer that sends events to a URL
"""
