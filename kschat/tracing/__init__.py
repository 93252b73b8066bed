"""Spans of OpenTelemetry: of API calls, of requests to the operator's back end, of storing and routing some batches.

- ``spans``     what the other floors know of it
- ``settings``  the operator's settings
- ``pipeline``  ``Tracing``: a store and a router that make spans of some batches
- ``otel``      ``OtelTracer``: makes spans by OpenTelemetry's SDK, which is optional, and exports them

While it is off, nothing of it is called, and OpenTelemetry is not imported.
"""
