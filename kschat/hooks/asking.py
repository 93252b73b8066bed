"""``Asker``: asks an operator's back end by HTTP whether users may do what they want to.

A question is a POST of ``{"type": "ask.join" | "ask.write" | "ask.send", "timestamp", "data"}``, signed as a Standard
Webhook. The answer is status 200 with ``{"allow": true}`` or ``{"allow": false, "why": "..."}``; to ``ask.send`` it may
also have ``msg``, what the message is to say instead. Anything else is no answer, and the default holds.

Nothing waits without bound: the time of a question is bounded, the wait for its turn included, and so is the number of
questions that are unanswered, and of those that wait, the users in turns. Beyond that, and while the breaker is open,
the default holds at once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Raw, UnsetType
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from kschat.chat.changes import is_update, update_of
from kschat.chat.clocks import WallClock
from kschat.chat.interfaces import Decision, IAuthorizer
from kschat.chat.message import Message
from kschat.counters import Counters
from kschat.hooks.breaker import Breaker
from kschat.hooks.http import payload
from kschat.http_answers import HttpAnswer, HttpFault
from kschat.outage_log import OutageLog
from kschat.repeated_log import RepeatedLog
from kschat.wire.errors import ProtocolError
from kschat.wire.jsontext import mend_surrogates, mend_utf8

#: The questions that there are.
JOIN: Final = "join"
WRITE: Final = "write"
SEND: Final = "send"

#: Answers to ``ask.write`` that are remembered; the oldest are forgotten first.
MAX_CACHED: Final = 20_000

#: Questions of one user that wait. Beyond it the user is refused, whatever the default: a flood gets nobody past.
MAX_WAITING_USER: Final = 100

#: Bytes of an answer beside the ``msg`` that it may have.
MAX_ANSWER: Final = 10_000

#: Characters of a reason that a user is told; more are cut off.
MAX_WHY: Final = 200

_ALLOWED: Final = Decision(True)


class AskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an ``Asker``.

    Attributes:
        timeout: seconds that one question may take in all.
        silent: whether users may, without an answer.
        cache: seconds for which an answer to ``ask.write`` holds; 0 for none.
        concurrent: questions that are sent and unanswered, at most.
        waiting: questions that wait to be sent, at most.
    """

    timeout: float = 2.0
    silent: bool = False
    cache: float = 60.0
    concurrent: int = 50
    waiting: int = 1000


class Poster(Protocol):
    """Sends questions (``http.HookClient``)."""

    def post(self, id: str, body: bytes, *, timeout: float | None = None) -> Deferred[HttpAnswer]:  # noqa: A002
        """Send a body. Fails with HttpFault, or CancelledError."""

    def keep(self, connections: int) -> None:
        """Keep up to so many connections."""

    def stop(self) -> Deferred[Any]:
        """Cancel all, and end."""


class _Answer(msgspec.Struct, frozen=True):
    allow: bool
    why: str | None = None
    msg: Raw | UnsetType = UNSET


_answer: Final = msgspec.json.Decoder(_Answer).decode


class _Question:
    """One question. ``due``: when its time is over. ``expiry``: ends it while it waits."""

    __slots__ = ("answer", "data", "due", "expiry", "kind", "user")

    def __init__(self, kind: str, user: str, data: Callable[[], dict[str, Any]], due: float) -> None:
        self.kind = kind
        self.user = user
        self.data = data
        self.due = due
        self.answer: Deferred[Decision] = Deferred()
        self.expiry: IDelayedCall | None = None


#: An answer, if it is known at once.
Asked: TypeAlias = Decision | Deferred[Decision]


