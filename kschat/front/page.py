"""The page at `/`: templates/index.html with the four values that the tutorial's page has; and the demo's tokens.

twisted.web.template inserts `uid`, `rid`, `random` and `tokenId` as escaped text and attributes: no part of a URL can
become markup, and the Content-Security-Policy also forbids inline scripts. The template is rendered once for each of
the page's few forms; for a request its values are only put in. This module issues tokens (in a demo) and never verifies
one: the daemon does when the page's socket connects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from ipaddress import ip_address
from secrets import token_hex
from typing import Final
from urllib.parse import urlencode
from xml.sax import SAXParseException

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from twisted.web.http import BAD_REQUEST, INTERNAL_SERVER_ERROR
from twisted.web.iweb import IRequest, ITemplateLoader
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.template import Element, Tag, XMLFile, flattenString, renderer

from kschat.chat.conversations import is_room
from kschat.chat.message import MAX_ID
from kschat.chat.tokens import Issuer, as_user
from kschat.front.browser_policy import page_headers
from kschat.front.static import Release

DEMO_TOKEN_SECONDS: Final = 12 * 3600
"""How long a demo's token lasts. The page asks for a new one when it ends."""

DEMO_ROOMS: Final = "*"
"""Rooms that a demo's token lets join: all."""

MISDIRECTED: Final = 421
"""The status of a request for a host that this daemon does not speak for (RFC 9110, section 15.5.20)."""

#: A script or style of the template, without its version.
_STATIC: Final = re.compile(rb'(?<=")static/(?=[\w./-]+\.(?:js|css)")')

_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]{0,5})?")


class TemplateError(Exception):
    """A template cannot be read; the text is one sentence."""


class Visit(msgspec.Struct, frozen=True):
    """What one request for the page asked for, and what it is given.

    `uid` and `rid` are None when the URL has none that can be used; `named` tells that it tried. `rid` may be a room.
    """

    uid: str | None
    rid: str | None
    named: bool
    random: int
    token: str
    demo: bool

    @property
    def can_chat(self) -> bool:
        """Whether the user and a token are known. With whom to talk may be chosen on the page."""
        return bool(self.uid and self.token and not self.named)

    @property
    def lacks_token(self) -> bool:
        """Whether no choice of users would help: outside of the demo a token must be in the URL."""
        return not self.demo and not self.token

    @property
    def form(self) -> Form:
        """Which parts of the template the page has."""
        return Form(self.demo, self.named, self.can_chat, self.lacks_token)

    @property
    def slots(self) -> dict[str, str]:
        """What stands in the template's slots."""
        uid, rid = self.uid or "", self.rid or ""
        return {
            "uid": uid,
            "rid": rid,
            "random": str(self.random),
            "tokenId": self.token,
            "demo": "1" if self.demo else "",
            "otherSide": "?" + urlencode({"uid": rid, "rid": uid}),
            "uidOrDefault": uid or "alice",
            "ridOrDefault": rid or "bob",
        }


class Form(msgspec.Struct, frozen=True):
    """Which parts of the template a page has; see `PageElement`. There are few of them."""

    demo: bool
    named: bool
    can_chat: bool
    lacks_token: bool


class PageElement(Element):
    """One rendering of the template. The names of its methods are what templates may say in `t:render`.

    `slots` has what stands in each slot.
    """

    def __init__(self, loader: ITemplateLoader, form: Form, slots: Mapping[str, str]) -> None:
        super().__init__(loader)
        self._form = form
        self._slots = slots

    @renderer
    def page(self, request: IRequest, tag: Tag) -> Tag:
        """Fills the slots. Stands on the outermost element."""
        return tag.fillSlots(**self._slots)

    @renderer
    def in_demo(self, request: IRequest, tag: Tag) -> Tag | str:
        """Kept in the demo alone."""
        return tag if self._form.demo else ""

    @renderer
    def outside_demo(self, request: IRequest, tag: Tag) -> Tag | str:
        """Kept outside of the demo."""
        return "" if self._form.demo else tag

    @renderer
    def to_chat(self, request: IRequest, tag: Tag) -> Tag | str:
        """Kept when the user and a token are known."""
        return tag if self._form.can_chat else ""

    @renderer
    def to_choose(self, request: IRequest, tag: Tag) -> Tag | str:
        """Kept when the user is still to be chosen."""
        return "" if self._form.can_chat or self._form.lacks_token else tag

    @renderer
    def bad_choice(self, request: IRequest, tag: Tag) -> Tag | str:
        """Kept when the URL names a user or a room that cannot be one."""
        return tag if self._form.named else ""

    @renderer
    def without_token(self, request: IRequest, tag: Tag) -> Tag | str:
        """Kept when there is no token and the page cannot be given one."""
        return tag if self._form.lacks_token else ""


