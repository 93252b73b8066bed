"""The commands of ``kschat``, in the order of their list: their options, operands and exit statuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kschat.cli.definition import Definition, Group, Operand, Option
from kschat.settings import SETTINGS

#: Exit statuses of the commands that use the API, beside 0 and 1.
UNREACHABLE: Final = 2
REFUSED: Final = 3
TRY_AGAIN: Final = 4
NO: Final = 5

#: Seconds that a daemon may take to answer; and to erase a user, for which it looks through all messages.
API_TIMEOUT: Final = 15
ERASE_TIMEOUT: Final = 600

_API_STATUSES: Final = {
    UNREACHABLE: "the API cannot be reached, or does not answer",
    REFUSED: "the API refuses it: the key, the scope, or the request is wrong",
    TRY_AGAIN: "the daemon cannot do it now; try again",
}

_TOO: Final = "The environment and the configuration file count as well, as for the daemon."

_ALL_SETTINGS: Final = (
    "All settings of the daemon are accepted too, from the command line, the environment and the configuration file: "
    "`twistd kschat --help` lists them."
)

_CONFIG: Final = Option(
    name="config",
    short="c",
    value="FILE",
    text="TOML file with the daemon's settings.",
    is_file=True,
    is_setting=True,
)
JSON: Final = Option(name="json", text="Print JSON.")


def _setting(name: str, value: str, *, is_file: bool = False) -> Option:
    about = SETTINGS[name].about
    return Option(name=name.replace("_", "-"), value=value, text=about.doc, is_file=is_file, is_setting=True)


_OUTPUT: Final = Group(title="Output", options=(JSON,))


def _api(timeout: int) -> Group:
    """Where the API is, and how long it may take, unless ``--timeout`` says otherwise."""
    return Group(
        title="The API",
        options=(
            Option(
                name="api",
                value="URL",
                text="The API's URL, such as http://127.0.0.1:9200. Without it, KSCHAT_API is used, or the setting "
                "api_listen.",
            ),
            Option(
                name="key-file",
                value="FILE",
                text="File that holds the key. Without it, KSCHAT_API_KEY is used, or the first suitable key of the "
                "setting api_keys.",
                is_file=True,
            ),
            Option(name="ca", value="FILE", text="Certificates to trust, for an https URL.", is_file=True),
            Option(name="timeout", value="SECONDS", text="How long the daemon may take.", default=str(timeout)),
            _CONFIG,
        ),
    )


_USER: Final = Operand(name="USER", text="The user's id.")


def _of_api(
    name: str,
    summary: str,
    text: str,
    *operands: Operand,
    own: tuple[Option, ...] = (),
    examples: tuple[str, ...],
    statuses: Mapping[int, str] | None = None,
    timeout: int = API_TIMEOUT,
) -> Definition:
    """A command that uses the API."""
    groups = (Group(title="Options", options=own),) if own else ()
    return Definition(
        name=name,
        summary=summary,
        text=text,
        operands=operands,
        groups=(*groups, _OUTPUT, _api(timeout)),
        examples=examples,
        statuses={**_API_STATUSES, **(statuses or {})},
    )


_COMMANDS: Final = (
    Definition(
        name="run",
        summary="Run the daemon, or several on one port.",
        text="Runs the daemon in the foreground, as `twistd -n --pidfile= kschat` does. With --processes, runs several "
        "that act as one and serve one port; one that ends is started again. On SIGTERM and Ctrl-C all stop, on SIGHUP "
        "all read settings and keys again, on SIGUSR1 all open new log files, on SIGUSR2 they restart one by one. "
        "Process K adds K, from 0, to the ports of ops_listen, peer_listen and peer_url.",
        synopsis="[--processes N] [--logfile FILE] [settings]",
        groups=(
            Group(
                title="Options",
                options=(
                    Option(
                        name="processes",
                        short="n",
                        value="N",
                        text="Number of daemons, or auto: one for each core. More than one need RabbitMQ, and Redis "
                        "unless the store is none.",
                        default="1",
                    ),
                    Option(
                        name="logfile",
                        value="FILE",
                        text="Log to this file. Each of several daemons has its own: FILE with -0, -1 and so on before "
                        "its suffix.",
                        is_file=True,
                    ),
                    _setting("listen", "ENDPOINT"),
                    _CONFIG,
                ),
            ),
        ),
        statuses={},
        end=_ALL_SETTINGS,
        examples=("run --secret-file secret", "run --processes auto --config /etc/kschat/kschat.toml"),
    ),
    _of_api(
        "status",
        "Show how the daemons are: sockets, rates, latency, services.",
        "Shows on one screen how all daemons are: users, sockets, messages a second, p50 and p99 of the time until "
        "messages are acknowledged, which service takes longest to answer (`lag`), services, and refusals. Rates and "
        "latency are those of the time between two looks; where no message came between them, latency is that since "
        "the daemons' start.",
        own=(
            Option(name="interval", short="i", value="SECONDS", text="Time between the two looks.", default="1"),
            Option(name="watch", short="w", text="Show it again and again, until Ctrl-C."),
        ),
        examples=("status", "status --watch --interval 5", "status --json"),
        statuses={NO: "a service is down, or a daemon did not answer"},
    ),
    _of_api(
        "online",
        "List who is online, or say whether some users are.",
        "Without users, lists who is online, on any daemon. With users, says of each whether it is online, or "
        "when it was last seen.",
        Operand(name="USER", text="Users' ids.", many="*"),
        examples=("online", "online ann ben", "online ann && kschat send ann 'There you are'"),
        statuses={NO: "one of the users is not online, or that is not known"},
    ),
    _of_api(
        "sockets",
        "List the sockets of a user.",
        "Lists the sockets of a user on all daemons: the id, the client's address, the version of Engine.IO, and since "
        "when.",
        _USER,
        examples=("sockets ann",),
        statuses={NO: "a daemon did not answer, so that there may be more"},
    ),
    _of_api(
        "send",
        "Send a message.",
        "Sends a message, as the system or on behalf of a user, and prints its mid once it is stored.",
        Operand(name="TO", text="A user, or '#room'; several, separated by commas."),
        Operand(name="TEXT", text="The message; - reads it from standard input."),
        own=(
            Option(
                name="from",
                short="f",
                value="USER",
                text="Send on behalf of this user; without it, of the key's sender.",
            ),
            Option(
                name="cid",
                value="ID",
                text="An id of your own: the same message sent again with it is stored once.",
            ),
            Option(name="raw", short="r", text="TEXT is JSON: send the value that it says, not a string."),
        ),
        examples=(
            "send ann 'Your order has shipped' --cid order-1",
            "send '#team' --from ben 'At noon?'",
            'send ann,ben --raw \'{"text": "hi"}\'',
        ),
    ),
    _of_api(
        "history",
        "Show a conversation.",
        "Shows the newest messages of a conversation as one of its users sees it, oldest first.",
        _USER,
        Operand(name="PEER", text="The other user, or '#room'."),
        own=(
            Option(name="lines", short="n", value="COUNT", text="How many messages.", default="20"),
            Option(name="before", short="b", value="MID", text="Only messages before this one."),
            Option(name="all", short="a", text="All messages."),
        ),
        examples=("history ann ben", "history ann '#team' --lines 100", "history ann ben --all --json"),
    ),
    _of_api(
        "tail",
        "Show messages as they come.",
        "Shows the newest messages of a user's conversations, or of one of them, and then each that comes, until "
        "Ctrl-C. With --json, each is a line.",
        _USER,
        Operand(name="PEER", text="The other user, or '#room'.", many="?"),
        own=(
            Option(name="lines", short="n", value="COUNT", text="How many messages before.", default="10"),
            Option(name="interval", short="i", value="SECONDS", text="Time between two looks.", default="1"),
        ),
        examples=("tail ann", "tail ann '#team' -n 50"),
    ),
    _of_api(
        "rooms",
        "List the rooms of a user or the members of a room; add and remove members.",
        "`of USER` lists a user's rooms. `members ROOM` lists a room's members. `add ROOM USER…` makes users members, "
        "whatever their tokens allow: a room is created with its first one. `remove ROOM USER…` takes them out.",
        Operand(name="of|members|add|remove", text="What is to be done.", choices=("of", "members", "add", "remove")),
        Operand(name="NAME", text="The user, or the room, with its # or without."),
        Operand(name="USER", text="Users to add or remove.", many="*"),
        examples=("rooms of ann", "rooms members team", "rooms add team ann ben", "rooms remove team ben"),
    ),
    _of_api(
        "disconnect",
        "Disconnect a user.",
        "Disconnects all sockets of a user, on all daemons. With a valid token the user may come back: to prevent "
        "that, revoke it.",
        _USER,
        examples=("disconnect ann",),
    ),
    Definition(
        name="revoke",
        summary="Revoke tokens: of a user, by id, or by when they were issued.",
        text="Revokes tokens: their sockets are disconnected, on all daemons, and nobody can connect with them. Tokens "
        "are named by their user, by their id (the claim jti), or by when they were issued (iat), of one user or of "
        "all.",
        synopsis="--user ID | --jti ID [--expires TIME] | --issued-before TIME [--user ID] [--lift]",
        groups=(
            Group(
                title="Options",
                options=(
                    Option(
                        name="user",
                        short="u",
                        value="ID",
                        text="All tokens of this user, whenever they were or will be issued; until --lift.",
                    ),
                    Option(name="jti", short="j", value="ID", text="The token with this id."),
                    Option(
                        name="expires",
                        short="e",
                        value="TIME",
                        text="When the token with this id expires (its exp), so that it is forgotten then.",
                    ),
                    Option(
                        name="issued-before",
                        short="b",
                        value="TIME",
                        text="Tokens issued up to this time, of all or of --user: now, 2026-11-30T12:00:00Z, seconds "
                        "since 1970.",
                    ),
                    Option(name="lift", text="Lift such a revocation."),
                    JSON,
                    _setting("store", "STORE"),
                    _setting("control", "PATH", is_file=True),
                    _CONFIG,
                ),
            ),
        ),
        statuses={},
        end=_TOO,
        examples=("revoke --user alice", "revoke --jti 2f1c9 --expires 2030-12-24T12:00:00Z"),
    ),
    _of_api(
        "export",
        "Write all that is kept of a user.",
        "Writes all that is kept of a user as lines of JSON: the first has the rooms, the block list and when the user "
        "was last seen; each further one a message of the user's conversations. See docs/api.md for what that is.",
        _USER,
        own=(
            Option(
                name="output",
                short="o",
                value="FILE",
                text="Write to this file, which must not exist, and which only you can read.",
                is_file=True,
            ),
        ),
        examples=("export ann --output ann.jsonl",),
    ),
    _of_api(
        "erase",
        "Erase a user.",
        "Disconnects a user and deletes what is kept: conversations of two with all messages, what the user wrote in "
        "rooms, memberships, block lists, and so on. It cannot be undone. See docs/api.md for what stays.",
        _USER,
        own=(Option(name="yes", short="y", text="Do not ask for confirmation."),),
        examples=("erase ann", "erase ann --yes"),
        timeout=ERASE_TIMEOUT,
    ),
    Definition(
        name="token",
        summary="Make a token for a user, or inspect one.",
        text="Prints a token for one user, signed with the secret that the settings name (HS256). `token inspect "
        "TOKEN` shows what a token says, and whether the daemon would accept it; - reads it from standard input.",
        synopsis="--user ID [--expires 1h] [--rooms a,b] [--to c,d] [--name N] | inspect TOKEN",
        operands=(
            Operand(name="inspect", text="", many="?", choices=("inspect",)),
            Operand(name="TOKEN", text="", many="?"),
        ),
        groups=(
            Group(
                title="Options",
                options=(
                    Option(
                        name="user",
                        short="u",
                        value="ID",
                        text="The user's id: 1 to 128 characters, not beginning with #.",
                    ),
                    Option(
                        name="expires",
                        short="e",
                        value="TIME",
                        text="How long it is good for: a number with s, m, h, d or w after it.",
                        default="1h",
                    ),
                    Option(
                        name="rooms",
                        short="r",
                        value="A,B",
                        text="Rooms it lets join, separated by commas; * for all.",
                        default="",
                    ),
                    Option(
                        name="moderates",
                        short="m",
                        value="A,B",
                        text="Rooms in which it lets delete everybody's messages, separated by commas; * for all.",
                        default="",
                    ),
                    Option(
                        name="to",
                        short="t",
                        value="A,B",
                        text="Users it lets write to, separated by commas; * in one is any characters. Default: all.",
                    ),
                    Option(
                        name="name",
                        short="n",
                        value="NAME",
                        text="The name that recipients see.",
                    ),
                    JSON,
                    _setting("secret_file", "FILE", is_file=True),
                    _CONFIG,
                ),
            ),
        ),
        statuses={NO: "the daemon would not accept the token (inspect)"},
        end=_ALL_SETTINGS,
        examples=("token --user alice --expires 7d", "token inspect eyJhbGciOi…"),
    ),
    Definition(
        name="push-key",
        summary="Make the key of Web Push.",
        text="Makes a private key for Web Push (VAPID), writes it to FILE, which only its owner may read, and prints "
        "the public key. FILE must not exist: with another key, all browsers would have to subscribe again.",
        synopsis="FILE [--show]",
        operands=(Operand(name="FILE", text="The key's file, for the setting push_key."),),
        groups=(
            Group(
                title="Options",
                options=(Option(name="show", short="s", text="Make none: print the public key of FILE."), JSON),
            ),
        ),
        statuses={},
        examples=("push-key push.pem", "push-key push.pem --show"),
    ),
    Definition(
        name="backup",
        summary="Copy the SQLite store while the daemon runs.",
        text="Copies the SQLite store to the file COPY while the daemon runs, opens the copy and counts its messages. "
        "COPY must not exist; the file gets this name once it is complete.",
        synopsis="COPY [settings]",
        operands=(Operand(name="COPY", text=""),),
        groups=(Group(title="Options", options=(JSON, _setting("store", "STORE"), _CONFIG)),),
        statuses={},
        end=_TOO,
        examples=("backup copy.db --store sqlite:kschat.db",),
    ),
    Definition(
        name="restored",
        summary="Report that the store was restored to an older state.",
        text="Reports that the store was restored to an older state: offsets then continue beyond all earlier ones. "
        "A daemon detects that a copy by kschat backup, or any other SQLite file, has replaced the file that was used "
        "last. It cannot detect that a whole disk was reset to a snapshot: then run this while the daemon is stopped. "
        "Daemons detect that Redis was restarted, and that it has less data than before. They cannot detect that a "
        "copy was loaded into a running Redis while no daemon ran: then run this at any time. The same holds for "
        "PostgreSQL when its disk was reset to a snapshot, or when rows of an older dump were loaded into the existing "
        "tables.",
        synopsis="[settings]",
        groups=(Group(title="Options", options=(JSON, _setting("store", "STORE"), _CONFIG)),),
        statuses={},
        end=_TOO,
        examples=("restored --store sqlite:kschat.db",),
    ),
    Definition(
        name="migrate-store",
        summary="Move all of a store into another one.",
        text="Moves everything from one store to another, page by page: users, conversations with their read marks, "
        "messages with their cids, inboxes with their offsets, rooms, block lists, revocations and push subscriptions. "
        "Then reads both, and compares counts and checksums. FROM is sqlite:PATH, redis (with --redis and the other "
        "settings of Redis) or postgresql://…, TO is an empty postgresql://…. No daemon may use either of them. A "
        "command that was interrupted, also by SIGKILL, goes on where it was when it is given again; until it is done, "
        "daemons refuse TO. FROM keeps what it has.",
        synopsis="FROM TO [settings]",
        operands=(
            Operand(name="FROM", text="The store that is moved, as the setting store names it."),
            Operand(name="TO", text="The store that it is moved to."),
        ),
        groups=(
            Group(
                title="Options",
                options=(
                    Option(
                        name="drop-events",
                        text="Move the store although events for a back end (hooks_url, push_key) wait in it; they are "
                        "lost.",
                    ),
                    JSON,
                    _setting("redis", "URL"),
                    _setting("redis_prefix", "PREFIX"),
                    _CONFIG,
                ),
            ),
        ),
        statuses={
            TRY_AGAIN: "a store could not be used any more; the same command goes on from there",
            NO: "the two stores do not hold the same; daemons refuse TO",
        },
        end=_TOO,
        examples=(
            "migrate-store sqlite:kschat.db postgresql://kschat@localhost/kschat",
            "migrate-store redis postgresql://kschat@localhost/kschat --redis redis://localhost:6379/0",
        ),
    ),
    Definition(
        name="check-config",
        summary="Check the configuration and print it, secrets masked.",
        text="Checks the configuration that the daemon would use, and prints it as TOML with secrets masked; with "
        "--connect, opens the parts that it names instead, and prints a line for each.",
        synopsis="[--connect] [settings]",
        groups=(
            Group(
                title="Options",
                options=(
                    Option(
                        name="connect",
                        text="Open the store, RabbitMQ, Redis, the ports, key files and certificates. The status is 1 "
                        "if the daemon could not use one of them.",
                    ),
                    JSON,
                    _CONFIG,
                ),
            ),
        ),
        statuses={},
        end=_ALL_SETTINGS,
        examples=("check-config --config /etc/kschat/kschat.toml --connect",),
    ),
    Definition(
        name="settings-table",
        summary="Print the settings as a table in Markdown.",
        text="Prints all settings as a table in Markdown.",
        synopsis="",
        statuses={},
        examples=("settings-table",),
    ),
    Definition(
        name="completion",
        summary="Print the completion for a shell.",
        text="Prints a script by which a shell completes the commands and options of kschat.",
        operands=(Operand(name="SHELL", text="bash, zsh or fish.", choices=("bash", "zsh", "fish")),),
        statuses={},
        examples=("completion bash > /etc/bash_completion.d/kschat",),
    ),
)

#: By their names.
DEFINITIONS: Final[Mapping[str, Definition]] = {one.name: one for one in _COMMANDS}
