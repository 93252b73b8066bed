"""What a daemon asks and tells other people's servers, signed by the Standard Webhooks specification.

- ``signing``  the secrets, and the signature of a request
- ``http``     sends a signed request to the URL of a setting
- ``asking``   asks an operator's back end whether users may do what they want to
- ``breaker``  stops asking a server that does not answer, for a while
"""
