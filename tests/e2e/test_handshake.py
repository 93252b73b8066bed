"""Who may come in, and what happens to who may not: npm's clients of every major version against the real daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tests.e2e.chatting import ChatTestCase, new_number, new_user, sending
from tests.support import Event, NodeSocket, bad_tokens, token


class _Handshake(ChatTestCase):
    """Run by each version. A connection that joins nothing that serves something is closed after a second here."""

    settings: ClassVar[Mapping[str, object]] = {"connect_timeout": 1}

    @property
    def error_event(self) -> str:
        """What the library calls its event of a refused namespace."""
        return "error" if self.version < 3 else "connect_error"

    def refusal(self, event: Event) -> object:
        """The text of a refusal: a bare string until 2.x, an Error's message from 3.x on."""
        (value,) = event.args
        return value if self.version < 3 else value["$error"]

    async def is_refused(self, what: str, url: str, **options: object) -> NodeSocket:
        """Opens a socket that is told "Authentication error", and nothing else."""
        socket = await self.client().open(url, **options)
        event = await socket.next(self.error_event)
        self.assertEqual("Authentication error", self.refusal(event), what)
        self.assertFalse((await socket.state())["connected"], what)
        return socket

    async def works(self, user: str | int, socket: NodeSocket) -> None:
        """The socket is in the chat as ``user``."""
        (ack,) = await socket.emit("Send", sending(user, user, "hi"))
        self.assertEqual("Send Emit is success.", ack["RESPONSE"])

    async def nothing_stays_of(self, *sockets: NodeSocket) -> None:
        """While the clients are still there, the daemon has let go of their connections; none was ever connected."""
        await self.daemon.is_left()
        for socket in sockets:
            self.assertNotIn("connect", [event.name for event in socket.unseen])

    async def test_the_tutorials_options_connect(self) -> None:
        user = new_user()
        options = {"reconnect": False, "try multiple transports": False, "transports": ["websocket"]}
        query = f"token={token(user)}&ksId={user}"
        await self.works(user, await self.client().connect(self.chat_url, **options, query=query))

    async def test_a_query_given_as_an_object_connects(self) -> None:
        user = new_number()
        query = {"token": token(user), "ksId": user}
        await self.works(user, await self.client().connect(self.chat_url, query=query))

    async def test_ksid_may_be_left_out(self) -> None:
        user = new_user()
        await self.works(user, await self.client().connect(self.chat_url, query=f"token={token(user)}"))

    async def test_a_user_beyond_ascii_connects(self) -> None:
        user = new_user("é漢😀")
        await self.works(user, await self.client().connect(self.chat_url, query={"token": token(user), "ksId": user}))

    async def test_a_token_without_expiry_connects(self) -> None:
        user = new_user()
        await self.works(
            user, await self.client().connect(self.chat_url, query=f"token={token(user, expires_in=None)}")
        )

    async def test_nbf_is_passed_over_as_by_the_tutorial(self) -> None:
        user = new_user()
        early = token(user, nbf=4_000_000_000)
        await self.works(user, await self.client().connect(self.chat_url, query=f"token={early}"))

    async def test_the_token_may_stand_in_the_authorization_header(self) -> None:
        user = new_user()
        headers = {"Authorization": f"Bearer {token(user)}"}
        # Each generation has its own place for headers in node.
        transport_options = {"websocket": {"extraHeaders": headers}}
        socket = await self.client().connect(self.chat_url, extraHeaders=headers, transportOptions=transport_options)
        await self.works(user, socket)

    async def test_each_kind_of_bad_token_is_refused_and_nothing_stays(self) -> None:
        user = new_user()
        sockets = []
        for what, bad in bad_tokens(user).items():
            sockets.append(await self.is_refused(what, self.chat_url, query={"token": bad}))
        sockets.append(await self.is_refused("no token", self.chat_url))
        sockets.append(await self.is_refused("no token but ksId", self.chat_url, query={"ksId": user}))
        of_another = {"token": token(user), "ksId": new_user()}
        sockets.append(await self.is_refused("ksId of another user", self.chat_url, query=of_another))
        await self.nothing_stays_of(*sockets)
        for bad in bad_tokens(user).values():
            self.assertFalse(bad.count(".") == 2 and bad in self.daemon.log, "a token stands in the log")

    async def test_a_namespace_that_does_not_exist_is_refused(self) -> None:
        user = new_user()
        socket = await self.client().open(self.daemon.url + "/nonesuch", query=f"token={token(user)}")
        self.assertEqual("Invalid namespace", self.refusal(await socket.next(self.error_event)))
        await self.nothing_stays_of(socket)

    async def test_the_default_namespace_takes_everybody_and_serves_nothing(self) -> None:
        socket = await self.client().connect(self.daemon.url)
        await socket.emit_without_ack("Send", sending("a", "b", "hi"))
        # A connection that joined nothing that serves something is closed in the end.
        await socket.next("disconnect")
        self.assertNotIn("RESPSEND", [event.name for event in socket.unseen])

    async def test_a_refused_client_may_try_again_with_a_good_token(self) -> None:
        user = new_user()
        await self.is_refused("bad token", self.chat_url, query={"token": "bad"})
        await self.works(user, await self.connect(user))

    async def test_a_client_that_leaves_is_forgotten_at_once(self) -> None:
        user = new_user()
        socket = await self.connect(user)
        health = await self.daemon.health()
        self.assertEqual((1, 1), (health["connections"], health["users"]), health)
        await socket.disconnect()
        self.assertEqual(["io client disconnect"], (await socket.next("disconnect")).args)
        await self.daemon.is_left()


