"""Web Push in the chat: what is taken for a subscription, the events, and when subscriptions end."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.backends.null import NullStore
from kschat.chat.message import Error
from kschat.chat.push import (
    MAX_ENDPOINT,
    MAX_SUBSCRIPTIONS,
    PushRefused,
    PushSubscription,
    bytes_of,
    text_of,
)
from kschat.chat.revocation import RevocationRequest
from kschat.rates import RateSettings
from tests.chat.peers import Daemon

ENDPOINT = "https://push.example.org/send/1"


def public_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


KEY, AUTH = text_of(public_key()), text_of(b"0123456789abcdef")


class SubscriptionTests(SynchronousTestCase):
    def refusal(self, endpoint: str = ENDPOINT, key: str = KEY, auth: str = AUTH) -> str:
        return str(self.assertRaises(PushRefused, PushSubscription.of, endpoint, key, auth))

    def test_keys_are_kept_in_one_form(self) -> None:
        padded = KEY + "=" * (-len(KEY) % 4), AUTH + "=="
        self.assertEqual(PushSubscription.of(ENDPOINT, *padded), PushSubscription(ENDPOINT, KEY, AUTH))

    def test_what_is_no_url_is_refused(self) -> None:
        PushSubscription.of(ENDPOINT + "x" * (MAX_ENDPOINT - len(ENDPOINT)), KEY, AUTH)
        self.assertIn("longer", self.refusal(ENDPOINT + "x" * (MAX_ENDPOINT + 1 - len(ENDPOINT))))
        for endpoint in (ENDPOINT + "\n", ENDPOINT + " ", ENDPOINT + "\u00e4", ENDPOINT + "\ud800", ENDPOINT + "\x7f"):
            self.assertIn("ASCII", self.refusal(endpoint))

    def test_what_is_no_public_key_is_refused(self) -> None:
        point = public_key()
        for key in (
            "",
            "x",
            "not base64!",
            "\u00e4" * 87,
            text_of(point[:64]),
            text_of(point + b"x"),
            text_of(b"\x02" + point[1:33]),  # compressed
            text_of(b"\x04" + bytes(64)),  # not on the curve
            text_of(point[:1] + point[33:] + point[1:33]),
            KEY[:-1] + "!",
            KEY.replace(KEY[3], "\n", 1),
            "A" * 1_000_000,
        ):
            self.assertIn("p256dh", self.refusal(key=key))

    def test_a_secret_of_another_length_is_refused(self) -> None:
        for auth in ("", text_of(bytes(15)), text_of(bytes(17)), AUTH + "====" * 40, "*" * 22):
            self.assertIn("auth", self.refusal(auth=auth))

    def test_base64_is_read_as_it_is_written(self) -> None:
        for data in (b"", b"a", b"ab", b"abc", bytes(range(256))[:64]):
            self.assertEqual(bytes_of(text_of(data)), data)
        self.assertEqual(bytes_of("AB"), b"")  # bits that mean nothing are set


class Service:
    """Sends pushes to one host."""

    public_key = "the-key"

    def check(self, endpoint: str) -> None:
        if not endpoint.startswith("https://push.example.org/"):
            raise PushRefused("endpoint is at a host that this server sends no pushes to.")


def json_of(number: int = 1, **more: Any) -> dict[str, Any]:
    """A browser's subscription."""
    return {
        "endpoint": f"https://push.example.org/send/{number}",
        "expirationTime": None,
        "keys": {"p256dh": KEY, "auth": AUTH},
        **more,
    }


class EventTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore(1000, 10**6)
        self.daemon = self.made(push=Service())
        self.ann = self.daemon.joined("ann")

    def made(self, **more: Any) -> Daemon:
        return Daemon(self.store, MemoryRouter(), **more)

    def endpoints(self, user: str) -> list[str]:
        """The ends of a user's endpoints."""
        return [one.endpoint.rpartition("/")[2] for one in self.successResultOf(self.store.subscriptions(user))]

    def test_the_key_is_told(self) -> None:
        self.assertEqual(self.ann.ask("PushKey"), {"ER": 0, "key": "the-key"})

    def test_a_subscription_is_kept_as_a_browser_gives_it(self) -> None:
        self.assertEqual(self.ann.ask("PushSubscribe", json_of()), {"ER": 0})
        self.assertEqual(
            self.successResultOf(self.store.subscriptions("ann")),
            [PushSubscription("https://push.example.org/send/1", KEY, AUTH)],
        )
        self.assertEqual(self.ann.ask("PushSubscribe", json_of()), {"ER": 0})
        self.assertEqual(self.endpoints("ann"), ["1"])

    def test_it_ends_when_the_user_says_so(self) -> None:
        for number in (1, 2):
            self.ann.ask("PushSubscribe", json_of(number))
        gone = {"endpoint": "https://push.example.org/send/1"}
        self.assertEqual(self.ann.ask("PushUnsubscribe", gone), {"ER": 0})
        self.assertEqual(self.endpoints("ann"), ["2"])
        self.assertEqual(self.ann.ask("PushUnsubscribe", gone), {"ER": 0})

    def test_nobody_ends_the_subscription_of_another(self) -> None:
        self.ann.ask("PushSubscribe", json_of())
        ben = self.daemon.joined("ben")
        self.assertEqual(ben.ask("PushUnsubscribe", {"endpoint": json_of()["endpoint"]}), {"ER": 0})
        self.assertEqual(self.endpoints("ann"), ["1"])

    def test_a_user_has_so_many_at_the_most(self) -> None:
        for number in range(MAX_SUBSCRIPTIONS + 2):
            self.ann.ask("PushSubscribe", json_of(number))
        self.assertEqual(self.endpoints("ann"), [str(number) for number in range(2, MAX_SUBSCRIPTIONS + 2)])

    def test_what_cannot_be_used_is_refused_in_words(self) -> None:
        for payload, why in (
            (json_of(endpoint="https://evil.example/x"), "endpoint is at a host that this server sends no pushes to."),
            (json_of(endpoint="https://127.0.0.1/x"), "endpoint is at a host that this server sends no pushes to."),
            (json_of(keys={"p256dh": "x", "auth": AUTH}), "keys.p256dh is no public key on P-256."),
            (json_of(keys={"p256dh": KEY, "auth": "x"}), "keys.auth is not 16 bytes as URL-safe base64."),
            (json_of(endpoint="https://push.example.org/" + "x" * 1000), "endpoint is longer than 1000 characters."),
        ):
            self.assertEqual(self.ann.ask("PushSubscribe", payload), {"ER": Error.INVALID, "WHY": why})
        wrong: list[Any] = [{}, {"endpoint": 1}, json_of(keys=None), json_of(keys={}), [], "x"]
        for payload in wrong:
            self.assertEqual(self.ann.ask("PushSubscribe", payload)["ER"], Error.INVALID)
            self.assertEqual(self.ann.ask("PushUnsubscribe", {"endpoint": None})["ER"], Error.INVALID)
        self.assertEqual(self.endpoints("ann"), [])

    def test_a_server_without_a_key_sends_none(self) -> None:
        ann = self.made().joined("ann")
        no = {"ER": Error.NOT_ALLOWED, "WHY": "This server sends no pushes."}
        self.assertEqual((ann.ask("PushKey"), ann.ask("PushSubscribe", json_of())), (no, no))
        # What was kept before can still be forgotten.
        self.assertEqual(ann.ask("PushUnsubscribe", {"endpoint": "x"}), {"ER": 0})

    def test_a_server_that_keeps_nothing_says_so(self) -> None:
        ann = Daemon(NullStore(), MemoryRouter(), push=Service()).joined("ann")
        for name, payload in (("PushKey", []), ("PushSubscribe", [json_of()]), ("PushUnsubscribe", [json_of()])):
            self.assertEqual(ann.ask(name, *payload)["ER"], Error.NO_STORE)

    def test_many_new_ones_are_refused_for_their_rate(self) -> None:
        daemon = self.made(push=Service(), rates=RateSettings(user_copies=20.0))
        ann = daemon.joined("ann")
        answers = [ann.ask("PushSubscribe", json_of(number))["ER"] for number in range(10)]
        self.assertEqual(answers[0], 0)
        self.assertIn(Error.TOO_MANY, answers)

    def test_a_logout_of_all_ends_them_and_one_of_a_socket_does_not(self) -> None:
        self.ann.ask("PushSubscribe", json_of())
        self.daemon.joined("ann").emit("Logout", {})
        self.assertEqual(self.endpoints("ann"), ["1"])
        ben = self.daemon.joined("ben")
        ben.ask("PushSubscribe", json_of(2))
        self.ann.emit("Logout", {"all": True})
        self.assertEqual((self.endpoints("ann"), self.endpoints("ben")), ([], ["2"]))

    def test_a_user_whose_tokens_are_revoked_gets_no_more(self) -> None:
        operations = self.daemon.chat.context.operations
        self.ann.ask("PushSubscribe", json_of())
        for request in (RevocationRequest(jti="some"), RevocationRequest(issued_before=0.0)):
            self.successResultOf(operations.revoke(request))
            self.assertEqual(self.endpoints("ann"), ["1"])
        self.successResultOf(operations.revoke(RevocationRequest(user="ann", lift=True)))
        self.assertEqual(self.endpoints("ann"), ["1"])
        self.successResultOf(operations.revoke(RevocationRequest(user="ann")))
        self.assertEqual(self.endpoints("ann"), [])
