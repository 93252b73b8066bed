"""Plays a sequence in a world, and compares what clients see with what the oracle says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import Deferred

from kschat.chat.revocation import RevocationRequest
from tests.chat.peers import Received
from tests.differential.operations import ROOMS, USERS, Operation
from tests.differential.oracle import Device, Kept, Oracle, Token
from tests.differential.players import Player, written
from tests.differential.worlds import MAX_ROOM, World, all_quiet

#: Seconds until what must be must be, on a loaded machine.
PATIENCE: Final = 10.0

#: Milliseconds after which a socket has ended that another daemon ends.
LATE: Final = 1000

#: Turns in which nothing more comes, after all that must have come.
QUIET: Final = 3


class Disagreement(AssertionError):
    """A client saw something else than what the oracle says."""


class Play:
    """One sequence in one world, with users of its own.

    Args:
        world: started; nothing of another sequence is under way in it.
        patience: seconds until what must be must be.
    """

    def __init__(self, world: World, patience: float = PATIENCE) -> None:
        self._world = world
        self._patience = patience
        self._mark = mark = str(uuid4().int)[:12]
        self._users = [f"7{mark}{number}" for number in range(USERS)]
        self._rooms = [f"#{mark}{number}" for number in range(ROOMS)]
        self._oracle = Oracle(self._users, MAX_ROOM)
        self._players: list[Player] = []
        self._numbers = count(1)
        self._tokens = count(1)
        #: those who have blocked somebody at any time
        self._blockers: set[str] = set()
        self.done = 0

    async def run(self, operations: Sequence[Operation]) -> None:
        """Do all of it.

        Raises:
            Disagreement: what was seen is not right.
        """
        try:
            for name, *arguments in operations:
                await getattr(self, f"_do_{name.replace(' ', '_')}")(*arguments)
                self.done += 1
            await self._do_settle()
            await self._ask_everything()
            await self._do_settle()
        finally:
            for player in self._players:
                if player.alive:
                    player.client.drop()
        await self._until(lambda: not any(daemon.hub.users for daemon in self._world.daemons), "nobody to be left")

    async def _ask_everything(self) -> None:
        """Of each user, what the store knows."""
        await self._do_lift(0)
        for user in range(USERS):
            await self._do_connect(user, user, [], "none")
            whom = len(self._living()) - 1
            await self._do_conversations(whom)
            await self._do_blocked(whom)
            for peer in range(USERS + ROOMS):
                await self._do_history(whom, peer, -1, 100)
            await self._do_sync(whom, 0)
            await self._do_presence(whom, list(range(USERS)))

    # Who is meant.

    def _living(self) -> list[Player]:
        return [player for player in self._players if player.device is not None and player.device.alive]

    def _one(self, number: int) -> Player | None:
        living = self._living()
        return living[number % len(living)] if living else None

    def _peer(self, number: int) -> str:
        return (self._users + self._rooms)[number]

    # Waiting.

    async def _until(self, right: Callable[[], object], what: str) -> None:
        deadline = self._world.now + self._patience
        while not right():
            if self._world.now > deadline:
                raise Disagreement(f"waited in vain for {what}")
            for player in self._players:
                player.prove()
            await self._world.turn()

    async def _answer(self, player: Player, number: int, what: str) -> Any:
        found: list[Any] = []

        def there() -> bool:
            found[:] = [one for one in player.client.read() if not one.name and one.id == number]
            return bool(found)

        await self._until(there, f"the answer to {what}")
        _same(len(found), 1, f"answers to {what}")
        _same(len(found[0].args), 1, f"arguments of the answer to {what}")
        return found[0].args[0]

    async def _ask(self, player: Player, name: str, *args: Any, parts: Sequence[bytes] = ()) -> Any:
        number = player.client.emit(name, *args, parts=parts)
        answer = await self._answer(player, number, name)
        if name not in ("Send", "Logout") and player.device is not None:
            player.device.more = True
        return answer

    # Coming and going.

    async def _do_connect(
        self, user: int, daemon: int, options: list[str], mode: str, to: list[int] | None = None
    ) -> None:
        token = self._token(self._users[user], None if to is None else frozenset(self._users[one] for one in to))
        await self._connect([(daemon, token, options, mode, None)])

    def _token(self, user: str, to: frozenset[str] | None) -> Token:
        """A token like no other."""
        number = next(self._tokens)
        return Token(user, f"{self._mark}-{number}", number, to)

    def _like(self, player: Player) -> Token:
        """Another token for who had one."""
        return self._token(player.user, player.token.to)

    async def _do_again(self, whom: int, daemon: int, further: int) -> None:
        """A client comes back that had a socket, and perhaps still has it, with recovery."""
        earlier = self._recoverable(whom)
        if earlier is None:
            return
        offset = max(self._noted(earlier) + further, 0)
        claim = (earlier.client.pid or "", offset)
        await self._connect([(daemon, self._like(earlier), sorted(earlier.options), "all", claim)])

    async def _do_race(self, whom: int, daemon: int, other: int) -> None:
        """A client comes back twice at once."""
        earlier = self._recoverable(whom)
        if earlier is None:
            return
        claim = (earlier.client.pid or "", self._noted(earlier))
        options = sorted(earlier.options)
        await self._do_settle()
        await self._connect([(one, self._like(earlier), options, "all", claim) for one in (daemon, other)])

    def _recoverable(self, number: int) -> Player | None:
        able = [one for one in self._players if one.device is not None and one.client.pid]
        return able[number % len(able)] if able else None

    def _noted(self, player: Player) -> int:
        offsets = player.client.offsets()
        return int(offsets[-1]) if offsets else self._oracle.boxes[player.user].low

    async def _connect(self, wanted: Sequence[tuple[int, Token, list[str], str, tuple[str, int] | None]]) -> None:
        daemons, oracle = self._world.daemons, self._oracle
        fresh = []
        for daemon, token, options, mode, claim in wanted:
            auth = {} if claim is None else {"pid": claim[0], "offset": str(claim[1])}
            player = Player(daemons[daemon % len(daemons)], token, options, mode, auth)
            self._players.append(player)
            fresh.append(player)
        earliest = self._world.milliseconds
        await self._until(lambda: all(player.answered for player in fresh), "a CONNECT to be answered")
        for player, (_, token, options, mode, claim) in zip(fresh, wanted, strict=True):
            if oracle.refuses(token):
                _same(player.client.refused, {"message": "Authentication error"}, "how a revoked token is refused")
                player.client.drop()
                continue
            _same(player.client.refused, None, "why a socket was refused")
            user = token.user
            box, pid = oracle.boxes[user], player.client.pid
            _same(bool(pid), "recover" in options, "whether a pid was given")
            begins = (box.low, oracle.high(user))
            if claim is not None:
                recovered = 0 <= claim[1] <= box.last
                _same(pid == claim[0], recovered, "whether it was recovered")
                if recovered:
                    begins = (claim[1], claim[1])
            device = Device(token, frozenset(options), mode, begins, more=bool(options))
            player.device = device
            if pid:
                device.pids = (pid,) if claim is None else (pid, claim[0])
            if claim is not None and pid == claim[0]:
                oracle.claimed(device, claim[1])
            ended = oracle.replaced_by(user, claim[0]) if claim is not None else []
            oracle.joined(device)
            if len(wanted) == 1:
                for other in ended:
                    oracle.left(other, earliest, self._world.milliseconds + LATE)
        if len(wanted) > 1 and fresh[0].device is not None:
            await self._one_of(fresh, wanted[0][4])

    async def _one_of(self, fresh: list[Player], claim: tuple[str, int] | None) -> None:
        """Of all that showed or were given this pid exactly one stays, and it is one of the newest."""
        assert claim is not None
        all_ = [one for one in self._players if one.device is not None and claim[0] in one.device.pids]
        earliest = self._world.milliseconds
        await self._until(lambda: sum(one.alive for one in all_) <= 1, "one of two to stay")
        for _ in range(20):
            await self._world.turn()
        _same([one.alive for one in fresh].count(True), 1, "how many stay that come back at once")
        for player in all_:
            if not player.alive and player.device is not None and player.device.alive:
                self._oracle.left(player.device, earliest, self._world.milliseconds + LATE)
        await self._do_settle()

    async def _do_part(self, whom: int) -> None:
        await self._end(whom, lambda player: player.client.leave())

    async def _do_drop(self, whom: int) -> None:
        await self._end(whom, lambda player: player.client.drop())

    async def _end(self, whom: int, how: Callable[[Player], None]) -> None:
        player = self._one(whom)
        if player is not None and player.device is not None:
            before = self._world.milliseconds
            self._compare_received(player, final=False)
            how(player)
            self._oracle.left(player.device, before, self._world.milliseconds + 1)
            for _ in range(4):
                await self._world.turn()  # so that another one may go a moment later

    async def _do_logout(self, whom: int) -> None:
        player = self._one(whom)
        if player is not None and player.device is not None:
            before = self._world.milliseconds
            _same(await self._ask(player, "Logout"), {"RC": 1, "ERR": 0}, "the answer to Logout")
            self._gone(player)
            self._oracle.left(player.device, before, self._world.milliseconds + 1)

    async def _do_logout_all(self, whom: int) -> None:
        player = self._one(whom)
        if player is None:
            return
        before = self._world.milliseconds
        ended = [one for one in self._living() if one.user == player.user]
        _same(await self._ask(player, "Logout", {"all": True}), {"RC": 1, "ERR": 0}, "the answer to Logout of all")
        await self._until(lambda: not any(one.alive for one in ended), "all sockets to be logged out")
        for one in ended:
            self._gone(one)
            assert one.device is not None
            goodbyes = one.client.events("Goodbye")
            expected = [{"reason": "logout", "retryIn": 0}] if one.device.more and one is not player else []
            _same(goodbyes, expected, "Goodbye at a logout")
            self._oracle.left(one.device, before, self._world.milliseconds + LATE)

    def _gone(self, player: Player) -> None:
        player.client.read()
        _same((player.alive, player.client.dismissed), (False, True), "whether a socket was disconnected")

    # Tokens.

    async def _do_token(self, whom: int, which: str, to: list[int] | None) -> None:
        """A client gives another token in the place of its own."""
        player = self._one(whom)
        if player is None or player.device is None:
            return
        user = self._users[(self._users.index(player.user) + (which == "other")) % USERS]
        token = self._token(user, None if to is None else frozenset(self._users[one] for one in to))
        if which == "first":
            token = next(one.first_token for one in self._players if one.user == user)
        good = user == player.user and not self._oracle.refuses(token)
        answer = await self._ask(player, "Token", {"token": written(token)})
        _same(answer["ER"], 0 if good else 6, f"ER of Token ({which})")
        if good:
            player.device.token = token

    async def _do_revoke(self, whom: int, daemon: int, kind: str) -> None:
        """An operator revokes tokens: their sockets end on all daemons, and nobody comes in with them."""
        player = self._one(whom)
        if player is None:
            return
        token, oracle, before = player.token, self._oracle, self._world.milliseconds
        requests = {
            "user": RevocationRequest(user=token.user),
            "jti": RevocationRequest(jti=token.id),
            "issued": RevocationRequest(user=token.user, issued_before=token.issued),
        }
        await self._revoke(requests[kind], daemon)
        oracle.revoke(kind, token)
        ended = [one for one in self._living() if oracle.refuses(one.token)]
        await self._until(lambda: not any(one.alive for one in ended), "all sockets of revoked tokens to end")
        for one in ended:
            self._gone(one)
            assert one.device is not None
            expected = [{"reason": "revoked", "retryIn": 0}] if one.device.more else []
            _same(one.client.events("Goodbye"), expected, "Goodbye of a revoked token")
            oracle.left(one.device, before, self._world.milliseconds + LATE)
        await self._fence()
        # On no daemon does it let anybody in; what the oracle says of that is looked at there.
        await self._connect([(at, token, [], "none", None) for at in range(len(self._world.daemons))])

    async def _do_lift(self, daemon: int) -> None:
        """All users whose tokens were revoked may come back."""
        for user in sorted(self._oracle.revoked):
            await self._revoke(RevocationRequest(user=user, lift=True), daemon)
        self._oracle.revoked.clear()
        await self._fence()

    async def _revoke(self, request: RevocationRequest, daemon: int) -> None:
        daemons = self._world.daemons
        asked: Deferred[None] = daemons[daemon % len(daemons)].context.operations.revoke(request)
        await self._until(lambda: asked.called and not asked.paused, "tokens to be revoked")
        await asked

    async def _do_mode(self, whom: int, mode: str) -> None:
        player = self._one(whom)
        if player is not None and player.device is not None:
            player.prove()
            self._oracle.mode(player.device, mode)
            player.mode = mode
            player.prove()
            self._oracle.mode(player.device, mode)

    # Messages.

    async def _do_send(self, whom: int, peer: int, form: str, cid: str | None) -> None:
        player = self._one(whom)
        if player is not None:
            await self._send([(player, self._peer(peer), form, cid)])

    async def _do_burst(self, whom: int, peer: int, number: int) -> None:
        player = self._one(whom)
        if player is not None:
            await self._send([(player, self._peer(peer), "text", None)] * number)

    async def _do_storm(self, sends: list[list[int]]) -> None:
        players = [(self._one(whom), self._peer(peer)) for whom, peer in sends]
        await self._send([(player, peer, "text", None) for player, peer in players if player is not None])

    async def _send(self, sends: Sequence[tuple[Player, str, str, str | None]]) -> None:
        """Send some messages at once, and wait for all their answers."""
        asked = []
        for player, peer, form, cid in sends:
            rno = next(self._numbers)
            msg, payload, parts = self._payload(player.user, peer, form, rno)
            if cid is not None:
                payload["cid"] = cid
            number = player.client.emit("Send", payload, parts=parts)
            asked.append((player, peer, form, cid, msg, payload, number))
        answers = []
        for player, peer, form, cid, msg, payload, number in asked:
            answer = await self._answer(player, number, f"Send ({form})")
            answers.append((answer, player, peer, form, cid, msg, payload))
        # What was sent at once has the order of its mids; that of each sender is the order of sending.
        orders: dict[Player, list[str]] = {}
        for answer, player, peer, *_ in answers:
            if "mid" in answer and not answer.get("repeat") and not self._oracle.hides(peer, player.user):
                orders.setdefault(player, []).append(answer["mid"])
        for order in orders.values():
            _same(order, sorted(order), "the order of one sender's messages")
        for one in sorted(answers, key=lambda one: one[0].get("mid", "")):
            self._sent(*one)

    def _payload(self, user: str, peer: str, form: str, rno: int) -> tuple[Any, dict[str, Any], tuple[bytes, ...]]:
        """What a message says, what is sent for it, and its attachments."""
        msg: Any = f"message {rno}"
        payload: dict[str, Any] = {"uId": user, "pId": peer, "msg": msg, "rno": rno, "time": 1}
        parts: tuple[bytes, ...] = ()
        if form == "number" and peer[0] != "#":
            payload.update(uId=int(user), pId=int(peer))
        elif form == "object":
            msg = payload["msg"] = {"a": [rno, None, {"é": "\u2028"}], "_placeholder": False}
        elif form == "binary":
            parts = (b"\0\xff%d" % rno,)
            msg, payload["msg"] = {"pic": parts[0], "n": rno}, {"pic": {"_placeholder": True, "num": 0}, "n": rno}
        elif form == "wrong user":
            payload["uId"] = user + "x"
        elif form == "long peer":
            payload["pId"] = peer + "x" * 128
        return msg, payload, parts

    def _sent(
        self, answer: Any, player: Player, peer: str, form: str, cid: str | None, msg: Any, payload: dict[str, Any]
    ) -> None:
        oracle = self._oracle
        (told,) = [one for one in player.client.events("RESPSEND") if one["RANDOMNO"] == payload["rno"]]
        refused = {"wrong user": 6, "long peer": 1}.get(form)
        may = player.token.may_write_to(peer) and oracle.may_send(player.user, peer, cid)
        if refused is None and not may:
            refused = 6
        if refused is not None:
            _same((answer.get("ER"), told["ER"]), (refused, refused), f"ER of a Send ({form})")
            return
        _same(answer.get("RESPONSE"), "Send Emit is success.", "the answer to a Send")
        known = None if cid is None else oracle.known.get((player.user, cid))
        _same(answer.get("repeat", False), known is not None, "whether a Send is a repeat")
        if known is not None:
            _same(answer["mid"], known.mid, "the mid of a repeat")
        else:
            body = {
                "uId": payload["uId"],
                "pId": payload["pId"],
                "msg": msg,
                "rStatus": 1,
                "msgTime": answer["msgTime"],
                "mid": answer["mid"],
            }
            known = Kept(answer["mid"], player.user, peer, body)
            assert player.device is not None
            if oracle.hides(peer, player.user):
                oracle.swallowed(player.device, known)
            else:
                oracle.sent(player.device, known, cid)
        _same((answer["uId"], answer["msgTime"]), (known.body["uId"], known.body["msgTime"]), "the answer to a Send")
        expected = (0, known.body["uId"], known.body["pId"], known.body["msg"], known.body["msgTime"], known.mid)
        shown = tuple(told[name] for name in ("ER", "SID", "RID", "MSG", "MSGTIME", "mid"))
        _same(shown, expected, "RESPSEND")

    async def _do_typing(self, whom: int, peer: int) -> None:
        player, to = self._one(whom), self._peer(peer)
        if player is None:
            return
        answer = await self._ask(player, "Typing", {"pId": to})
        _same(answer["ER"], 0 if player.token.may_write_to(to) else 6, "ER of Typing")
        if answer["ER"]:
            return
        oracle, pairs = self._oracle, {(player.user, to), (to, player.user)}
        unsettled = bool(oracle.unsettled & pairs)
        if to[0] != "#" and (unsettled or not oracle.blocks & pairs):
            told = ("RESPTYPING", player.user)
            # One that emits an event beyond the tutorial's a moment later may be told as well; and so may all, while a
            # daemon has not heard of a block, or of its end.
            oracle.tell(
                lambda device: device.user == to and device.more and not unsettled,
                told,
                lambda device: device.user == to,
            )

    async def _do_block(self, whom: int, peer: int) -> None:
        await self._block("Block", whom, peer)

    async def _do_unblock(self, whom: int, peer: int) -> None:
        await self._block("Unblock", whom, peer)

    async def _block(self, name: str, whom: int, peer: int) -> None:
        player, to = self._one(whom), self._peer(peer)
        if player is None:
            return
        wrong = to[0] == "#" or to == player.user
        answer = await self._ask(player, name, {"pId": to})
        _same(answer["ER"], 1 if wrong else 0, f"ER of {name}")
        if not wrong:
            self._blockers.add(player.user)
            self._oracle.block(player.user, to, blocked=name == "Block")

    async def _do_blocked(self, whom: int) -> None:
        player = self._one(whom)
        if player is not None:
            _same(await self._ask(player, "Blocked"), {"ids": self._oracle.blocked(player.user)}, "Blocked")

    # What is asked for.

    async def _do_read(self, whom: int, peer: int, which: int, _: int) -> None:
        player, to = self._one(whom), self._peer(peer)
        if player is None:
            return
        user = player.user
        number = self._mid(user, to, which)
        mid = f"{number:016x}00000000"
        _same(await self._ask(player, "Read", {"pId": to, "mid": mid}), {"ER": 0}, "the answer to Read")
        oracle, pair = self._oracle, (user, to)
        unsettled = pair in oracle.unsettled
        if oracle.read(user, to, number) and to[0] != "#" and (unsettled or pair not in oracle.blocks):
            oracle.tell(
                lambda device: device.user == to and "receipts" in device.options and not unsettled,
                ("RESPSTATUS", f"3 {mid}"),
                lambda device: device.user == to and "receipts" in device.options,
            )

    def _mid(self, user: str, peer: str, which: int) -> int:
        """The number of a message of a conversation, or of none."""
        talk = self._oracle.talk(user, peer)
        messages = talk.messages if talk is not None else []
        if not messages or which < 0:
            return 1 + 2**52 * (which < 0 and not messages)
        return messages[-1 - which % len(messages)].number

    async def _do_history(self, whom: int, peer: int, before: int, limit: int) -> None:
        player, to = self._one(whom), self._peer(peer)
        if player is None:
            return
        asked: dict[str, Any] = {"pId": to, "limit": limit}
        number = None
        if before >= 0:
            number = self._mid(player.user, to, before)
            asked["before"] = f"{number:016x}00000000"
        answer = await self._ask(player, "History", asked)
        listed, more = self._oracle.history(player.user, to, before=number, limit=limit)
        shown = answer["MSG"]
        if _is_cut(listed, shown):
            listed, more = listed[-len(shown) :], True
        _same((shown, answer["more"]), (listed, more), "History")

    async def _do_sync(self, whom: int, offset: int) -> None:
        player = self._one(whom)
        if player is None:
            return
        answer = await self._ask(player, "Sync", {"offset": offset})
        listed = [{**body, "offset": place} for place, body in self._oracle.inbox(player.user, offset)]
        shown, more = answer["MSG"], False
        if len(listed) > 100 or _is_cut(listed[:100], shown):
            listed, more = listed[: len(shown)], True
        _same((shown, answer["more"]), (listed, more), "Sync")

    async def _do_conversations(self, whom: int) -> None:
        player = self._one(whom)
        if player is None:
            return
        answer = await self._ask(player, "Conversations")
        listed = [
            {"pId": peer, "last": _line(last), "unread": unread}
            for peer, last, unread in self._oracle.conversations(player.user)
        ]
        _same(answer, listed, "Conversations")

    async def _do_presence(self, whom: int, whose: list[int]) -> None:
        player = self._one(whom)
        if player is None or player.device is None:
            return
        users, oracle, device = [self._users[one] for one in whose], self._oracle, player.device
        self._compare_presence(player, final=False)
        answer = await self._ask(player, "Presence", {"ids": users})
        _same(sorted(answer), sorted(users), "who the answer to Presence is of")
        for user, state in answer.items():
            online, seen = state["online"], state["lastSeen"]
            if user not in oracle.moved:
                _same(online, oracle.sees(player.user, user), "whether a user is online")
            self._check_seen(player.user, user, online=online, seen=seen)
        # What was told before the answer is older than it.
        device.watches = {user: answer[user]["online"] for user in users}
        player.watched_since = player.presence_before(answer)

    def _check_seen(self, watcher: str, user: str, *, online: bool, seen: int | None) -> None:
        oracle = self._oracle
        if oracle.hides(user, watcher) and user not in oracle.moved:
            _same(seen, None, "lastSeen of who blocks")
        elif online:
            _same(seen, None, "lastSeen of who is online")
        elif seen is not None:
            earliest, latest = oracle.seen.get(user, (0, 0))
            if user not in oracle.moved and not earliest <= seen <= latest:
                raise Disagreement(f"lastSeen is {seen}, and not between {earliest} and {latest}")
        elif user in oracle.seen and user not in oracle.moved:
            raise Disagreement("lastSeen is not known of who was here")

    async def _do_join(self, whom: int, room: int) -> None:
        player = self._one(whom)
        if player is not None:
            answer = await self._ask(player, "Join", {"room": self._rooms[room]})
            _same(answer["ER"], 0 if self._oracle.join(player.user, self._rooms[room]) else 4, "ER of a Join")

    async def _do_leave(self, whom: int, room: int) -> None:
        player = self._one(whom)
        if player is not None:
            _same(await self._ask(player, "Leave", {"room": self._rooms[room][1:]}), {"ER": 0}, "the answer to Leave")
            self._oracle.leave(player.user, self._rooms[room])

    # At rest.

    async def _do_settle(self) -> None:
        """Wait until all has come that must; then nothing may have come that must not."""
        why: list[Disagreement] = []

        def agrees() -> bool:
            why.clear()
            if any(player.prove() for player in self._players) or not all_quiet(self._world.daemons):
                return False
            try:
                for player in self._living():
                    self._compare_received(player, final=True)
            except Disagreement as error:
                why.append(error)
            return not why

        try:
            await self._until(agrees, "messages")
        except Disagreement as error:
            raise why[0] if why else error from None
        await self._fence()
        self._oracle.rest()
        quiet = 0

        def rests() -> bool:
            nonlocal quiet
            why.clear()
            try:
                for player in self._living():
                    self._compare_received(player, final=True)
                    self._compare_told(player)
                    self._compare_presence(player, final=True)
            except Disagreement as error:
                why.append(error)
            quiet = 0 if why else quiet + 1
            return quiet >= QUIET

        try:
            await self._until(rests, "all that is told")
        except Disagreement as error:
            raise why[0] if why else error from None
        for player in self._living():
            assert player.device is not None
            if not player.alive:
                raise Disagreement(f"a socket of {player.user} has ended: {player.client.pipe.closed}")

    async def _fence(self) -> None:
        """Fires when what daemons have told each other until now was heard."""
        for ask in (lambda bus: bus.flush(), lambda bus: bus.listen("nobody")):
            waiting = [ask(daemon.bus) for daemon in self._world.daemons]
            await self._until(lambda: all(one.called and not one.paused for one in waiting), "a fence")  # noqa: B023
        await self._world.turn()

    def _compare_received(self, player: Player, final: bool) -> None:
        """Messages come in the order of the inbox, each once, from where the socket begins, as they were sent."""
        device, oracle = player.device, self._oracle
        assert device is not None
        box = oracle.boxes[player.user]
        received = player.client.messages()
        offsets = [one["offset"] for one in received]
        low, high = device.begins
        if offsets:
            _same(offsets, list(range(offsets[0], offsets[0] + len(offsets))), "the offsets that came")
            if not low < offsets[0] <= high + 1:
                raise Disagreement(f"what came begins at {offsets[0]}, and not behind one of {low} to {high}")
        if final:
            reached = offsets[-1] if offsets else high
            if reached < box.last:
                raise Disagreement(f"what came ends at {reached} of {box.last}")
        for one in received:
            if one["offset"] > box.last:
                raise Disagreement(f"offset {one['offset']} came of {box.last}")
            _same(one, {**box.messages[one["offset"] - 1].body, "offset": one["offset"]}, "a message")
        if "batch" not in device.options:
            sizes = {len(event["MSG"]) for event in player.client.events("RESPRECEIVER")}
            _same(sizes - {1}, set(), "messages of one event")
        if "recover" in device.options:
            noted = [one.args[-1] for one in _received(player) if one.name == "RESPRECEIVER"]
            _same(noted[-1:], [str(offset) for offset in offsets[-1:]], "the offset that is noted")

    def _compare_told(self, player: Player) -> None:
        device, told = player.device, player.told()
        assert device is not None
        missing = device.must - told
        if missing:
            raise Disagreement(f"what was not told: {dict(missing)}")
        surplus = told - (device.must + device.may)
        if surplus:
            raise Disagreement(f"what was told and must not: {dict(surplus)}")

    def _compare_presence(self, player: Player, final: bool) -> None:
        """Each change is told, and nothing twice."""
        device = player.device
        assert device is not None
        known: dict[str, bool] = dict(device.watches)
        for user, online, seen in player.presence()[player.watched_since :]:
            if user not in known:
                raise Disagreement("the presence of one that is not watched was told")
            if known[user] is online:
                raise Disagreement(f"that a user is {'online' if online else 'offline'} was told twice")
            known[user] = online
            self._check_seen_told(player.user, user, online=online, seen=seen)
        if final:
            for user, online in known.items():
                _same(online, self._oracle.sees(player.user, user), f"what was last told of the presence of {user}")

    def _check_seen_told(self, watcher: str, user: str, *, online: bool, seen: int | None) -> None:
        # Who blocks is shown as offline and no more; what was told since the last look may be from before or after.
        if online or user not in self._blockers:
            _same(seen is None, online, f"whether lastSeen is told to {watcher}")


def _received(player: Player) -> list[Received]:
    return player.client.read()


def _same(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise Disagreement(f"{what}: {found!r}, and not {expected!r}")


def _is_cut(listed: list[dict[str, Any]], shown: list[dict[str, Any]]) -> bool:
    """Whether a page may hold less: binary is bounded, and does not stand beside what looks like a placeholder."""
    binary = sum(_binaries(one["msg"]) for one in listed)
    return bool(binary and shown and len(shown) < len(listed))


def _binaries(value: Any) -> int:
    if isinstance(value, bytes):
        return 1
    if isinstance(value, dict):
        return sum(map(_binaries, value.values()))
    return sum(map(_binaries, value)) if isinstance(value, list) else 0


def _line(last: dict[str, Any]) -> dict[str, Any]:
    """A message as a list of conversations shows it."""
    msg = _without_binary(last["msg"])
    return {**last, "msg": msg, "cut": True} if msg != last["msg"] else last


def _without_binary(value: Any) -> Any:
    if isinstance(value, bytes):
        return None
    return {key: _without_binary(one) for key, one in value.items()} if isinstance(value, dict) else value
