"""The commands that use the HTTP API. Each prints for people, or JSON with ``--json``."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any, ClassVar, Final, TextIO

import msgspec
from msgspec import Raw
from twisted.python import usage

from kschat.api import types
from kschat.cli.api_client import Api, ApiClient, ApiFailure, exit_status, key_of, url_of
from kschat.cli.definition import Definition
from kschat.cli.definitions import DEFINITIONS, NO
from kschat.cli.options import DefinedOptions
from kschat.cli.status_screen import screen
from kschat.log_text import shown
from kschat.settings import SETTINGS, ConfigError
from kschat.settings.loading import gather

#: Messages of a conversation that ``tail`` reads to see whether there are new ones.
LOOK: Final = 5

#: Characters of the answer that ``erase`` reads.
MAX_ANSWER: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What commands need of their surroundings, so that tests can give them other ones.

    Attributes:
        connect: makes a client of the API: its URL, the key, seconds, and a file of certificates.
        wall: the time of day.
        monotonic: seconds of a clock that nobody sets.
        sleep: waits so many seconds.
        standard_input: what is typed, or piped.
    """

    connect: Callable[[str, str, float, str], Api]
    wall: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    standard_input: TextIO


def connect(url: str, key: str, timeout: float, ca: str) -> Api:
    """The real client."""
    return ApiClient(url, key, timeout=timeout, ca=ca)


class ApiOptions(DefinedOptions):
    """Options of a command that uses the API; what is no option may stand before, between or after them.

    Attributes:
        operands: in their order.
    """

    operands: tuple[str, ...] = ()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """See above. Raises UsageError."""
        super().parseOptions(self.permuted(options or ()))

    def parseArgs(self, *operands: str) -> None:
        """The operands, as many as the definition says."""
        least, most = 0, 0.0
        for one in self.definition.operands:
            least += one.many in ("", "+")
            most += 1 if one.many in ("", "?") else float("inf")
        if not least <= len(operands) <= most:
            what = "is missing" if len(operands) < least else "is one too many"
            which = (
                self.definition.operands[len(operands)].name
                if len(operands) < least
                else repr(operands[int(min(most, len(operands)))])
            )
            raise usage.UsageError(f"{self.definition.name}: {which} {what}: {self.definition.usage}")
        self.operands = operands


def options_of(definition: Definition) -> type[ApiOptions]:
    """The options of a command."""

    class Chosen(ApiOptions):
        optParameters: ClassVar[list[list[Any]]] = definition.parameters()
        optFlags: ClassVar[list[list[Any]]] = definition.flags()

    Chosen.definition = definition
    return Chosen


class Call:
    """One call of a command.

    Args:
        options: as they were given.
        environ: of the process.
        output: for what it prints.
        errors: for what is no result: questions, hints.
        tools: what it needs.
    """

    def __init__(
        self, options: ApiOptions, environ: Mapping[str, str], *, output: TextIO, errors: TextIO, tools: Tools
    ) -> None:
        self.options = options
        self.operands = options.operands
        self.errors = errors
        self.tools = tools
        self._output = output
        self._environ = environ

    @property
    def is_json(self) -> bool:
        """Whether JSON is printed."""
        return bool(self.options["json"])

    def print(self, *cells: str) -> None:
        """A line for people, with a tab between its cells: what a terminal would obey is escaped."""
        self._output.write("\t".join(map(shown, cells)) + "\n")
        self._output.flush()

    def json(self, value: Any) -> None:
        """A line of JSON."""
        self._output.write(msgspec.json.encode(value).decode() + "\n")
        self._output.flush()

    def client(self, scope: str) -> Api:
        """The API, with a key that has a scope. Raises ConfigError."""
        given = {name: str(one.value) for name, one in gather(SETTINGS, self.options.given(), self._environ).items()}
        url = self.options["api"] or self._environ.get("KSCHAT_API", "").strip()
        if not url:
            if not given["api_listen"]:
                raise ConfigError("where is the API? Name it by --api, KSCHAT_API or the setting api_listen")
            url = url_of(given["api_listen"])
        key = key_of(self.options["key-file"], self._environ, given["api_keys"], scope)
        return self.tools.connect(url, key, self.seconds("timeout"), self.options["ca"] or "")

    def seconds(self, name: str) -> float:
        """A time that an option gives. Raises UsageError."""
        text = self.options[name]
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not float(text):
            raise usage.UsageError(f"--{name}: {text!r} is not a number of seconds")
        return float(text)

    def count(self, name: str) -> int:
        """A number that an option gives. Raises UsageError."""
        text = self.options[name]
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise usage.UsageError(f"--{name}: {text!r} is not a number")
        return int(text)