@implementer(IAuthorizer)
class Asker:
    """Asks one back end.

    Args:
        poster: sends the questions.
        url: where to, for the log.
        about: what is asked: of ``JOIN``, ``WRITE``, ``SEND``. All else is allowed.
        settings: how.
        clock: the reactor.
        wall: the time of day.
        counters: counts.

    Attributes:
        in_flight: questions that were sent and not answered.
        waiting: questions that wait to be sent.
    """

    log = Logger()

    def __init__(
        self,
        poster: Poster,
        *,
        url: str,
        about: frozenset[str],
        settings: AskSettings,
        clock: IReactorTime,
        wall: WallClock,
        counters: Counters,
    ) -> None:
        self._poster = poster
        self._host = urlsplit(url).netloc
        self._about = about
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._counters = counters
        self._breaker = Breaker(clock.seconds)
        # A user may know what the back end fails on, and send it between others.
        self._repeated = RepeatedLog(clock)
        self._outage = OutageLog(self.log, LogLevel.error, repeated=self._repeated)
        self._stopped = False
        self.in_flight = 0
        self.waiting = 0
        # Those that wait, by user; the user whose turn it is first.
        self._turns: OrderedDict[str, deque[_Question]] = OrderedDict()
        # By user and recipient: until when an answer holds, and the answer; the oldest first.
        self._cache: OrderedDict[tuple[str, str], tuple[float, Decision]] = OrderedDict()
        # By the same: those who wait for the answer to a question that somebody has asked.
        self._sharing: dict[tuple[str, str], list[Deferred[Decision]]] = {}

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open: the back end did not answer, and is not asked for a while."""
        return self._breaker.is_open

    def use(self, settings: AskSettings) -> None:
        """Other settings hold from now on; answers are forgotten, also those to questions that were asked before."""
        self._settings = settings
        self._poster.keep(settings.concurrent)
        # Not cleared: what was asked before belongs to the old ones, whenever it is answered.
        self._cache = OrderedDict()
        self._sharing = {}
        self._next()

    def start(self) -> None:
        """There is nothing to start: the first question connects."""

    def stop(self) -> Deferred[Any]:
        """Ask nothing more; the default holds for what is unanswered."""
        self._stopped = True
        self._give_up_waiting("stopped")
        self._repeated.flush()
        return maybeDeferred(self._poster.stop)

    # ``IAuthorizer``.

    def may_join(self, user: str, room: str) -> Asked:
        """See ``IAuthorizer``."""
        if JOIN not in self._about:
            return _ALLOWED
        return self._ask(JOIN, user, lambda: {"user": user, "room": room})

    def may_write(self, user: str, to: str) -> Asked:
        """See ``IAuthorizer``. Answers are remembered for a time; the same question meanwhile shares the answer."""
        if WRITE not in self._about:
            return _ALLOWED
        key = (user, to)
        known = self._cache.get(key)
        if known is not None and self._clock.seconds() < known[0]:
            self._counters.ask_cached += 1
            return known[1]
        sharing = self._sharing.get(key)
        if sharing is not None:
            shared: Deferred[Decision] = Deferred()
            sharing.append(shared)
            return shared
        asked = self._ask(WRITE, user, lambda: {"user": user, "to": to})
        if not isinstance(asked, Deferred):
            return asked
        others: list[Deferred[Decision]] = []
        sharing_now, cache = self._sharing, self._cache
        sharing_now[key] = others

        def answered(decision: Decision) -> Decision:
            del sharing_now[key]
            if not decision.silent and self._settings.cache and cache is self._cache:
                self._remember(key, decision)
            for other in others:
                other.callback(decision)
            return decision

        return asked.addCallback(answered)

    def may_send(self, message: Message) -> Asked:
        """See ``IAuthorizer``."""
        if SEND not in self._about:
            return _ALLOWED
        try:
            _readable(message)
        except ProtocolError as error:
            return Decision(False, f"msg can't be checked: {error.detail}.")
        return self._ask(SEND, message.sender, lambda: _of_message(message))

    # Questions.

    def _remember(self, key: tuple[str, str], decision: Decision) -> None:
        self._cache.pop(key, None)
        self._cache[key] = (self._clock.seconds() + self._settings.cache, decision)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)

    def _ask(self, kind: str, user: str, data: Callable[[], dict[str, Any]]) -> Asked:
        settings = self._settings
        if self._stopped:
            return self._silent("stopped")
        has_place = self.in_flight < settings.concurrent and not self.waiting
        if len(self._turns.get(user, ())) >= MAX_WAITING_USER:
            self._counters.ask_silent["user"] += 1
            return Decision(False, silent=True)
        if not has_place and self.waiting >= settings.waiting:
            return self._silent("busy")
        if not self._breaker.allows():
            return self._silent("open")
        question = _Question(kind, user, data, self._clock.seconds() + settings.timeout)
        if has_place:
            self._send(question)
        else:
            self._turns.setdefault(user, deque()).append(question)
            self.waiting += 1
            question.expiry = self._clock.callLater(settings.timeout, self._expire, question)
        return question.answer

    def _next(self) -> None:
        """Send as many of those that wait as may be sent now."""
        while self._turns and self.in_flight < self._settings.concurrent:
            user, questions = self._turns.popitem(last=False)
            question = questions.popleft()
            if questions:
                self._turns[user] = questions
            self.waiting -= 1
            if question.expiry is not None:
                question.expiry.cancel()
            if question.due <= self._clock.seconds():
                # Answers are read before timers run: in a busy turn its timer is late.
                self._too_late(question)
            else:
                self._send(question)

    def _send(self, question: _Question) -> None:
        self.in_flight += 1
        self._counters.ask_questions[question.kind] += 1
        began = self._clock.seconds()
        # One that has waited for most of its time says nothing of the back end if it is not answered in the rest.
        late = question.expiry is not None and question.due - began < self._settings.timeout / 2
        posted: Deferred[Any] = maybeDeferred(self._post, question, question.due - began)
        posted.addCallbacks(self._answered, self._not_answered, callbackArgs=(question.kind,), errbackArgs=(late,))
        posted.addErrback(self._bug).addCallback(self._finish, question, began)
        posted.addErrback(self._bug)

    def _post(self, question: _Question, timeout: float) -> Deferred[HttpAnswer]:
        body = payload(f"ask.{question.kind}", self._wall(), question.data())
        return self._poster.post(f"ask_{token_hex(12)}", body, timeout=timeout)

    def _finish(self, decision: Decision, question: _Question, began: float) -> None:
        self.in_flight -= 1
        self._counters.ask_seconds.observe(self._clock.seconds() - began)
        if self._breaker.is_open:
            self._give_up_waiting("open")
        else:
            self._next()
        question.answer.callback(decision)

    def _expire(self, question: _Question) -> None:
        """Its time is over, and its turn has not come."""
        questions = self._turns[question.user]
        questions.remove(question)
        if not questions:
            del self._turns[question.user]
        self.waiting -= 1
        self._too_late(question)

    def _too_late(self, question: _Question) -> None:
        self._breaker.not_sent()
        question.answer.callback(self._silent("busy"))

    def _give_up_waiting(self, reason: str) -> None:
        turns, self._turns = self._turns, OrderedDict()
        self.waiting = 0
        for questions in turns.values():
            for question in questions:
                if question.expiry is not None:
                    question.expiry.cancel()
                self._breaker.not_sent()
                question.answer.callback(self._silent(reason))

    # Answers.

    def _answered(self, answer: HttpAnswer, kind: str) -> Decision:
        self._breaker.answered()
        if answer.status != 200:
            return self._no_use("status", f"the answer is status {answer.status}")
        try:
            found = _answer(answer.body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return self._no_use("invalid", 'the answer is not like {"allow": true}')
        self._outage.back("{host} answers questions again", host=self._host)
        if not found.allow:
            self._counters.ask_answers["refused"] += 1
            return Decision(False, _cut(found.why or ""))
        # A language that has no other word for "nothing" writes null.
        if kind != SEND or isinstance(found.msg, UnsetType) or bytes(found.msg) == b"null":
            self._counters.ask_answers["allowed"] += 1
            return _ALLOWED
        self._counters.ask_answers["changed"] += 1
        return Decision(True, msg=Raw(bytes(found.msg)))

    def _not_answered(self, failure: Failure, late: bool) -> Decision:
        if failure.check(CancelledError) is not None:
            self._breaker.not_sent()
            return self._silent("stopped")
        fault = failure.value
        if not isinstance(fault, HttpFault):
            failure.raiseException()
        if late and fault.kind == "timeout":
            self._breaker.not_sent()
            return self._silent("busy")
        self._breaker.failed()
        return self._no_use(fault.kind, str(fault))

    def _bug(self, failure: Failure) -> Decision:
        self.log.failure("a question could not be asked", failure)
        self._breaker.failed()
        return self._silent("broken")

    def _no_use(self, reason: str, why: str) -> Decision:
        what = "allowed" if self._settings.silent else "refused"
        self._outage.down(
            "what users want to do is {what}, since questions to {host} are not answered: {reason}",
            why,
            host=self._host,
            what=what,
        )
        return self._silent(reason)

    def _silent(self, reason: str) -> Decision:
        self._counters.ask_silent[reason] += 1
        return Decision(self._settings.silent, silent=True)


def _readable(message: Message) -> Raw:
    """The ``msg`` as every JSON parser reads it: one that fails on half of a surrogate pair would not be moderated.

    Raises:
        ProtocolError: there are too many of them.
    """
    return Raw(mend_surrogates(mend_utf8(bytes(message.msg))))


def _of_message(message: Message) -> dict[str, Any]:
    """The data of ``ask.send``. (msgspec writes bytes as Base64.)"""
    data: dict[str, Any] = {"user": message.sender, "to": message.recipient, "msg": _readable(message)}
    if message.attachments:
        data["attachments"] = message.attachments
    if message.cid is not None:
        data["cid"] = message.cid
    if is_update(message):
        data["edits"] = update_of(message).target
    return data


def _cut(why: str) -> str:
    text = " ".join(why.split())
    return text if len(text) <= MAX_WHY else text[: MAX_WHY - 1] + "…"
