"""All settings: the fields of one frozen ``Config``.

What stands there makes the options of twistd, the validation, the masking and the table in the documentation.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from kschat.chat.keys import ASYMMETRIC, HMAC
from kschat.settings.setting import About, Setting, settings_of


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting. Times are seconds (fractions allowed), sizes bytes. Made by ``load``, which alone checks it."""

    listen: Annotated[
        str,
        About(
            "Where to listen: a Twisted endpoint string, such as `tcp:3000`, `tcp:3000:interface=127.0.0.1`, `ssl:…`, "
            "`unix:…`, `systemd:…`; `haproxy:tcp:…` behind a proxy that speaks the PROXY protocol. The variable PORT "
            "makes it `tcp:$PORT`, unless it is set by KSCHAT_LISTEN or --listen. In a demo its default is on "
            "127.0.0.1."
        ),
    ] = "tcp:3000"
    demo: Annotated[
        bool,
        About(
            "Try it out on this machine: a secret made anew at each start, and the page gives a token to whoever asks. "
            "Refused with an address that other machines can reach, and together with a key."
        ),
    ] = False
    secret: Annotated[
        str,
        About(
            "The secret shared with whoever issues tokens (HS256: 32 bytes or more). Prefer `secret_file` or the "
            "environment: others on the machine can read a command line.",
            masked=True,
        ),
    ] = ""
    secret_file: Annotated[str, About("File that holds the secret; a newline at its end is left out.")] = ""
    public_key_file: Annotated[str, About("File with a PEM public key, for RS256, ES256, EdDSA and their kin.")] = ""
    jwks_file: Annotated[str, About("File with a JSON Web Key Set: several keys at once, chosen by `kid`.")] = ""
    algorithms: Annotated[
        tuple[str, ...],
        About(
            "The algorithms a token may be signed with; those with a shared secret (HS…) and those with a public key "
            "are never mixed.",
            choices=HMAC + ASYMMETRIC,
        ),
    ] = ("HS256",)
    token_leeway: Annotated[
        float, About("How long a token is still taken after its end, for clocks that differ.", "seconds", 0, 3600)
    ] = 0.0
    store: Annotated[
        str,
        About(
            "Where messages are kept: `sqlite:PATH`, a file (with `-wal`, `-shm`, `.lock` and `.given` beside it), "
            "made if it is not there, for one daemon; `redis`, for any number of daemons (needs `redis` and `amqp`); "
            "`memory`, from where they are gone with the process; or `none`: relay mode (see `amqp`), in which nothing "
            "is kept. In a demo its default is `memory`."
        ),
    ] = "sqlite:kschat.db"
    store_sync: Annotated[
        str,
        About(
            "`full`: a message is acknowledged once it is on the disk. `normal`: once the system has it; what was "
            "acknowledged survives a crash of the daemon, but the last seconds may be lost when the machine crashes or "
            "loses power.",
            choices=("full", "normal"),
        ),
    ] = "full"
    retention_days: Annotated[
        float,
        About("Messages older than this are deleted; 0 for none.", "days", 0, 36500),
    ] = 0.0
    retention_messages: Annotated[
        int,
        About(
            "The newest messages that are kept in each inbox, and in each conversation; older ones are deleted, "
            "undelivered ones too. 0 for no bound.",
            "messages",
            0,
            10**9,
        ),
    ] = 0
    amqp: Annotated[
        str,
        About(
            "RabbitMQ, which carries messages between daemons: `amqp://user:password@host:5672/vhost?heartbeat=60`, or "
            "`amqps://…`. Needs the store `redis` or `none`. Empty: this daemon is alone.",
            masked=True,
        ),
    ] = ""
    amqp_exchange: Annotated[
        str,
        About(
            "The tutorial's exchange. With the format `kschat` another one is used, whose name is `kschat.` and this."
        ),
    ] = "direct_logs"
    amqp_exchange_type: Annotated[
        str, About("The type of the exchange.", choices=("direct", "topic", "fanout", "headers"))
    ] = "direct"
    amqp_durable: Annotated[bool, About("Whether the exchange outlives a restart of the broker.")] = False
    amqp_prefix: Annotated[str, About("What routing keys begin with; the user's id follows.")] = "ks_"
    amqp_queue: Annotated[
        str,
        About(
            "`daemon`: one queue for each daemon, with a binding for each user there. `connection`: one for each "
            "socket, as the tutorial's server has it.",
            choices=("daemon", "connection"),
        ),
    ] = "daemon"
    amqp_format: Annotated[
        str,
        About(
            "What is published: `kschat`, batches on an exchange of their own; or `tutorial`, the tutorial's JSON "
            "on its exchange, beside its Node server. All daemons need the same.",
            choices=("kschat", "tutorial"),
        ),
    ] = "kschat"
    amqp_ca: Annotated[
        str, About("File with the PEM certificates that RabbitMQ's is trusted by, not the system's.")
    ] = ""
    amqp_cert: Annotated[
        str, About("File with this daemon's PEM certificate for RabbitMQ, its key in it or in `amqp_key`.")
    ] = ""
    amqp_key: Annotated[str, About("File with the PEM key of `amqp_cert`.")] = ""
    redis: Annotated[
        str,
        About(
            "Redis, which keeps messages (see `store`), and by which daemons know of each other: "
            "`redis://user:password@host:6379/0`; by TLS `rediss://…`; where Sentinels know the master, "
            "`redis+sentinel://user:password@host:26379,host:26379/service/0` (or `rediss+sentinel://…`). User and "
            "password are those of Redis; Sentinels that want their own get them by "
            "`?sentinel_user=USER&sentinel_password=PASSWORD` at the end. Needs `amqp`.",
            masked=True,
        ),
    ] = ""
    redis_pub: Annotated[
        str, About("The Redis to publish to, where it is not that of `redis`. A URL as there.", masked=True)
    ] = ""
    redis_sub: Annotated[
        str, About("The Redis to subscribe at, where it is not that of `redis`. A URL as there.", masked=True)
    ] = ""
    redis_prefix: Annotated[
        str,
        About(
            "What the names of keys and channels in Redis begin with: another one for each cluster on a server, since "
            "channels belong to no database."
        ),
    ] = "ks"
    redis_replicas: Annotated[
        int,
        About(
            "How many of Redis's replicas must have a message before it is acknowledged. With all of them, a failover "
            "loses nothing that was acknowledged; while fewer follow, messages are refused (ER 3). 0: none is waited "
            "for.",
            "replicas",
            0,
            100,
        ),
    ] = 0
    redis_ca: Annotated[str, About("File with the PEM certificates that Redis's is trusted by, not the system's.")] = ""
    redis_cert: Annotated[
        str, About("File with this daemon's PEM certificate for Redis, its key in it or in `redis_key`.")
    ] = ""
    redis_key: Annotated[str, About("File with the PEM key of `redis_cert`.")] = ""
    ping_interval: Annotated[float, About("How often a connection is probed.", "seconds", 0.001, 86400)] = 25.0
    ping_timeout: Annotated[
        float,
        About("How long the answer to a probe may take before the connection is closed.", "seconds", 0.001, 86400),
    ] = 20.0
    max_payload: Annotated[int, About("Largest packet taken from a client.", "bytes", 100, 2**30)] = 1_000_000
    max_connections: Annotated[int, About("Connections at once; more are refused.", "connections", 1, 2**24)] = 10_000
    max_polls: Annotated[
        int,
        About(
            "Sessions on long-polling at once; more are refused. Between requests such a session has no connection.",
            "sessions",
            1,
            2**24,
        ),
    ] = 10_000
    upgrade_timeout: Annotated[
        float,
        About("How long a session may take to change from long-polling to WebSocket.", "seconds", 0.001, 86400),
    ] = 10.0
    peer_listen: Annotated[
        str,
        About(
            "Where other daemons hand requests on to this one: a Twisted endpoint such as "
            "`tcp:3001:interface=10.0.0.3`, which only they can reach. Empty: a proxy before several daemons has to "
            "send all requests of a client that polls to the same daemon."
        ),
    ] = ""
    peer_url: Annotated[
        str,
        About(
            "Where they reach that, such as `http://10.0.0.3:3001`. Empty: at the interface and port of `peer_listen`."
        ),
    ] = ""
    peer_secret: Annotated[
        str,
        About(
            "A secret that the daemons share, of 32 bytes or more. Empty: one that is made from the tokens' secret.",
            masked=True,
        ),
    ] = ""
    max_forwards: Annotated[
        int, About("Requests and WebSockets that are handed on to other daemons at once.", "connections", 1, 2**24)
    ] = 5000
    handshake_timeout: Annotated[
        float, About("How long the HTTP and WebSocket handshake may take.", "seconds", 0.001, 86400)
    ] = 10.0
    connect_timeout: Annotated[
        float,
        About(
            "How long a connection may stay without having joined a namespace that serves something.",
            "seconds",
            0.001,
            86400,
        ),
    ] = 45.0
    max_header: Annotated[int, About("Largest HTTP request line and headers together.", "bytes", 1024, 2**20)] = 16_384
    max_unsent: Annotated[
        int,
        About(
            "What may wait to be sent to a slow reader before it is closed; at least twice `max_payload`.",
            "bytes",
            200,
            2**32,
        ),
    ] = 4_000_000
    max_attachments: Annotated[
        int,
        About("Binary attachments of one packet; npm's clients of version 4 take no more.", "attachments", 0, 1000),
    ] = 10
    max_depth: Annotated[int, About("How deep arrays and objects may be nested.", "levels", 4, 512)] = 64
    max_namespaces: Annotated[int, About("Namespaces on one connection, `/` among them.", "namespaces", 2, 1000)] = 8
    max_event_name: Annotated[int, About("Longest name of an event, as JSON.", "bytes", 16, 10_000)] = 128
    max_batch: Annotated[
        int, About("Messages that are stored and published together at the most.", "messages", 1, 100_000)
    ] = 500
    max_in_flight: Annotated[
        int, About("Batches on their way to the store and the router at once.", "batches", 1, 10_000)
    ] = 8
    max_waiting: Annotated[
        int, About("Messages that wait for a batch; beyond it a Send is refused (ER 8).", "messages", 1, 10**7)
    ] = 10_000
    max_room: Annotated[int, About("Members of a room.", "members", 1, 100_000)] = 1000
    store_messages: Annotated[int, About("Messages that are kept; the oldest give way.", "messages", 1, 10**9)] = (
        100_000
    )
    store_bytes: Annotated[
        int, About("Bytes of messages that are kept; at least `max_payload`.", "bytes", 100, 2**50)
    ] = 256 * 2**20
    origins: Annotated[
        tuple[str, ...],
        About(
            "Origins (`scheme://host[:port]`) whose pages may connect beside the daemon's own. `https://*.example.org` "
            "names all subdomains of example.org, and not itself; `null`, pages without an origin of their own (files, "
            "sandboxed frames); `*`, all."
        ),
    ] = ("*",)
    base_path: Annotated[
        str,
        About(
            "The path below which everything is served, such as `/chat`, for a proxy that passes requests for it on as "
            'they are: the page is at `/chat/`, and clients connect with the option `path: "/chat/socket.io/"`. Empty: '
            "at `/`."
        ),
    ] = ""
    templates: Annotated[str, About("Directory of the page's templates, instead of the shipped one.")] = ""
    static: Annotated[str, About("Directory of the page's static files, instead of the shipped one.")] = ""
    client_dist: Annotated[
        str,
        About(
            "Directory with the build of npm's socket.io-client, to serve at `/socket.io/socket.io.js`. Empty: "
            "`node_modules/socket.io-client/dist` of the working directory, if it is there."
        ),
    ] = ""
    deflate: Annotated[
        bool,
        About(
            "Whether WebSocket messages are compressed where a client offers it (permessage-deflate). It spares bytes "
            "on the network, and costs much more of the processor."
        ),
    ] = False
    deflate_from: Annotated[
        int,
        About("Messages of fewer bytes are sent as they are: they gain little by compression.", "bytes", 0, 2**30),
    ] = 256
    metrics: Annotated[
        bool,
        About(
            "Serve `/metrics`, for Prometheus, on the same port. It holds counts and no names; a proxy should not pass "
            "it on to the world all the same."
        ),
    ] = True
    access_log: Annotated[bool, About("Log every HTTP request, its token left out.")] = True

    def __repr__(self) -> str:
        # The struct's own would put the secret into any log line or traceback that shows a Config.
        return f"Config({', '.join(f'{name}={SETTINGS[name].to_toml(getattr(self, name))}' for name in SETTINGS)})"


SETTINGS: Mapping[str, Setting] = settings_of(Config)
