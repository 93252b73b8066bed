"""Serves the HTTP API: finds the key and the operation, reads the body, answers, writes the audit log.

::

    POST /v1/NAME       JSON; Authorization: Bearer KEY
    GET  /openapi.json  the document, without a key

Beside it there may be pages, which use the API themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource, getChildForRequest
from twisted.web.server import NOT_DONE_YET, Request

from kschat.api.keys import ApiKey
from kschat.api.methods import METHODS, Api, Method
from kschat.api.openapi import document
from kschat.api.problems import TRY_AGAIN, ApiError, error_of
from kschat.log_text import shown
from kschat.tracing.spans import TRACE_HEADERS, Span, Tracer

#: Requests that are answered at the same time.
MAX_REQUESTS: Final = 200

#: Characters of the target that the audit log shows.
MAX_TARGET: Final = 200

#: Seconds in which the audit log has one line for an operation that a key repeats all the time.
POLLED_EVERY: Final = 600.0

_DOCUMENT: Final = b"/openapi.json"
_PREFIX: Final = b"/v1/"


class ApiResource(Resource):
    """All of the API.

    Args:
        api: what the operations use.
        pages: by the first part of their path.
        tracer: makes spans of calls; None if there are none.
        calls: counts them by their outcome.
    """

    log = Logger()
    isLeaf = True

    def __init__(
        self,
        api: Api,
        pages: Mapping[bytes, IResource] = MappingProxyType({}),
        *,
        tracer: Tracer | None = None,
        calls: Counter[str] | None = None,
    ) -> None:
        super().__init__()
        self._calls: Counter[str] = Counter() if calls is None else calls
        self._api = api
        self._tracer = tracer
        self._pages = pages
        # When a key's use of a polled operation was logged: by both names. What is too old to matter is not kept.
        self._logged: dict[tuple[str, str], float] = {}
        api.audit = self._audit
        self._document = document()
        self._busy = 0

    def takes_body(self, request: Request, method: bytes, uri: bytes) -> bool:
        """Whether a request's body has to be read: it has a key, and is for an operation."""
        return method == b"POST" and _method(uri) is not None and self._key(request) is not None

    def render(self, request: Request) -> Any:
        """Answer a request."""
        rest = request.postpath or []
        page = self._pages.get(rest[0]) if rest else None
        if page is not None:
            request.prepath = [*(request.prepath or []), rest.pop(0)]
            return getChildForRequest(page, request).render(request)
        path = request.uri.partition(b"?")[0]
        try:
            if path == _DOCUMENT:
                return self._show_document(request)
            self._begin(request, path)
        except ApiError as error:
            self._refuse(request, error)
        return NOT_DONE_YET

    def _begin(self, request: Request, path: bytes) -> None:
        method = _method(path)
        if method is None:
            raise ApiError("not-found", "There is no such operation: /openapi.json lists all.")
        if request.method != b"POST":
            request.setHeader(b"allow", b"POST")
            raise ApiError("method", "Each operation is a POST.")
        key = self._key(request)
        if key is None:
            request.setHeader(b"www-authenticate", b"Bearer")
            raise ApiError("unauthorized", "Give a key: Authorization: Bearer KEY.")
        span = None if self._tracer is None else self._tracer.serve(f"api {method.name}", _trace_of(request))
        try:
            self._call(request, key, method, span)
        except ApiError as error:
            _end(span, error)
            raise

    def _call(self, request: Request, key: ApiKey, method: Method, span: Span | None) -> None:
        if not key.may(method.scope):
            self._audit(key, method, None, "not-allowed")
            raise ApiError("not-allowed", f"The key lacks the scope {method.scope}.")
        try:
            data = request.content.read() if request.content is not None else b""
            data.decode()  # msgspec does not check the text of a Raw: msg, args
            body = method.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            self._audit(key, method, None, "invalid")
            raise ApiError("invalid", f"{error}.") from None
        if self._busy >= MAX_REQUESTS:
            self._audit(key, method, body, "busy")
            raise ApiError("busy", f"{MAX_REQUESTS} requests are unanswered; try again.")
        self._busy += 1
        done = Deferred.fromCoroutine(method.do(self._api, key, body))
        done.addCallbacks(
            self._done,
            self._failed,
            callbackArgs=(request, key, method, body, span),
            errbackArgs=(request, key, method, body, span),
        )
        done.addBoth(self._ended).addErrback(self._not_answered)

    def _key(self, request: Request) -> ApiKey | None:
        return self._api.keys.find(request.getHeader(b"authorization"))

    def _show_document(self, request: Request) -> Any:
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            raise ApiError("method", "The document is read by GET.")
        request.setHeader(b"content-type", b"application/json")
        return self._document

    def _done(self, answer: Any, request: Request, key: ApiKey, method: Method, body: Any, span: Span | None) -> None:
        self._audit(key, method, body, "done")
        self._calls["done"] += 1
        _end(span)
        _write(request, HTTPStatus.OK, b"application/json", msgspec.json.encode(answer))

    def _failed(
        self, failure: Failure, request: Request, key: ApiKey, method: Method, body: Any, span: Span | None
    ) -> None:
        error = error_of(failure)
        if error is None:
            self.log.failure("an operation of the API failed: {operation}", failure, operation=method.name)
            error = ApiError("internal", "The daemon's log has the reason.")
        self._audit(key, method, body, error.name)
        _end(span, error)
        self._refuse(request, error)

    def _ended(self, result: Any) -> Any:
        self._busy -= 1
        return result

    def _not_answered(self, failure: Failure) -> None:
        self.log.failure("a request to the API could not be answered", failure)

    def _refuse(self, request: Request, error: ApiError) -> None:
        self._calls[error.name] += 1
        problem = error.problem
        if problem.status in TRY_AGAIN:
            request.setHeader(b"retry-after", b"1")
        _write(request, problem.status, b"application/problem+json", msgspec.json.encode(problem))

    def _audit(self, key: ApiKey, method: Method, body: Any, outcome: str) -> None:
        """The line of an action. It shows whom it is about, and never a text."""
        if method.polled and outcome == "done" and not self._first_in_a_while(key, method):
            return
        named = [getattr(body, name) for name in method.target] if body is not None else []
        target = ", ".join(_named(one) for one in named if one is not None)
        self.log.info(
            "api: {key} {operation} [{target}]: {outcome}",
            key=shown(key.name),
            operation=method.name,
            target=shown(target[:MAX_TARGET]),
            outcome=outcome,
        )

    def _first_in_a_while(self, key: ApiKey, method: Method) -> bool:
        now, used = self._api.clock.seconds(), (key.name, method.name)
        self._logged = {one: at for one, at in self._logged.items() if now - at < POLLED_EVERY}
        if used in self._logged:
            return False
        self._logged[used] = now
        return True


def _named(target: str | list[str]) -> str:
    if isinstance(target, str):
        return target
    return target[0] if len(target) == 1 else f"{target[0]} and {len(target) - 1} more"


def _trace_of(request: Request) -> dict[str, str]:
    """What a request says of the trace that it is a part of."""
    found = {name: request.getHeader(name.encode()) for name in TRACE_HEADERS}
    return {name: value.decode("latin-1") for name, value in found.items() if value is not None}


def _end(span: Span | None, error: ApiError | None = None) -> None:
    if span is not None and error is not None:
        span.end(status=error.problem.status, error=error.name)
    elif span is not None:
        span.end(status=HTTPStatus.OK)


def _method(uri: bytes) -> Method | None:
    path = uri.partition(b"?")[0]
    return METHODS.get(path[len(_PREFIX) :].decode("latin-1")) if path.startswith(_PREFIX) else None


def _write(request: Request, status: int, kind: bytes, body: bytes) -> None:
    channel: object = request.channel
    if channel is None:
        return  # the client is gone
    request.setResponseCode(status)
    request.setHeader(b"content-type", kind)
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"content-length", b"%d" % len(body))
    request.write(body)
    request.finish()
