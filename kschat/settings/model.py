"""All settings: the fields of one frozen ``Config``.

The options of twistd, the validation, the masking and the table in the documentation are made from them.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from kschat.chat.keys import ASYMMETRIC, HMAC
from kschat.hooks.events import TYPES
from kschat.settings.setting import About, Setting, settings_of


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting. Times are seconds (fractions allowed), sizes bytes. Made by ``load``, which alone checks it."""

    listen: Annotated[
        str,
        About(
            "Where to listen: a Twisted endpoint string, such as `tcp:3000`, `tcp:3000:interface=127.0.0.1`, "
            "`ssl:…`, `unix:…`, `systemd:…`; `haproxy:tcp:…` behind a proxy that speaks the PROXY protocol. The "
            "variable PORT sets it to `tcp:$PORT`, unless KSCHAT_LISTEN or --listen is given. In a demo the "
            "default listens on 127.0.0.1."
        ),
    ] = "tcp:3000"
    demo: Annotated[
        bool,
        About(
            "Try kschat on this machine: a new secret at each start, and the page gives a token to anyone who opens it "
            "as localhost or at a loopback address. Refused with an address that other machines can reach, and "
            "together with a key."
        ),
    ] = False
    secret: Annotated[
        str,
        About(
            "The secret shared with the issuer of tokens (HS256: 32 bytes or more). Prefer `secret_file` or the "
            "environment: other users of the machine can read a command line.",
            masked=True,
        ),
    ] = ""
    secret_file: Annotated[str, About("File that holds the secret; a trailing newline is ignored.")] = ""
    public_key_file: Annotated[str, About("File with a PEM public key, for RS256, ES256, EdDSA and so on.")] = ""
    jwks_file: Annotated[str, About("File with a JSON Web Key Set: several keys at once, chosen by `kid`.")] = ""
    jwks_url: Annotated[
        str,
        About(
            "URL of a JSON Web Key Set, as identity providers publish it: `https://…`, or `http://127.0.0.1…` on this "
            "machine. It is fetched at the start, at an interval, and when a token names a `kid` that is not known; "
            "while that fails, the last keys are used. Needs `algorithms` of public keys."
        ),
    ] = ""
    jwks_ca: Annotated[
        str,
        About(
            "File with the PEM certificates that the server of `jwks_url` is verified against, instead of the system's."
        ),
    ] = ""
    jwks_refresh: Annotated[float, About("How often the keys at `jwks_url` are fetched.", "seconds", 1, 86400)] = 600.0
    algorithms: Annotated[
        tuple[str, ...],
        About(
            "The algorithms that a token may be signed with; shared-secret algorithms (HS…) and public-key "
            "algorithms are never mixed.",
            choices=HMAC + ASYMMETRIC,
        ),
    ] = ("HS256",)
    token_leeway: Annotated[
        float,
        About(
            "How long a token is accepted after it has expired, to allow for clocks that differ.", "seconds", 0, 3600
        ),
    ] = 0.0
    control: Annotated[
        str,
        About(
            "The path of a UNIX socket through which `kschat revoke` reaches this daemon; only the daemon's own user "
            "can open it. Empty: with the store `sqlite:PATH`, PATH with `.control` after it; otherwise there is none."
        ),
    ] = ""
    revocation_days: Annotated[
        float,
        About(
            "How long a revocation without an end of its own is kept (see `kschat revoke`): at least as long as "
            "tokens are valid. 0 means no limit.",
            "days",
            0,
            36500,
        ),
    ] = 365.0
    token_notice: Annotated[
        float,
        About(
            "How long before its token expires a connected client gets `TokenExpiring`; at the latest when half of the "
            "token's time is over. 0: never.",
            "seconds",
            0,
            86400,
        ),
    ] = 60.0
    token_grace: Annotated[
        float,
        About(
            "How long a connected client may stay after its token has expired, before it is disconnected.",
            "seconds",
            0,
            86400,
        ),
    ] = 0.0
    require_exp: Annotated[bool, About("Refuse tokens that never expire: those without the claim `exp`.")] = False
    audience: Annotated[
        tuple[str, ...],
        About("The claim `aud` of a token must name one of these. Empty: `aud` is not checked."),
    ] = ()
    issuer: Annotated[
        tuple[str, ...],
        About("The claim `iss` of a token must be one of these. Empty: `iss` is not checked."),
    ] = ()
    store: Annotated[
        str,
        About(
            "Where messages are kept: `sqlite:PATH`, a file (with `-wal`, `-shm`, `.lock` and `.given` beside it), "
            "created if it does not exist, for one daemon; `redis`, for any number of daemons (needs `redis` and "
            "`amqp`); `postgresql://user:password@host:5432/database`, for one daemon, or with `amqp` for any number "
            "(see [storage](storage.md#postgresql)); `memory`, lost when the process exits; or `none`: relay mode (see "
            "`amqp`), which stores nothing. In a demo the default is `memory`."
        ),
    ] = "sqlite:kschat.db"
    store_sync: Annotated[
        str,
        About(
            "`full`: a message is acknowledged once it is on the disk. `normal`: once the operating system has it; "
            "acknowledged messages survive a crash of the daemon, but the last seconds may be lost if the machine "
            "crashes or loses power.",
            choices=("full", "normal"),
        ),
    ] = "full"
    retention_days: Annotated[
        float,
        About("Messages older than this are deleted; 0 means no limit.", "days", 0, 36500),
    ] = 0.0
    retention_messages: Annotated[
        int,
        About(
            "How many messages are kept in each inbox, and in each conversation; older ones are deleted, "
            "undelivered ones too. 0 means no limit.",
            "messages",
            0,
            10**9,
        ),
    ] = 0
    amqp: Annotated[
        str,
        About(
            "RabbitMQ, which carries messages between daemons: "
            "`amqp://user:password@host:5672/vhost?heartbeat=60`, or `amqps://…`. Of a cluster, several hosts: "
            "`amqp://user:password@host:5672,host:5672/vhost` (see [operations](operations.md#a-cluster-of-rabbitmq)). "
            "Needs the store `redis`, `postgresql://…` or `none`. Empty: this daemon works alone.",
            masked=True,
        ),
    ] = ""
    amqp_exchange: Annotated[
        str,
        About(
            "The tutorial's exchange. With the format `kschat` the name of the exchange is `kschat.` followed by this."
        ),
    ] = "direct_logs"
    amqp_exchange_type: Annotated[
        str, About("The type of the exchange.", choices=("direct", "topic", "fanout", "headers"))
    ] = "direct"
    amqp_durable: Annotated[bool, About("Whether the exchange survives a restart of the broker.")] = False
    amqp_prefix: Annotated[str, About("The prefix of routing keys; the user's id follows.")] = "ks_"
    amqp_queue: Annotated[
        str,
        About(
            "`daemon`: one queue for each daemon, with a binding for each of its users. `connection`: one for each "
            "socket, as in the tutorial's server.",
            choices=("daemon", "connection"),
        ),
    ] = "daemon"
    amqp_format: Annotated[
        str,
        About(
            "The format of published messages: `kschat`, batches on an exchange of their own; or `tutorial`, the "
            "tutorial's JSON on its exchange, beside its Node server. All daemons need the same format.",
            choices=("kschat", "tutorial"),
        ),
    ] = "kschat"
    amqp_ca: Annotated[
        str,
        About(
            "File with the PEM certificates that RabbitMQ's certificate is verified against, instead of the system's."
        ),
    ] = ""
    amqp_cert: Annotated[
        str,
        About("File with this daemon's PEM certificate for RabbitMQ; its key is in the same file or in `amqp_key`."),
    ] = ""
    amqp_key: Annotated[str, About("File with the PEM key of `amqp_cert`.")] = ""
    redis: Annotated[
        str,
        About(
            "Redis, which keeps messages (see `store`) and connects the daemons: "
            "`redis://user:password@host:6379/0`; with TLS `rediss://…`; with Sentinels "
            "`redis+sentinel://user:password@host:26379,host:26379/service/0` (or `rediss+sentinel://…`). User and "
            "password are those of Redis; if the Sentinels have their own, add "
            "`?sentinel_user=USER&sentinel_password=PASSWORD`. Needs `amqp`.",
            masked=True,
        ),
    ] = ""
    redis_pub: Annotated[
        str, About("The Redis to publish to, if it is not the one in `redis`. A URL of the same form.", masked=True)
    ] = ""
    redis_sub: Annotated[
        str, About("The Redis to subscribe at, if it is not the one in `redis`. A URL of the same form.", masked=True)
    ] = ""
    redis_prefix: Annotated[
        str,
        About(
            "The prefix of keys and channels in Redis: use a different one for each cluster on a server, since "
            "channels belong to no database."
        ),
    ] = "ks"
    redis_wait: Annotated[
        int,
        About(
            "How many of Redis's replicas must have a message before it is acknowledged. With all of them, a "
            "failover loses nothing that was acknowledged (see [storage](storage.md#redis)); while fewer have it, "
            "messages are refused (ER 3). 0: the daemon waits for none.",
            "replicas",
            0,
            100,
        ),
    ] = 0
    redis_wait_timeout: Annotated[
        float, About("How long they may take, before messages are refused.", "seconds", 0.01, 10)
    ] = 1.0
    redis_wait_disk: Annotated[
        bool,
        About(
            "Whether a message must be on the disks of Redis and of `redis_wait` replicas, if Redis can tell (7.2 or "
            "newer, with `appendonly yes`). With `appendfsync everysec` a message then waits up to a second: set "
            "`redis_wait_timeout` to 3."
        ),
    ] = False
    redis_ca: Annotated[
        str,
        About("File with the PEM certificates that Redis's certificate is verified against, instead of the system's."),
    ] = ""
    redis_cert: Annotated[
        str, About("File with this daemon's PEM certificate for Redis; its key is in the same file or in `redis_key`.")
    ] = ""
    redis_key: Annotated[str, About("File with the PEM key of `redis_cert`.")] = ""
    ping_interval: Annotated[float, About("How often a connection is probed.", "seconds", 0.001, 86400)] = 25.0
    ping_timeout: Annotated[
        float,
        About("How long the answer to a probe may take before the connection is closed.", "seconds", 0.001, 86400),
    ] = 20.0
    max_payload: Annotated[int, About("Largest packet accepted from a client.", "bytes", 100, 2**30)] = 1_000_000
    max_payload_unjoined: Annotated[
        int,
        About(
            "Largest packet accepted from a client that has joined no namespace that serves something (the chat is "
            "joined with a token). A token must fit.",
            "bytes",
            1024,
            2**30,
        ),
    ] = 16_384
    max_joins: Annotated[
        int,
        About(
            "How many times one connection may ask to join a namespace at once; one more each second.",
            "joins",
            2,
            10**6,
        ),
    ] = 32
    max_connections: Annotated[
        int,
        About(
            "Connections at the same time. Beyond it those whose clients have not joined give way, the oldest first; "
            "if all have joined, more are refused. Lowered at the start if the process may not open as many files.",
            "connections",
            1,
            2**24,
            live=True,
        ),
    ] = 10_000
    max_connections_per_address: Annotated[
        int,
        About(
            "The same for connections from one address (see `trusted_proxies`). All clients behind one NAT have one "
            "address.",
            "connections",
            1,
            2**24,
            live=True,
        ),
    ] = 1_000
    trusted_proxies: Annotated[
        tuple[str, ...],
        About(
            "Proxies whose X-Forwarded-For header is believed: addresses, networks (`10.0.0.0/8`), or `unix` for those "
            "that connect to a UNIX socket. The client is the rightmost address in it that is not one of these. The "
            "header is ignored from anyone else."
        ),
    ] = ()
    max_polls: Annotated[
        int,
        About(
            "Long-polling sessions at the same time. Between requests such a session has no connection. Beyond it "
            "those that have not joined give way, the oldest first; if all have joined, more are refused.",
            "sessions",
            1,
            2**24,
            live=True,
        ),
    ] = 10_000
    max_polls_per_address: Annotated[
        int, About("The same for long-polling sessions from one address.", "sessions", 1, 2**24, live=True)
    ] = 1_000
    upgrade_timeout: Annotated[
        float,
        About("How long the upgrade of a session from long-polling to WebSocket may take.", "seconds", 0.001, 86400),
    ] = 10.0
    peer_listen: Annotated[
        str,
        About(
            "Where other daemons forward requests to this one: a Twisted endpoint such as "
            "`tcp:3001:interface=10.0.0.3`, which only they can reach. Empty: a proxy before several daemons must "
            "send all requests of a polling client to the same daemon."
        ),
    ] = ""
    peer_url: Annotated[
        str,
        About(
            "The URL at which other daemons reach that endpoint, such as `http://10.0.0.3:3001`. Empty: the "
            "interface and port of `peer_listen`."
        ),
    ] = ""
    peer_secret: Annotated[
        str,
        About(
            "A secret that the daemons share, of 32 bytes or more. Empty: it is derived from the tokens' secret.",
            masked=True,
        ),
    ] = ""
    max_forwards: Annotated[
        int,
        About(
            "Requests and WebSockets forwarded to other daemons at the same time.", "connections", 1, 2**24, live=True
        ),
    ] = 5000
    handshake_timeout: Annotated[
        float, About("How long the HTTP and WebSocket handshake may take.", "seconds", 0.001, 86400)
    ] = 10.0
    connect_timeout: Annotated[
        float,
        About(
            "How long a connection may stay open without joining a namespace that serves something.",
            "seconds",
            0.001,
            86400,
        ),
    ] = 45.0
    max_header: Annotated[
        int, About("Largest total size of the HTTP request line and headers.", "bytes", 1024, 2**20)
    ] = 16_384
    max_unsent: Annotated[
        int,
        About(
            "How many bytes may wait for a slow reader before its connection is closed; at least twice `max_payload`.",
            "bytes",
            200,
            2**32,
        ),
    ] = 4_000_000
    max_buffered: Annotated[
        int,
        About(
            "How many bytes the daemon may hold for all clients together: what waits for slow readers and for GETs, "
            "bodies of requests, messages that wait for the store (half of it at most). Beyond it the connection that "
            "holds the most is closed, and Send is refused (ER 8). At least four times `max_unsent`.",
            "bytes",
            800,
            2**50,
        ),
    ] = 256 * 2**20
    max_attachments: Annotated[
        int,
        About("Binary attachments of one packet; npm's 4.x clients accept no more than 10.", "attachments", 0, 1000),
    ] = 10
    max_depth: Annotated[int, About("How deep arrays and objects may be nested.", "levels", 4, 512)] = 64
    max_namespaces: Annotated[int, About("Namespaces on one connection, including `/`.", "namespaces", 2, 1000)] = 8
    max_event_name: Annotated[int, About("Longest name of an event, as JSON.", "bytes", 16, 10_000)] = 128
    max_batch: Annotated[
        int, About("The most messages that are stored and published together.", "messages", 1, 100_000, live=True)
    ] = 500
    max_in_flight: Annotated[
        int, About("Batches that are being stored or routed at the same time.", "batches", 1, 10_000, live=True)
    ] = 8
    linger: Annotated[
        float,
        About(
            "How long a batch may wait for other messages while they come in quick succession. It does not wait when "
            "the daemon is idle, or for clients that wait for each answer before they send more.",
            "seconds",
            0,
            0.1,
            live=True,
        ),
    ] = 0.001
    max_waiting: Annotated[
        int,
        About("Messages that wait for a batch; beyond this a Send is refused (ER 8).", "messages", 1, 10**7, live=True),
    ] = 10_000
    max_room: Annotated[int, About("Members of a room.", "members", 1, 100_000, live=True)] = 1000
    max_rooms: Annotated[
        int,
        About(
            "Rooms that one user may be a member of; another Join is refused (ER 4).", "rooms", 1, 1_000_000, live=True
        ),
    ] = 1000
    rate_burst: Annotated[
        float,
        About(
            "For each setting `rate_…`: how many seconds' worth may be done at once, before the average counts.",
            "seconds",
            0.001,
            3600,
            live=True,
        ),
    ] = 10.0
    rate_socket_events: Annotated[
        float,
        About(
            "Events that one connection may send, on average a second, whatever they are; beyond it they are "
            "refused with ER 4 and `retryIn`, and a connection that tries for four times as many is closed "
            "(`Goodbye rate`). 0 means no limit, here and in the settings below.",
            "events a second",
            0,
            10**6,
            live=True,
        ),
    ] = 1000.0
    rate_socket_bytes: Annotated[
        float,
        About(
            "The same of the bytes of its events, with their attachments.",
            "bytes a second",
            0,
            10**10,
            live=True,
        ),
    ] = 2_000_000.0
    rate_user_events: Annotated[
        float,
        About(
            "Events of all connections of a user to this daemon.",
            "events a second",
            0,
            10**6,
            live=True,
        ),
    ] = 2000.0
    rate_user_bytes: Annotated[
        float,
        About(
            "Bytes of events of all connections of a user to this daemon.",
            "bytes a second",
            0,
            10**10,
            live=True,
        ),
    ] = 4_000_000.0
    rate_user_sends: Annotated[
        float,
        About(
            "Messages (`Send`) of a user to this daemon. A few a second are enough for people.",
            "messages a second",
            0,
            10**6,
            live=True,
        ),
    ] = 500.0
    rate_user_copies: Annotated[
        float,
        About(
            "What a user's events are multiplied by: each inbox that a message to a room goes to, each socket "
            "that is told of typing or shown a receipt or carbon, each id of `Presence`. What is large and has many "
            "sockets counts once for each 2 kB and socket.",
            "copies a second",
            0,
            10**7,
            live=True,
        ),
    ] = 5000.0
    rate_user_joins: Annotated[
        float,
        About(
            "Sockets of a user that join the chat on this daemon; beyond it a connection that asks is closed, and "
            "its client tries again later.",
            "joins a second",
            0,
            10**6,
            live=True,
        ),
    ] = 10.0
    rate_address_handshakes: Annotated[
        float,
        About(
            "Sessions that an IP address may begin (an IPv6 address: its /64); beyond it they are refused with "
            "status 429 and `Retry-After`. Clients behind a proxy share its address, unless the proxy is named as "
            "trusted.",
            "sessions a second",
            0,
            10**6,
            live=True,
        ),
    ] = 500.0
    rate_handshakes: Annotated[
        float,
        About(
            "Sessions that may begin on this daemon; those beyond it wait for their turn, the addresses in rotation, "
            "so that those who are connected do not wait for a crowd that comes back. 0 means no limit. (`rate_burst` "
            "does not count here.)",
            "sessions a second",
            0,
            10**6,
            live=True,
        ),
    ] = 1000.0
    max_handshakes_waiting: Annotated[
        int,
        About(
            "Handshakes that may wait for that, and as many as have their turn within 10 seconds; beyond it they are "
            "refused with status 503 and `Retry-After`.",
            "handshakes",
            0,
            10**6,
            live=True,
        ),
    ] = 10_000
    rate_address_joins: Annotated[
        float,
        About(
            "Joins that an IP address may ask for; beyond it a connection that asks is closed before its token is "
            "looked at.",
            "joins a second",
            0,
            10**6,
            live=True,
        ),
    ] = 500.0
    rate_address_failed_tokens: Annotated[
        float,
        About(
            "Tokens that are not valid, of an IP address; beyond it none of its tokens is looked at, and "
            "connections that ask to join are closed.",
            "tokens a second",
            0,
            10**6,
            live=True,
        ),
    ] = 10.0
    rate_cluster_sends: Annotated[
        float,
        About(
            "Messages of a user to all daemons together, which the store counts as it keeps them. 0 means no limit.",
            "messages a second",
            0,
            10**6,
        ),
    ] = 0.0
    max_user_sockets: Annotated[
        int,
        About(
            "Sockets of a user on this daemon; for one more the oldest is ended (`Goodbye replaced`). 0 means no "
            "limit.",
            "sockets",
            0,
            2**24,
            live=True,
        ),
    ] = 100
    typing_interval: Annotated[
        float,
        About("How often `Typing` of one user to another is passed on; 0: always.", "seconds", 0, 3600, live=True),
    ] = 1.0
    presence_interval: Annotated[
        float,
        About(
            "How long changes of presence are gathered, so that users who come and go again are told of once; 0: not "
            "at all.",
            "seconds",
            0,
            60,
            live=True,
        ),
    ] = 0.1
    edit_within: Annotated[
        float,
        About(
            "How long after a message was sent its sender may edit and delete it. 0: never. Whoever moderates a room "
            "(the token's claim `data.moderates`) may delete there at any time.",
            "seconds",
            0,
            3_153_600_000,
            live=True,
        ),
    ] = 86400.0
    max_blocked: Annotated[int, About("Users whom one user may block.", "users", 1, 10_000, live=True)] = 1000
    blocked_reply: Annotated[
        str,
        About(
            "How a `Send` to a user who blocks the sender is answered: `accepted`, as if it had been stored; or "
            "`refused`, with ER 6.",
            choices=("accepted", "refused"),
        ),
    ] = "accepted"
    restrict_presence: Annotated[
        bool, About("Show a user's presence only to those whose token lets them write to it (the claim `data.to`).")
    ] = False
    push_key: Annotated[
        str,
        About(
            "File with the private key of Web Push (VAPID), made by `kschat push-key`: browsers of users who asked for "
            "it are told when messages wait. All daemons need the same. Empty: there are no pushes."
        ),
    ] = ""
    push_contact: Annotated[
        str,
        About(
            "With `push_key`: where the operators of a push service can reach you, `mailto:you@example.org` or "
            "`https://…`. It is sent with each push."
        ),
    ] = ""
    push_hosts: Annotated[
        tuple[str, ...],
        About(
            "The hosts of push services, which browsers choose: `push.example.org`, `*.example.org` for all below "
            "example.org, optionally with a port; `*` for all with public addresses. By default, those of Chrome, "
            "Firefox, Safari and Edge."
        ),
    ] = (
        "fcm.googleapis.com",
        "jmt17.google.com",  # Chromium as Linux distributions build it
        "*.push.services.mozilla.com",
        "*.push.apple.com",
        "*.notify.windows.com",
    )
    push_private: Annotated[
        bool,
        About(
            "Whether push services may have addresses that are not public: your own, in a network of yours. Not "
            "together with `*` in `push_hosts`, since the addresses come from clients."
        ),
    ] = False
    push_ca: Annotated[
        str,
        About("File with the PEM certificates that push services are verified against, instead of the system's."),
    ] = ""
    push_url: Annotated[
        str,
        About(
            "Where a click on a notification leads if no page of the daemon is open, such as "
            "`https://app.example.org/chat?with={peer}`. `{user}` is replaced by the user, `{peer}` by the other user "
            "or the room, or by nothing if messages wait in several conversations. Empty: to the daemon's page."
        ),
    ] = ""
    store_messages: Annotated[
        int, About("Messages that are kept; the oldest are deleted first.", "messages", 1, 10**9)
    ] = 100_000
    store_bytes: Annotated[
        int, About("Bytes of messages that are kept; at least `max_payload`.", "bytes", 100, 2**50)
    ] = 256 * 2**20
    origins: Annotated[
        tuple[str, ...],
        About(
            "Origins (`scheme://host[:port]`) whose pages may connect, besides the daemon's own: the page that it "
            "serves, by the scheme and the host that the browser asked for. "
            "`https://*.example.org` matches all subdomains of example.org, but not example.org; `null` matches "
            "pages without an origin (files, sandboxed frames); `*` matches all. Programs that are no browsers send no "
            "origin, and always may connect."
        ),
    ] = ()
    frame_ancestors: Annotated[
        tuple[str, ...],
        About(
            "Origins whose pages may show the daemon's page in a frame (`https://app.example.org`, or with `*.` all "
            "subdomains). Empty: no page may. A page of yours that uses the client module instead of a frame needs "
            "`origins`."
        ),
    ] = ()
    base_path: Annotated[
        str,
        About(
            "The path below which everything is served, such as `/chat`, for a proxy that passes the request path "
            'unchanged: the page is at `/chat/`, and clients connect with the option `path: "/chat/socket.io/"`. '
            "Empty: at `/`."
        ),
    ] = ""
    templates: Annotated[str, About("Directory with the page's templates, instead of the shipped ones.")] = ""
    static: Annotated[str, About("Directory with the page's static files, instead of the shipped ones.")] = ""
    client_dist: Annotated[
        str,
        About(
            "Directory with the build of npm's socket.io-client, served at `/socket.io/socket.io.js`. Empty: "
            "`node_modules/socket.io-client/dist` of the working directory, if it exists."
        ),
    ] = ""
    deflate: Annotated[
        bool,
        About(
            "Whether WebSocket messages are compressed if a client offers it (permessage-deflate). Compression "
            "saves network bytes, and costs much CPU."
        ),
    ] = False
    deflate_from: Annotated[
        int,
        About("Messages of fewer bytes are not compressed, since they gain little.", "bytes", 0, 2**30),
    ] = 256
    drain_notice: Annotated[
        float,
        About(
            "After SIGTERM: how long the daemon goes on to serve as before while `/readyz` says `closing`, so that a "
            "proxy before several daemons can notice it. Ctrl-C (SIGINT) does not wait.",
            "seconds",
            0,
            3600,
            live=True,
        ),
    ] = 0.0
    drain_time: Annotated[
        float,
        About(
            "After that: the time over which the connections are closed, evenly, so that their clients do not all "
            "connect to other daemons at once. Those that are open are served until then. 0: all are closed at once, "
            "which is best for a daemon that is alone.",
            "seconds",
            0,
            3600,
            live=True,
        ),
    ] = 0.0
    metrics: Annotated[
        bool,
        About(
            "Serve `/metrics`, for Prometheus, at `ops_listen` or, without that, on the port for clients. It holds "
            "counts and no names, but a proxy should not expose it to the internet."
        ),
    ] = True
    ops_listen: Annotated[
        str,
        About(
            "Where `/healthz`, `/livez`, `/readyz` and `/metrics` are served to operators alone: a Twisted endpoint "
            "such as `tcp:9100:interface=127.0.0.1`. The port for clients serves none of them then. Empty: it serves "
            "them all."
        ),
    ] = ""
    api_listen: Annotated[
        str,
        About(
            "Where back ends reach the HTTP API: a Twisted endpoint such as `tcp:9200:interface=127.0.0.1`. Needs "
            "`api_keys`. Empty: there is no API."
        ),
    ] = ""
    api_keys: Annotated[
        str, About("TOML file with the keys of the HTTP API. SIGHUP makes the daemon read it again.")
    ] = ""
    hooks_secret_file: Annotated[
        str,
        About(
            "File with the secrets that requests to your back end are signed with (Standard Webhooks), one a line: "
            "`whsec_` and 24 to 64 bytes in Base64. All of them sign, so that one can be replaced. SIGHUP makes the "
            "daemon read it again."
        ),
    ] = ""
    hooks_ca: Annotated[
        str,
        About(
            "File with the PEM certificates that the servers of `ask_url` and `hooks_url` are verified against, "
            "instead of the system's."
        ),
    ] = ""
    hooks_url: Annotated[
        str,
        About(
            "URL that events are posted to (see [hooks](hooks.md)): `https://…`, or `http://…` in a network of your "
            "own. Needs `hooks_secret_file`, and a store that keeps messages. Empty: there are no hooks."
        ),
    ] = ""
    hooks_events: Annotated[tuple[str, ...], About("The events that are posted.", choices=TYPES, live=True)] = TYPES
    hooks_max_events: Annotated[
        int,
        About(
            "Events that are kept for a receiver that is down; the oldest are dropped.", "events", 100, 10**7, live=True
        ),
    ] = 100_000
    hooks_max_age: Annotated[float, About("How long an event is retried.", "seconds", 60, 2_592_000, live=True)] = (
        86_400.0
    )
    undelivered_after: Annotated[
        float,
        About(
            "How long a message waits for its recipient before an event reports it.", "seconds", 1, 604_800, live=True
        ),
    ] = 60.0
    undelivered_every: Annotated[
        float, About("Shortest time between two such events for one user.", "seconds", 1, 2_592_000, live=True)
    ] = 300.0
    ask_url: Annotated[
        str,
        About(
            "URL at which your back end is asked what users may do: `https://…`, or `http://…` in a network of your "
            "own. Needs `hooks_secret_file`. Empty: it is not asked."
        ),
    ] = ""
    ask_about: Annotated[
        tuple[str, ...],
        About(
            "What your back end is asked: `join` (may this user join that room), `write` (may this user write to that "
            "user or room), `send` (may this user send this message; each message is sent to your back end).",
            choices=("join", "write", "send"),
        ),
    ] = ("join", "write")
    ask_timeout: Annotated[
        float,
        About("Time limit of a question, including the wait for its turn.", "seconds", 0.05, 60, live=True),
    ] = 2.0
    ask_silent: Annotated[
        str,
        About(
            "What applies if there is no answer: `deny` (refused with ER 8: try again) or `allow`.",
            choices=("deny", "allow"),
            live=True,
        ),
    ] = "deny"
    ask_cache: Annotated[
        float,
        About(
            "How long an answer to `write` is kept for the same two; 0: not at all.", "seconds", 0, 86_400, live=True
        ),
    ] = 60.0
    ask_concurrent: Annotated[
        int,
        About("Questions without an answer at one time, each on its own connection.", "questions", 1, 1000, live=True),
    ] = 50
    ask_waiting: Annotated[
        int,
        About("Questions that wait to be sent; beyond it `ask_silent` applies.", "questions", 1, 10_000, live=True),
    ] = 1000
    access_log: Annotated[bool, About("Log every HTTP request, without its token.", live=True)] = True

    otel_endpoint: Annotated[
        str,
        About(
            "URL of a collector of OpenTelemetry (OTLP over HTTP), such as `http://localhost:4318`, to which spans are "
            "sent: see [traces](operations.md#traces). Needs `pip install 'kschat[otel]'`. Empty: there are no spans."
        ),
    ] = ""
    otel_sample: Annotated[
        float,
        About(
            "The part of batches, hook requests and API calls that spans are made of; an API call whose caller says "
            "(`traceparent`) is decided by the caller.",
            "",
            0,
            1,
        ),
    ] = 0.01
    log_level: Annotated[
        str,
        About(
            "Lines of a lower level are not logged; `debug` logs all.",
            choices=("debug", "info", "warn", "error"),
            live=True,
        ),
    ] = "info"
    log_format: Annotated[
        str,
        About(
            "How lines of the log are written: `text`, as twistd does; or `json`, one object a line. twistd's own "
            "`--syslog` and `--logger` ignore this and `log_level`.",
            choices=("text", "json"),
        ),
    ] = "text"
    log_rotate: Annotated[
        int,
        About(
            "With twistd's `--logfile`: the size at which the file is renamed (`NAME.1`, older ones `NAME.2` and so "
            "on) and a new one opened. 0: logrotate or another program does that; on SIGUSR1 the daemon opens a new "
            "file.",
            "bytes",
            0,
            2**40,
        ),
    ] = 1_000_000

    @property
    def hooks(self) -> bool:
        """Whether the store keeps what hooks are made from."""
        return bool(self.hooks_url or self.push_key)

    def __repr__(self) -> str:
        # The struct's own would put the secret into any log line or traceback that shows a Config.
        return f"Config({', '.join(f'{name}={SETTINGS[name].to_toml(getattr(self, name))}' for name in SETTINGS)})"


#: The settings that are places to listen at.
ENDPOINTS = ("listen", "peer_listen", "ops_listen", "api_listen")

SETTINGS: Mapping[str, Setting] = settings_of(Config)