class _Kept(types.Message, frozen=True, kw_only=True):
    """A line of an export: a message, and with whom the conversation is."""

    peer: str | None


def status(call: Call) -> int:
    """``kschat status``."""
    client = call.client("counts")
    interval = call.seconds("interval")
    before, began = client.ask("counts", types.Counts), call.tools.monotonic()
    while True:
        call.tools.sleep(interval)
        now, ended = client.ask("counts", types.Counts), call.tools.monotonic()
        # A daemon that does not answer makes the look itself take seconds.
        seconds = max(ended - began, interval)
        if call.is_json:
            call.json({"before": before, "now": now, "seconds": seconds})
        else:
            for line in screen(before, now, seconds, call.tools.wall()):
                call.print(line)
        if not call.options["watch"]:
            return 0 if now.complete and all(all(one.services.values()) for one in now.daemons) else NO
        if not call.is_json:
            call.print()
        before, began = now, ended


def online(call: Call) -> int:
    """``kschat online``."""
    client = call.client("presence")
    if not call.operands:
        return _all_online(call, client)
    found: dict[str, types.UserPresence] = {}
    for start in range(0, len(call.operands), types.MAX_USERS):
        found |= client.ask("presence", types.Presences, users=call.operands[start : start + types.MAX_USERS]).users
    if call.is_json:
        call.json({"users": found})
    else:
        for user, one in found.items():
            seen = f", last seen {_time(one.last_seen)}" if one.last_seen is not None else ""
            call.print(user, "unknown" if one.online is None else "online" if one.online else f"offline{seen}")
    return 0 if all(one.online for one in found.values()) else NO


def _all_online(call: Call, client: Api) -> int:
    users: list[str] = []
    complete, after = True, None
    while True:
        page = client.ask("online", types.OnlineUsers, after=after, limit=types.MAX_USERS)
        complete = complete and page.complete
        if call.is_json:
            users += page.users
        else:
            for user in page.users:
                call.print(user)
        after = page.next
        if after is None:
            break
    if call.is_json:
        call.json({"users": users, "complete": complete})
    if not complete:
        call.errors.write("kschat: a daemon did not answer: there may be more\n")
    return 0 if complete else NO


def sockets(call: Call) -> int:
    """``kschat sockets``."""
    found = call.client("presence").ask("sockets", types.Sockets, user=call.operands[0])
    if call.is_json:
        call.json(found)
    else:
        for one in found.sockets:
            since = _time(int(one.since * 1000)) if one.since else "-"
            call.print(one.id, one.address, f"Engine.IO {one.revision}", since)
    if not found.complete:
        call.errors.write("kschat: a daemon did not answer: there may be more\n")
    return 0 if found.complete else NO


def send(call: Call) -> int:
    """``kschat send``."""
    to, text = call.operands
    if text == "-":
        text = call.tools.standard_input.read()
    message: Any = text
    if call.options["raw"]:
        try:
            message = msgspec.json.decode(text.encode(), type=Raw)
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
            raise usage.UsageError(f"TEXT is not JSON: {error}") from None
    recipients = [one.strip() for one in to.split(",") if one.strip()]
    # So that a request that is repeated, since its connection broke, stores nothing twice.
    cid = call.options["cid"] or token_urlsafe(12)
    body = {"to": recipients if len(recipients) != 1 else recipients[0], "msg": message, "cid": cid}
    sent = call.client("send").ask("send", types.Sent, **body, **{"from": call.options["from"]})
    if call.is_json:
        call.json(sent)
    else:
        for one in sent.results:
            detail = f"refused: {one.detail}" if one.error else f"{one.mid}{' (sent before)' if one.repeat else ''}"
            call.print(one.to, detail)
    errors = {one.error for one in sent.results if one.error}
    if not errors:
        return 0
    return exit_status(errors)