class PageResource(Resource):
    """`GET /?uid=…&rid=…[&token=…]`.

    `issuer` makes the tokens of the demo; without `demo` it is never asked, and the token is the URL's. `randint(a, b)`
    gives the page's random number. Pages of `frame_ancestors`, which are origins, may show the page in a frame. URLs of
    scripts and styles get the name of `release`. Raises TemplateError when `templates` has no index.html that is XML.
    """

    log = Logger()

    def __init__(
        self,
        templates: FilePath[str],
        *,
        issuer: Issuer | None,
        demo: bool,
        randint: Callable[[int, int], int],
        frame_ancestors: Sequence[str] = (),
        release: Release | None = None,
    ) -> None:
        super().__init__()
        self._release = release
        self._frame_ancestors = tuple(frame_ancestors)
        self._issuer = issuer if demo else None
        self._demo = demo
        self._randint = randint
        # Stands around a slot's name in a rendered template. Nobody can guess it, so a template can't have it.
        mark = token_hex(16)
        self._marked = {name: f"{mark}{name}{mark}" for name in Visit(None, None, False, 0, "", False).slots}
        self._static = f"{mark}static{mark}".encode()
        self._marks = re.compile(f"{mark}(.*?){mark}".encode())
        # Of each form: bytes of the template, and between them the names of slots.
        self._rendered: dict[Form, list[bytes]] = {}
        path = templates.child("index.html")
        self._loader = XMLFile(path)
        try:
            self._loader.load()
        except OSError as error:
            raise TemplateError(f"the template {path.path} cannot be read: {error.strerror}") from None
        except SAXParseException as error:
            where = f"line {error.getLineNumber()}"
            raise TemplateError(f"the template {path.path} is not XML: {error.getMessage()} ({where})") from None

    def render_GET(self, request: IRequest) -> int:
        """The page. A template that asks for what is not there is a 500 and a line in the log."""
        if self._issuer is not None and (refusal := _refuse_strangers(request)):
            request.write(refusal)
            request.finish()
            return NOT_DONE_YET
        visit = self._visit(request)
        rendering = self._render(request, visit.form)
        rendering.addCallbacks(self._send, self._failed, callbackArgs=(request, visit), errbackArgs=(request,))
        rendering.addErrback(lambda failure: self.log.failure("the page could not be sent", failure))
        return NOT_DONE_YET

    def _render(self, request: IRequest, form: Form) -> Deferred[list[bytes]]:
        """The template in one form. Rendering takes half a millisecond; putting values in takes some microseconds."""
        parts = self._rendered.get(form)
        if parts is not None:
            return succeed(parts)

        def rendered(html: bytes) -> list[bytes]:
            parts = self._rendered[form] = self._marks.split(_STATIC.sub(self._static, html))
            return parts

        return flattenString(request, PageElement(self._loader, form, self._marked)).addCallback(rendered)

    def _visit(self, request: IRequest) -> Visit:
        arguments = request.args or {}
        names = [_argument(arguments, name) for name in (b"uid", b"rid")]
        uid, rid = _user(names[0]), _user_or_room(names[1])
        token = _argument(arguments, b"token")
        if self._issuer is not None:
            token = "" if uid is None else self._issuer.issue(uid, DEMO_TOKEN_SECONDS, DEMO_ROOMS)
        named = any(name and user is None for name, user in zip(names, (uid, rid), strict=True))
        return Visit(uid, rid, named, self._randint(1, 2**31 - 1), token, self._demo)

    def _send(self, parts: list[bytes], request: IRequest, visit: Visit) -> None:
        values = {name.encode(): escape(value).encode() for name, value in visit.slots.items()}
        release = self._release.look() if self._release is not None else ""
        values[b"static"] = f"static/{release}/".encode() if release else b"static/"
        html = [values[part] if number % 2 else part for number, part in enumerate(parts)]
        document = b"<!DOCTYPE html>\n" + b"".join(html)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        for name, value in page_headers(request.getHeader(b"host"), self._frame_ancestors).items():
            request.setHeader(name, value)
        request.setHeader(b"content-length", b"%d" % len(document))
        request.write(b"" if request.method == b"HEAD" else document)
        request.finish()

    def _failed(self, failure: Failure, request: IRequest) -> None:
        self.log.failure("the template could not be rendered", failure)
        request.setResponseCode(INTERNAL_SERVER_ERROR)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.write(b"The page could not be made; the daemon's log says why.\n")
        request.finish()


class DemoTokens(Resource):
    """`GET demo/token?uid=…`: another token in the demo, `{"token": …, "in": seconds}`, when the page's one ends."""

    isLeaf = True

    def __init__(self, issuer: Issuer) -> None:
        super().__init__()
        self._issuer = issuer

    def render_GET(self, request: Request) -> bytes:
        """A token; 421 for a host that is not this machine, 400 for what can't be a user."""
        refusal = _refuse_strangers(request)
        if refusal:
            return refusal
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        user = _user(_argument(request.args or {}, b"uid"))
        if user is None or request.postpath:
            request.setResponseCode(BAD_REQUEST)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return b"uid is not a user: 1 to 128 characters, not beginning with #.\n"
        request.setHeader(b"content-type", b"application/json")
        token = self._issuer.issue(user, DEMO_TOKEN_SECONDS, DEMO_ROOMS)
        return msgspec.json.encode({"token": token, "in": DEMO_TOKEN_SECONDS})


def _refuse_strangers(request: IRequest) -> bytes:
    """In a demo: the answer to a request for another host than this machine; nothing where it is for this one.

    Otherwise any page on the web could point its own name at this machine (DNS rebinding), and read a token.
    """
    if is_loopback(request.getHeader(b"host") or b""):
        return b""
    request.setResponseCode(MISDIRECTED)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return b"This is a demo, and for this machine alone: open it as localhost or 127.0.0.1.\n"


def is_loopback(host: bytes) -> bool:
    """Whether the header Host names this machine by an address or a name that nobody else can have (RFC 6761, 6.3)."""
    found = _HOST.fullmatch(host.decode("latin-1").lower())
    if found is None:
        return False
    name = found["six"] or found["name"]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _argument(arguments: dict[bytes, list[bytes]], name: bytes) -> str:
    """The first value of a query argument as text, "" without one."""
    values = arguments.get(name, [b""])
    return values[0].decode("utf-8", "replace")


def _user(name: str) -> str | None:
    """A user that an HTML attribute carries unchanged: control characters would reach the script as others."""
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in name):
        return None
    return as_user(name)


def _user_or_room(name: str) -> str | None:
    """With whom to talk, likewise: a user, or a room with its mark."""
    if is_room(name) and 1 < len(name) <= MAX_ID:
        return None if _user(name[1:]) is None else name
    return _user(name)
