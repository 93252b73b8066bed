"""``JwksClient``: the keys that an issuer publishes at a URL, fetched without holding up the reactor.

Keys are fetched at the start, at an interval, and when a token names a key that is not known; not more often than every
``PAUSE`` seconds, whatever tokens name. If a fetch fails, the keys of the last one that did not go on being used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004 - it is not Python's
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat import http_client
from kschat.chat.keys import Keys, KeysError
from kschat.chat.tokens import Verifier
from kschat.counters import Counters
from kschat.http_answers import HttpFault
from kschat.http_client import HttpClient
from kschat.outage_log import OutageLog

#: Seconds that one fetch may take, name look-up and TLS included.
FETCH_TIMEOUT: Final = 5.0

#: Seconds between the beginnings of two fetches, at least: tokens with made-up names can't make the daemon ask all the
#: time.
PAUSE: Final = 3.0

#: Seconds until a fetch that failed is tried again, at most, unless a token asks for it; it doubles up to this.
MAX_RETRY: Final = 60.0

#: Bytes of a JWK Set.
MAX_JWKS: Final = 100_000

#: Sockets that wait for a fetch; others are refused at once.
MAX_WAITING: Final = 1000


class JwksError(Exception):
    """The keys can't be had; the text is the end of a sentence."""


class JwksSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the keys are.

    Attributes:
        url: ``https:``, or ``http:`` on this machine.
        ca: file with the certificates that the server's is trusted by; empty for the system's.
        refresh: seconds between two fetches.
    """

    url: str
    ca: str = ""
    refresh: float = 600.0


def check_url(url: str) -> None:
    """That keys may be fetched from a URL: nobody else may be able to change them on their way.

    Raises:
        ValueError: they may not; the text ends a sentence that begins with the URL.
    """
    http_client.check_url(url, "https://login.example.org/.well-known/jwks.json")
    if not http_client.is_protected(url):
        raise ValueError("is not protected on its way: use https, or http on this machine (127.0.0.1) only")


async def fetch(settings: JwksSettings, reactor: Any) -> Keys:
    """The keys that are published now.

    Raises:
        JwksError: they can't be had, or are of no use.
        AddressError: the file of certificates can't be used.
    """
    # One request in minutes: no connection is kept.
    client = HttpClient(reactor, max_body=MAX_JWKS, ca=settings.ca, setting="jwks")
    try:
        answer = await client.request(b"GET", settings.url, {b"Accept": b"application/json"}, timeout=FETCH_TIMEOUT)
    except HttpFault as fault:
        raise JwksError(str(fault)) from fault
    if answer.status != 200:
        raise JwksError(f"the answer is status {answer.status}")
    try:
        return Keys.from_jwks(answer.body, strict=False)
    except KeysError as error:
        raise JwksError(str(error)) from None


class JwksClient:
    """Keeps a verifier's keys up to date. It is a ``chat.authentication.KeySource``, and a backend of the daemon.

    Args:
        settings: where the keys are.
        verifier: is given them.
        algorithms: that tokens may be signed with, for the log.
        reactor: Twisted's.
        counters: counts fetches.
        get: fetches; another one in tests.
    """

    log = Logger()

    def __init__(
        self,
        settings: JwksSettings,
        verifier: Verifier,
        *,
        reactor: Any,
        counters: Counters,
        get: Callable[[JwksSettings, Any], Any] = fetch,
    ) -> None:
        self._settings = settings
        self._verifier = verifier
        self._reactor = reactor
        self._clock: IReactorTime = reactor
        self._counters = counters
        self._get = get
        self._outage = OutageLog(self.log)
        self._keys: Keys | None = None
        self._began: float | None = None
        self._retry = PAUSE
        self._call: IDelayedCall | None = None
        self._fetching: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._running = False

    @property
    def up(self) -> bool:
        """Whether there are keys; those of an earlier fetch will do."""
        return self._keys is not None

    @property
    def count(self) -> int:
        """How many keys there are."""
        return 0 if self._keys is None else len(self._keys.keys)

    def start(self) -> None:
        """Fetch the keys, and again from time to time."""
        self._running = True
        self.log.info("there are no keys yet: they are fetched from {host}", host=self._host)
        self._fetch()

    def stop(self) -> Deferred[None]:
        """Fetch no more, and let those go on who wait."""
        self._running = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        fetching = self._fetching
        if fetching is None:
            self._tell()
            return _done()
        ended: Deferred[None] = Deferred()
        fetching.addBoth(lambda _: ended.callback(None))
        fetching.cancel()
        return ended

    def newer(self) -> Deferred[None] | None:
        """See ``KeySource``. It fires when the next fetch has ended, well or not."""
        if not self._running or len(self._waiting) >= MAX_WAITING:
            return None
        told: Deferred[None] = Deferred()
        self._waiting.append(told)
        self.refresh()
        return told

    def refresh(self) -> None:
        """Fetch the keys soon: at once, or ``PAUSE`` seconds after the last fetch began."""
        if self._running and self._fetching is None:
            since = PAUSE if self._began is None else self._clock.seconds() - self._began
            self._fetch_in(max(PAUSE - since, 0.0))

    def reread(self) -> str:
        """Fetch them soon, at the operator's command. Returns what is done, for the log."""
        self.refresh()
        return "the keys are fetched"

    @property
    def _host(self) -> str:
        return urlsplit(self._settings.url).netloc

    def _fetch_in(self, seconds: float) -> None:
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._fetch)
        elif self._call.getTime() > self._clock.seconds() + seconds:
            self._call.reset(seconds)

    def _fetch(self) -> None:
        self._call = None
        self._began = self._clock.seconds()
        fetched = Deferred.fromCoroutine(self._get(self._settings, self._reactor))
        fetched.addTimeout(FETCH_TIMEOUT, self._clock)
        fetched.addCallbacks(self._fetched, self._failed)
        fetched.addErrback(self._bug)
        self._fetching = fetched.addBoth(self._ended)

    def _fetched(self, keys: Keys) -> None:
        try:
            self._verifier.use(keys, strict=False)
        except KeysError as error:
            raise JwksError(str(error)) from None
        self._counters.key_fetches["fetched"] += 1
        self._retry = PAUSE
        if self._outage.is_open or keys != self._keys:
            self.log.info("the keys were fetched from {host}: {keys}", host=self._host, keys=keys)
        self._outage.up()
        self._keys = keys

    def _failed(self, failure: Failure) -> None:
        if not self._running:
            return
        self._counters.key_fetches["failed"] += 1
        late = failure.check(TimeoutError) is not None
        reason = f"no answer within {FETCH_TIMEOUT:g} seconds" if late else failure.getErrorMessage()
        after = "those of before are still used" if self.up else "all tokens are refused until they are there"
        self._outage.down(
            "the keys can't be fetched from {host}: {reason}; {after}", reason, host=self._host, after=after
        )

    def _bug(self, failure: Failure) -> None:
        if failure.check(JwksError) is not None:
            self._failed(failure)
        else:
            self.log.failure("the keys could not be fetched", failure)

    def _ended(self, _: object) -> None:
        self._fetching = None
        if self._running:
            if self._outage.is_open or not self.up:
                self._fetch_in(min(self._retry, self._settings.refresh))
                self._retry = min(2 * self._retry, MAX_RETRY)
            else:
                self._fetch_in(self._settings.refresh)
        self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            told.callback(None)


def _done() -> Deferred[None]:
    done: Deferred[None] = Deferred()
    done.callback(None)
    return done