def history(call: Call) -> int:
    """``kschat history``."""
    user, peer = call.operands
    client = call.client("read")
    left = None if call.options["all"] else call.count("lines")
    pages: list[list[types.Message]] = []
    before = call.options["before"]
    while left is None or left > 0:
        limit = types.MAX_LISTED if left is None else min(left, types.MAX_LISTED)
        page = client.ask("history", types.Messages, user=user, peer=peer, before=before, limit=limit)
        pages.append(page.messages)
        left = None if left is None else left - len(page.messages)
        before = page.next
        if before is None:
            break
    messages = [message for page in reversed(pages) for message in page]
    if call.is_json:
        call.json({"messages": messages, "next": before})
    else:
        for message in messages:
            call.print(_line(message))
    return 0


def tail(call: Call) -> int:
    """``kschat tail``: looks again and again."""
    client = call.client("read")
    user, *peers = call.operands
    interval, lines = call.seconds("interval"), call.count("lines")

    def peers_since(mid: str) -> list[str]:
        """With whom there are messages since."""
        if peers:
            return peers
        found = client.ask("conversations", types.ConversationList, user=user, limit=types.MAX_LISTED).conversations
        return [one.peer for one in found if one.last.mid > mid]

    def messages_since(mid: str, most: int | None) -> list[types.Message]:
        """In order; ``most`` of them at most, the newest."""
        found: list[types.Message] = []
        for peer in peers_since(mid):
            found += _since(client, user, peer, mid, most)
        found.sort(key=lambda message: message.mid)
        return found if most is None else found[len(found) - min(most, len(found)) :]

    last = ""
    first = messages_since(last, max(lines, 1))
    shown_first = first[-lines:] if lines else []
    last = first[-1].mid if first else last
    fresh = shown_first
    while True:
        for message in fresh:
            if call.is_json:
                call.json(message)
            else:
                call.print(_line(message))
        call.tools.sleep(interval)
        fresh = messages_since(last, None)
        last = fresh[-1].mid if fresh else last


def _since(client: Api, user: str, peer: str, mid: str, most: int | None) -> Iterator[types.Message]:
    """The messages of a conversation after one, newest first; ``most`` of them at most."""
    before, count, size = None, 0, LOOK if mid else types.MAX_LISTED
    while True:
        # The first page of a look is short: mostly there is nothing new.
        limit = size if most is None else min(most - count, types.MAX_LISTED)
        page = client.ask("history", types.Messages, user=user, peer=peer, before=before, limit=limit)
        for message in reversed(page.messages):
            if message.mid <= mid:
                return
            yield message
            count += 1
        before, size = page.next, types.MAX_LISTED
        # Where nothing was shown before, a conversation would be new as a whole.
        if before is None or (most is not None and count >= most) or (not mid and most is None):
            return


def rooms(call: Call) -> int:
    """``kschat rooms``."""
    action, name, *users = call.operands
    if action not in ("of", "members", "add", "remove"):
        raise usage.UsageError(f"rooms: there is no {action!r}: {DEFINITIONS['rooms'].usage}")
    if (action in ("add", "remove")) != bool(users):
        raise usage.UsageError(f"rooms {action}: {'which users?' if not users else f'{users[0]!r} is one too many'}")
    client = call.client("rooms")
    if action == "of":
        listed = client.ask("rooms/of", types.Rooms, user=name).rooms
        return _listed(call, {"rooms": listed}, listed)
    room = name if name.startswith("#") else f"#{name}"
    if action == "members":
        members: list[str] = []
        after = None
        while True:
            page = client.ask("rooms/members", types.Members, room=room, after=after)
            members += page.members
            after = page.next
            if after is None:
                return _listed(call, {"members": members, "total": page.total}, members)
    changed: list[str] = []
    for start in range(0, len(users), types.MAX_LISTED):
        some = users[start : start + types.MAX_LISTED]
        changed += client.ask(f"rooms/{action}", types.Changed, room=room, users=some).changed
    return _listed(call, {"changed": changed}, changed)