class _Revision3(_Handshake):
    """What only clients 1.x and 2.x do."""

    async def test_a_second_namespace_brings_its_token_in_its_own_query(self) -> None:
        user = new_user()
        default = await self.client().connect(self.daemon.url, forceNew=False)
        # The same engine: the URL of its WebSocket is long since sent, without a token.
        chat = await self.client().connect(self.chat_url, forceNew=False, query=f"token={token(user)}&ksId={user}")
        await self.works(user, chat)
        self.assertEqual(1, (await self.daemon.health())["connections"])
        self.assertTrue((await default.state())["connected"])

    async def test_a_second_namespace_with_a_bad_token_leaves_the_first_one_alone(self) -> None:
        user = new_user()
        default = await self.client().connect(self.daemon.url, forceNew=False)
        await self.is_refused("bad", self.chat_url, forceNew=False, query=f"token={token(user, expires_in=-5)}")
        self.assertTrue((await default.state())["connected"])
        self.assertEqual(1, (await self.daemon.health())["connections"])


class _Revision4(_Handshake):
    """What only clients 3.x and 4.x do."""

    async def test_the_token_may_stand_in_auth(self) -> None:
        user = new_user()
        await self.works(user, await self.client().connect(self.chat_url, auth={"token": token(user)}))

    async def test_auth_goes_before_the_query(self) -> None:
        user = new_user()
        query = {"token": token(user, expires_in=-5)}
        await self.works(user, await self.client().connect(self.chat_url, auth={"token": token(user)}, query=query))

    async def test_each_kind_of_bad_token_in_auth_is_refused(self) -> None:
        bad = bad_tokens(new_user())
        sockets = [await self.is_refused(what, self.chat_url, auth={"token": text}) for what, text in bad.items()]
        no_texts: list[object] = [None, 5, [], {}, True]
        for odd in no_texts:
            sockets += [await self.is_refused(f"auth.token {odd}", self.chat_url, auth={"token": odd})]
        await self.nothing_stays_of(*sockets)


class Client1Tests(_Revision3):
    """socket.io-client 1.7.4."""

    version = 1


class Client2Tests(_Revision3):
    """socket.io-client 2.5.0, the tutorial's generation."""

    version = 2


class Client3Tests(_Revision4):
    """socket.io-client 3.1.3."""

    version = 3


class Client4Tests(_Revision4):
    """socket.io-client 4.8.4."""

    version = 4


del _Handshake, _Revision3, _Revision4, ChatTestCase