def _listed(call: Call, whole: Any, lines: Sequence[str]) -> int:
    if call.is_json:
        call.json(whole)
    else:
        for line in lines:
            call.print(line)
    return 0


def disconnect(call: Call) -> int:
    """``kschat disconnect``."""
    call.client("disconnect").raw("disconnect", user=call.operands[0])
    if call.is_json:
        call.json({})
    return 0


def erase(call: Call) -> int:
    """``kschat erase``."""
    (user,) = call.operands
    client = call.client("erase")
    if not call.options["yes"]:
        if not call.tools.standard_input.isatty():
            raise usage.UsageError("erase: it cannot be undone: give --yes to confirm")
        call.errors.write(shown(f"Erase {user} and all of the user's messages? This cannot be undone.") + " [y/N] ")
        call.errors.flush()
        if call.tools.standard_input.readline(MAX_ANSWER).strip().lower() not in ("y", "yes"):
            raise ConfigError("erase: nothing was done")
    erased = client.ask("erase", types.ErasedUser, user=user)
    if call.is_json:
        call.json(erased)
    else:
        call.print(f"deleted {_counted(erased.messages, 'message')}")
    return 0


def export(call: Call) -> int:
    """``kschat export``: lines of JSON, with and without ``--json``."""
    (user,) = call.operands
    client = call.client("read")
    path = call.options["output"]
    if not path:
        for line in _exported(client, user):
            call.json(line)
        return 0
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"--output: {path}: {error.strerror or error}") from None
    whole = False
    try:
        with os.fdopen(descriptor, "wb") as file:
            for line in _exported(client, user):
                file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        whole = True
    except OSError as error:
        raise ConfigError(f"--output: {path}: {error.strerror or error}") from None
    finally:
        if not whole:
            os.unlink(path)
    return 0


def _exported(client: Api, user: str) -> Iterator[types.About | _Kept]:
    cursor: types.ExportCursor | None = None
    while True:
        page = client.ask("export", types.Exported, user=user, cursor=cursor)
        if page.about is not None:
            yield page.about
        for message in page.messages:
            yield _Kept(peer=page.peer, **msgspec.structs.asdict(message))
        cursor = page.next
        if cursor is None:
            return


def _line(message: types.Message) -> str:
    """A message for people: its time, who wrote it to whom, and what."""
    raw = bytes(message.msg)
    time = f"{_time(message.time)} {message.sender} > {message.to}:"
    if message.deleted is not None:
        return f"{time} (deleted)"
    try:
        text = msgspec.json.decode(raw, type=str) if raw[:1] == b'"' else raw.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = raw.decode("utf-8", "replace")
    more = f" (+{_counted(len(message.attachments), 'attachment')})" if message.attachments else ""
    edited = " (edited)" if message.edited is not None else ""
    return f"{time} {text}{more}{edited}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _time(milliseconds: int) -> str:
    try:
        time = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)
    return time.strftime("%Y-%m-%d %H:%M:%SZ")


#: By their names.
API_COMMANDS: Final[Mapping[str, Callable[[Call], int]]] = {
    "status": status,
    "online": online,
    "sockets": sockets,
    "send": send,
    "history": history,
    "tail": tail,
    "rooms": rooms,
    "disconnect": disconnect,
    "export": export,
    "erase": erase,
}

__all__ = ["API_COMMANDS", "ApiFailure", "ApiOptions", "Call", "Tools", "connect", "options_of"]
