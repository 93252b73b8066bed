"""Makes the service: the only place that knows all the parts and wires them together."""

import gc
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from twisted.application.service import IService, MultiService
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python.filepath import FilePath
from twisted.web.resource import Resource

from kschat import __version__
from kschat.api.control import ControlSocket, make_site
from kschat.api.http import ApiResource
from kschat.api.keys import ApiKeys
from kschat.api.methods import Api
from kschat.assets import directory, shipped
from kschat.backends import amqp, redis
from kschat.backends.jwks import JwksClient
from kschat.backends.kinds import Backends
from kschat.backends.local import LocalBus
from kschat.backends.memory import MemoryRouter
from kschat.backends.table import BACKENDS
from kschat.budget import Budget
from kschat.chat.application import NAMESPACE, Chat
from kschat.chat.bus import IBus
from kschat.chat.clocks import WallClock
from kschat.chat.context import make_context
from kschat.chat.delivery import Bounds
from kschat.chat.expiry import TokenTimes
from kschat.chat.interfaces import IAuthorizer, IMeasured, IRouter, IStore, StoreUnavailable
from kschat.chat.mids import Mids
from kschat.chat.tokens import Issuer, Verifier
from kschat.cli.options import DaemonOptions as Options
from kschat.cli.warnings import warnings_of
from kschat.counters import Counters
from kschat.daemon import Daemon
from kschat.free_memory import FreeMemory, trimmer
from kschat.front.admin_page import AdminPage
from kschat.front.assembly import Front, FrontSettings
from kschat.front.bindable import cannot_listen, endpoint_fault
from kschat.front.channel import BoundedSite, ChannelBounds
from kschat.front.compat_twisted import bound_events, watch_turns
from kschat.front.descriptors import LEAST, connections_within, raise_limit
from kschat.front.endpoints import server_endpoint, tls_of
from kschat.front.engine import EngineSettings
from kschat.front.metrics import DaemonCollector, Metrics, process_gauges
from kschat.front.monotonic import use_monotonic_clock
from kschat.front.page import DemoTokens, PageResource, TemplateError
from kschat.front.port import ListeningService
from kschat.front.readiness import ReadyNotice
from kschat.front.service import FrontService
from kschat.front.session_ids import PeerAddress, SessionIds
from kschat.front.site import Health, Live, Ready, make_ops_root, make_root
from kschat.front.static import ClientDist, Release, StaticFile, StaticFiles, client_dist
from kschat.garbage import COLLECT_AFTER, Garbage
from kschat.hooks import webhook as webhook_module
from kschat.hooks.asking import MAX_ANSWER, SEND, Asker, AskSettings
from kschat.hooks.consumer import Consumer
from kschat.hooks.deriver import DeriverSettings
from kschat.hooks.engine import Hooks, HooksSettings
from kschat.hooks.http import HookClient
from kschat.hooks.push import PushConsumer
from kschat.hooks.push_client import PushClient, PushSettings
from kschat.hooks.signing import Signer, read_secrets
from kschat.hooks.vapid import Vapid, VapidKey
from kschat.hooks.webhook import Webhook
from kschat.logs import DaemonLog, LogCount, make_log
from kschat.notify import NotifyService, manager_of, watchdog_seconds
from kschat.process import CleanExit, DemoNotice, ReloadSignal, RotateSignal, StartNotice, Whole, options_of
from kschat.rates import AddressLimits, RateSettings
from kschat.reloading import (
    Reloading,
    api_keys_part,
    certificate_part,
    hooks_secret_part,
    keys_part,
    settings_reader,
    with_absolute_paths,
)
from kschat.repeated_log import RepeatedLog
from kschat.server import Server
from kschat.settings import (
    ENDPOINTS,
    Config,
    ConfigError,
    claim_rules,
    control_path,
    hints,
    jwks_settings,
    load,
    peer_place,
    read_keys,
    read_secret,
)
from kschat.tls import AddressError, roots
from kschat.tracing.pipeline import Tracing
from kschat.tracing.settings import TracingSettings, traces_url
from kschat.tracing.spans import Tracer
from kschat.wire.cork import Cork
from kschat.wire.limits import Limits

__all__ = ["Options", "makeService", "make_service"]

#: The gauges that are queues: what waits, or is not answered yet.
QUEUES = frozenset(
    {
        "messages_waiting",
        "batches_in_flight",
        "reads_waiting",
        "reads_in_flight",
        "handshakes_waiting",
        "forwards",
        "ask_waiting",
        "ask_in_flight",
        "ask_held",
        "buffered_bytes",
    }
)


def makeService(options: Options) -> IService:
    """The service that ``twistd kschat`` runs. An unusable configuration ends the process: one sentence, status 1."""
    # Here and nowhere else: an import at the top would install the reactor before `twistd --reactor` chooses one.
    from twisted.internet import reactor

    # Before anything is scheduled.
    use_monotonic_clock(reactor)
    bound_events(reactor)
    levels: list[DaemonLog] = []
    try:
        given = load(options.given(), os.environ)
        config = given
        if config.demo:
            config = msgspec.structs.replace(config, secret=secrets.token_urlsafe(32))
        config, notice = _within_descriptors(config)
        service = make_service(config, reactor, set_log_level=lambda level: _set_level(levels, level))
        for name in ENDPOINTS:
            if (description := getattr(config, name)) and (why := cannot_listen(description)):
                raise ConfigError(f"{name}: cannot listen at {description}: {why}")
    except ConfigError as error:
        # twistd calls this before it forks and before it logs, so stderr is still the caller's.
        sys.stderr.write(f"kschat: {error}\n")
        raise SystemExit(1) from None
    try:
        kind, argument = BACKENDS.store(config.store)
        if kind.look is not None:
            kind.look(argument)
    except StoreUnavailable as error:
        # The daemon starts and retries. The operator looks at standard error, and would take silence for success.
        sys.stderr.write(f"kschat: store: {config.store} can't be used: {error}; Send is refused until it can\n")
    reloading = service.getServiceNamed(Reloading.name)
    reloading.watch(given, settings_reader(options.given(), os.environ))
    try:
        log = _make_log(config, options)
    except OSError as error:
        sys.stderr.write(f"kschat: the log can't be written to {error.filename}: {error.strerror}\n")
        raise SystemExit(1) from None
    gc.set_threshold(*COLLECT_AFTER)
    # What was imported stays. To look through it for garbage takes 40 ms, in which nobody is served.
    gc.collect()
    gc.freeze()
    notify = _make_notify(os.environ, service, reactor)
    whole = Whole(log, notify)
    CleanExit(reactor, service.hurry).setServiceParent(whole)
    reload = reloading.reload if notify is None else partial(notify.around, reloading.reload)
    ReloadSignal(reactor, reload).setServiceParent(whole)
    if log is not None:
        levels.append(log)
        RotateSignal(reactor, log).setServiceParent(whole)
    elif (config.log_format, config.log_level) != (Config().log_format, Config().log_level):
        StartNotice(
            "log_format and log_level are not used: twistd was given another log (--syslog, --logger)"
        ).setServiceParent(whole)
    # Before the notices, which it counts.
    LogCount(service.counters.logged).setServiceParent(whole)
    if notice:
        sys.stderr.write(f"kschat: {notice}\n")
        StartNotice(notice).setServiceParent(whole)
    for warning in warnings_of(config, options.given(), os.environ):
        StartNotice(warning).setServiceParent(whole)
    if config.demo:
        DemoNotice().setServiceParent(whole)
    service.setServiceParent(whole)
    clients = partial(_clients, service.front.front)
    Garbage(reactor, clients).setServiceParent(whole)
    if (trim := trimmer()) is not None:
        FreeMemory(reactor, trim, clients).setServiceParent(whole)
    return whole


def _clients(front: Front) -> int:
    """Connections, or sessions if those are more: polling ones have none between requests."""
    return max(front.connections.open, len(front.sessions))


def _make_notify(environ: Mapping[str, str], daemon: Daemon, reactor: Any) -> NotifyService | None:
    manager = manager_of(environ)
    if manager is None:
        return None
    return NotifyService(
        manager,
        reactor,
        status=daemon.status,
        when_running=reactor.callWhenRunning,
        watchdog=watchdog_seconds(environ, os.getpid()),
    )


def _set_level(logs: Sequence[DaemonLog], level: str) -> None:
    for log in logs:
        log.level = level


def _make_log(config: Config, options: Options) -> DaemonLog | None:
    """The log, unless twistd was given another one. Raises OSError."""
    given = options_of(sys.argv[1:]) if options.parent is None else options.parent
    if given is None:
        return None
    return make_log(given, form=config.log_format, level=config.log_level, size=config.log_rotate)


def _within_descriptors(config: Config) -> tuple[Config, str]:
    """The config with no more connections than this process can have descriptors, and a sentence if that is fewer."""
    limit = raise_limit()
    forwards = config.max_forwards if config.peer_listen else 0
    questions = config.ask_concurrent if config.ask_url else 0
    room = connections_within(limit, wanted=config.max_connections, forwards=forwards, questions=questions)
    if room == config.max_connections:
        return config, ""
    if room < LEAST:
        raise ConfigError(
            f"max_connections: this process may open no more than {limit} files (ulimit -n), which is too few to serve "
            "clients: raise the limit"
        )
    notice = (
        f"max_connections: {config.max_connections} is lowered to {room}, since this process may open no more than "
        f"{limit} files: raise the limit (ulimit -n, LimitNOFILE), or set max_connections to {room}"
    )
    return msgspec.structs.replace(config, max_connections=room), notice


def make_service(
    config: Config,
    reactor: Any,
    wall: WallClock = time.time,
    backends: Backends = BACKENDS,
    *,
    set_log_level: Callable[[str], None] = lambda level: None,
) -> Daemon:
    """The service of a ``config`` whose key is there, in a demo too. Raises ``ConfigError``.

    Args:
        config: all settings.
        reactor: Twisted's. All waits go by its clock, which is to be monotonic.
        wall: the time of day, for messages, tokens and retention.
        backends: the stores that ``config`` was chosen from.
        set_log_level: called with ``log_level`` when that was changed.
    """
    config = with_absolute_paths(config)
    endpoint = _endpoint("listen", config.listen, reactor)
    counters, cork = Counters(), Cork()
    watch_turns(reactor, counters.turn_seconds.observe)
    budget = Budget(config.max_buffered, counters.evicted)
    verifier = Verifier(
        None if config.jwks_url else read_keys(config),
        config.algorithms,
        wall,
        leeway=config.token_leeway,
        rules=claim_rules(config),
    )
    key_client = _make_key_client(config, verifier, reactor, counters)
    rereads = keys_part(config, verifier) | certificate_part("listen", tls_of(endpoint), wall)
    if key_client is not None:
        rereads["jwks_url"] = key_client.reread
    signer = Signer(read_secrets(config.hooks_secret_file) if config.hooks_secret_file else ())
    tracing = _make_tracing(config, backends, reactor, wall, counters)
    tracer = None if tracing is None else tracing.tracer
    asker = _make_asker(config, reactor, wall=wall, counters=counters, signer=signer, tracer=tracer)
    if config.hooks_secret_file:
        rereads.update(hooks_secret_part(config.hooks_secret_file, signer))
    settings = _front_settings(config)
    rates = _rate_settings(config)
    addresses = AddressLimits(rates, reactor.seconds, counters)
    router = _make_router(config, reactor, wall)
    store = _make_store(config, backends, reactor, wall, counters)
    push = _make_push(config, reactor, wall)
    chat = _make_chat(
        config,
        budget=budget,
        reactor=reactor,
        wall=wall,
        verifier=verifier,
        key_client=key_client,
        store=store if tracing is None else tracing.store(store),
        router=router if tracing is None else tracing.router(router),
        cork=cork,
        limits=settings.limits,
        counters=counters,
        rates=rates,
        addresses=addresses,
        push=push,
        authorizer=asker,
    )
    webhook = _make_webhook(config, reactor, wall=wall, signer=signer, repeated=chat.context.repeated, tracer=tracer)
    consumers: list[Consumer] = [] if webhook is None else [webhook]
    if push is not None:
        consumers.append(_make_push_consumer(config, push, chat))
    hooks = _make_hooks(config, reactor, wall, chat=chat, consumers=consumers) if consumers else None
    server = Server(reactor, observer=chat)
    server.mount(NAMESPACE, chat)
    front = Front(
        server,
        reactor,
        budget=budget,
        settings=settings,
        counters=counters,
        cork=cork,
        client=ClientDist(client_dist(config.client_dist, FilePath(os.getcwd()))),
        session_ids=_make_session_ids(config),
        wall=wall,
        busy=lambda: chat.context.delivery.busy,
        is_full=lambda: chat.context.delivery.is_full,
        handshake_wait=addresses.handshake,
    )
    base_path = "/".join(["", *filter(None, config.base_path.split("/"))])
    ops = _make_ops(
        config,
        reactor,
        chat=chat,
        front=front,
        store=store,
        router=router,
        key_client=key_client,
        asker=asker,
        hooks=hooks,
        wall=wall,
    )
    static = directory("static", config.static)
    release = Release(static)
    issuer = Issuer(config.secret.encode(), wall, claim_rules(config)) if config.demo else None
    beside: dict[str, Resource] = {"service-worker.js": StaticFile(static.descendant(["page", "service-worker.js"]))}
    if issuer is not None:
        beside["demo/token"] = DemoTokens(issuer)
    root = make_root(
        page=_make_page(config, issuer, release),
        static=StaticFiles(static, release),
        ops={} if config.ops_listen else ops,
        beside=beside,
        base_path=config.base_path,
    )
    site = front.site(root, f"{base_path}/socket.io/")
    ports, inner_ports = MultiService(), MultiService()

    def serve(name: str, inner: BoundedSite, *, says: str) -> None:
        """Listen for ``inner`` as the setting ``name`` says, until no client is left."""
        description = getattr(config, name)
        listening = _endpoint(name, description, reactor)
        rereads.update(certificate_part(name, tls_of(listening), wall))
        ListeningService(
            listening, inner, description=description, reactor=reactor, says=says, setting=name
        ).setServiceParent(inner_ports)

    if config.ops_listen:
        serve("ops_listen", front.ops_site(make_ops_root(ops)), says="serving operators")
    ListeningService(endpoint, site, description=config.listen, reactor=reactor, path=f"{base_path}/").setServiceParent(
        ports
    )
    if front.peers is not None:
        serve("peer_listen", front.peer_site(), says="serving other daemons")
    api: Api | None = None
    if config.api_listen:
        api_keys = ApiKeys.read(config.api_keys)
        rereads.update(api_keys_part(config.api_keys, api_keys))
        api = Api(
            chat.operations,
            api_keys,
            max_room=config.max_room,
            max_rooms=config.max_rooms,
            clock=reactor,
            wall=wall,
        )
        pages = {b"admin": AdminPage(shipped("admin"))}
        serve(
            "api_listen",
            front.ops_site(ApiResource(api, pages, tracer=tracer, calls=counters.api_calls)),
            says="serving back ends",
        )
    if (path := control_path(config.control, config.store)) is not None:
        ControlSocket(path, make_site(chat.operations), reactor).setServiceParent(inner_ports)
    ReadyNotice(lambda: _parts(chat, key_client), reactor).setServiceParent(ports)
    daemon = Daemon(
        FrontService(ports, front, reactor, inner=inner_ports),
        chat=chat,
        router=router,
        clock=reactor,
        keys=key_client,
        hooks=list(filter(None, (hooks, asker))),
        tracing=tracer,
        drain_notice=config.drain_notice,
        drain_time=config.drain_time,
        parts=lambda: _parts(chat, key_client),
    )

    def use(config: Config) -> None:
        """Put the live settings to use."""
        fitting, notice = _within_descriptors(config)
        if notice:
            Reloading.log.warn("{notice}", notice=notice)
        set_log_level(fitting.log_level)
        front.use(_front_settings(fitting))
        chat.context.use_rates(_rate_settings(fitting))
        chat.context.delivery.use(_bounds(fitting))
        chat.context.quotas.max_room, chat.context.quotas.max_rooms = fitting.max_room, fitting.max_rooms
        chat.context.quotas.max_blocked = fitting.max_blocked
        chat.context.quotas.edit_within = fitting.edit_within
        ask_settings = _ask_settings(fitting)
        if asker is not None:
            asker.use(ask_settings)
        if api is not None:
            api.max_room, api.max_rooms = fitting.max_room, fitting.max_rooms
        types, hooks_settings = frozenset(fitting.hooks_events), _hooks_settings(fitting)
        if webhook is not None:
            webhook.use(types)
        if hooks is not None and hooks.use(hooks_settings):
            for user in list(chat.context.hub.everybody):
                hooks.marks.add(user)
        daemon.drain_notice, daemon.drain_time = fitting.drain_notice, fitting.drain_time

    Reloading(rereads, use).setServiceParent(daemon)
    return daemon


def _bounds(config: Config) -> Bounds:
    return Bounds(
        max_batch=config.max_batch,
        max_in_flight=config.max_in_flight,
        max_waiting=config.max_waiting,
        linger=config.linger,
        gathers=True,
    )


def _hooks_settings(config: Config) -> HooksSettings:
    return HooksSettings(
        deriver=DeriverSettings(
            after=config.undelivered_after, every=config.undelivered_every, most=config.hooks_max_events
        ),
        max_age=config.hooks_max_age,
    )


def _make_webhook(
    config: Config,
    reactor: Any,
    *,
    wall: WallClock,
    signer: Signer,
    repeated: RepeatedLog,
    tracer: Tracer | None,
) -> Webhook | None:
    if not config.hooks_url:
        return None
    try:
        client = HookClient(
            config.hooks_url,
            signer=signer,
            reactor=reactor,
            wall=wall,
            timeout=webhook_module.TIMEOUT,
            connections=Webhook.max_in_flight,
            max_body=webhook_module.MAX_ANSWER,
            ca=config.hooks_ca,
            tracer=tracer,
            name="webhook",
        )
    except AddressError as error:
        raise ConfigError(str(error)) from None
    types = frozenset(config.hooks_events)
    return Webhook(client, config.hooks_url, types=types, wall=wall, repeated=repeated)


def _make_push_consumer(config: Config, push: PushClient, chat: Chat) -> PushConsumer:
    context = chat.context
    return PushConsumer(push, context.store, counters=context.counters, repeated=context.repeated, url=config.push_url)


def _make_hooks(config: Config, reactor: Any, wall: WallClock, *, chat: Chat, consumers: Sequence[Consumer]) -> Hooks:
    context = chat.context
    if context.store.outbox is None:
        name = "hooks_url" if config.hooks_url else "push_key"
        raise ConfigError(f"{name}: the store has no outbox, which events are made from")
    hooks = Hooks(
        context.store,
        context.operations.presence,
        consumers,
        clock=reactor,
        wall=wall,
        settings=_hooks_settings(config),
        counters=context.counters,
        uniform=context.uniform,
    )
    context.presence.mark = hooks.marks.add
    return hooks


def _front_settings(config: Config) -> FrontSettings:
    return FrontSettings(
        engine=EngineSettings(
            ping_interval=config.ping_interval,
            ping_timeout=config.ping_timeout,
            connect_timeout=config.connect_timeout,
            max_unsent=config.max_unsent,
            upgrade_timeout=config.upgrade_timeout,
            max_polls=config.max_polls,
            max_polls_per_address=config.max_polls_per_address,
            handshakes=config.rate_handshakes,
            max_handshakes_waiting=config.max_handshakes_waiting,
            origins=config.origins,
            deflate=config.deflate,
            deflate_from=config.deflate_from,
        ),
        limits=Limits(
            max_payload=config.max_payload,
            max_payload_unjoined=config.max_payload_unjoined,
            max_joins=config.max_joins,
            max_attachments=config.max_attachments,
            max_depth=config.max_depth,
            max_namespaces=config.max_namespaces,
            max_event_name=config.max_event_name,
        ),
        bounds=ChannelBounds(
            head_timeout=config.handshake_timeout,
            max_head=config.max_header,
            max_body=config.max_payload,
            max_connections=config.max_connections,
            max_connections_per_address=config.max_connections_per_address,
        ),
        max_forwards=config.max_forwards,
        access_log=config.access_log,
        trusted_proxies=config.trusted_proxies,
    )


def _rate_settings(config: Config) -> RateSettings:
    return RateSettings(
        burst=config.rate_burst,
        socket_events=config.rate_socket_events,
        socket_bytes=config.rate_socket_bytes,
        user_events=config.rate_user_events,
        user_bytes=config.rate_user_bytes,
        user_sends=config.rate_user_sends,
        user_copies=config.rate_user_copies,
        user_joins=config.rate_user_joins,
        address_handshakes=config.rate_address_handshakes,
        address_joins=config.rate_address_joins,
        address_failed_tokens=config.rate_address_failed_tokens,
        user_sockets=config.max_user_sockets,
        typing_interval=config.typing_interval,
        presence_interval=config.presence_interval,
    )


def _parts(chat: Chat, key_client: JwksClient | None) -> dict[str, bool]:
    """Whether each service that the daemon needs can be used."""
    keys = {} if key_client is None else {"the keys of tokens": key_client.up}
    return keys | {
        "the store": bool(chat.context.store.up),
        "RabbitMQ": chat.context.hub.routed,
        "Redis": bool(chat.context.bus.up),
    }


def _endpoint(name: str, description: str, reactor: Any) -> IStreamServerEndpoint:
    try:
        return server_endpoint(reactor, description)
    except Exception as error:  # noqa: BLE001 - each kind of endpoint, plugins among them, raises what it likes
        reason = hints.tls_endpoint(description) or endpoint_fault(error)
        raise ConfigError(f"{name}: {description!r} is not an endpoint that Twisted can use: {reason}") from None


def _make_session_ids(config: Config) -> SessionIds | None:
    address = peer_place(config)
    if address is None:
        return None
    return SessionIds(config.peer_secret.encode() or read_secret(config) or b"", PeerAddress(*address))


def _make_chat(
    config: Config,
    *,
    budget: Budget,
    reactor: Any,
    wall: WallClock,
    verifier: Verifier,
    key_client: JwksClient | None,
    store: IStore,
    router: IRouter,
    cork: Cork,
    limits: Limits,
    counters: Counters,
    rates: RateSettings,
    addresses: AddressLimits,
    push: PushClient | None,
    authorizer: IAuthorizer | None,
) -> Chat:
    context = make_context(
        budget=budget,
        clock=reactor,
        wall=wall,
        verifier=verifier,
        key_source=key_client,
        store=store,
        router=router,
        bus=_make_bus(config, reactor, wall, counters),
        cork=cork,
        mids=Mids(secrets.token_hex(4)),
        bounds=_bounds(config),
        limits=limits,
        max_room=config.max_room,
        max_rooms=config.max_rooms,
        counters=counters,
        uniform=secrets.SystemRandom().uniform,
        revocation_days=config.revocation_days,
        max_blocked=config.max_blocked,
        edit_within=config.edit_within,
        refuse_blocked=config.blocked_reply == "refused",
        restrict_presence=config.restrict_presence,
        token_times=TokenTimes(notice=config.token_notice, grace=config.token_grace),
        rates=rates,
        addresses=addresses,
        push=push,
        authorizer=authorizer,
        name=f"{socket.gethostname()}:{os.getpid()}",
        version=__version__,
    )
    return Chat(context)


def _make_key_client(config: Config, verifier: Verifier, reactor: Any, counters: Counters) -> JwksClient | None:
    settings = jwks_settings(config)
    if settings is None:
        return None
    try:
        roots(settings.ca, "jwks")
    except AddressError as error:
        raise ConfigError(str(error)) from None
    return JwksClient(settings, verifier, reactor=reactor, counters=counters)


def _ask_settings(config: Config) -> AskSettings:
    return AskSettings(
        timeout=config.ask_timeout,
        silent=config.ask_silent == "allow",
        cache=config.ask_cache,
        concurrent=config.ask_concurrent,
        waiting=config.ask_waiting,
    )


def _make_asker(
    config: Config,
    reactor: Any,
    *,
    wall: WallClock,
    counters: Counters,
    signer: Signer,
    tracer: Tracer | None,
) -> Asker | None:
    if not config.ask_url:
        return None
    try:
        client = HookClient(
            config.ask_url,
            signer=signer,
            reactor=reactor,
            wall=wall,
            timeout=config.ask_timeout,
            connections=config.ask_concurrent,
            max_body=MAX_ANSWER + (config.max_payload if SEND in config.ask_about else 0),
            ca=config.hooks_ca,
            tracer=tracer,
            name="ask",
        )
    except AddressError as error:
        raise ConfigError(str(error)) from None
    return Asker(
        client,
        url=config.ask_url,
        about=frozenset(config.ask_about),
        settings=_ask_settings(config),
        clock=reactor,
        wall=wall,
        counters=counters,
    )


def _make_tracing(
    config: Config, backends: Backends, reactor: Any, wall: WallClock, counters: Counters
) -> Tracing | None:
    if not config.otel_endpoint:
        return None
    # OpenTelemetry is optional, and is not imported unless it is used.
    from kschat.tracing.otel import OtelTracer

    settings = TracingSettings(
        url=traces_url(config.otel_endpoint),
        sample=config.otel_sample,
        store=backends.store(config.store)[0].name,
    )
    tracer = OtelTracer(settings, reactor=reactor, wall=wall, counters=counters)
    return Tracing(tracer, sample=config.otel_sample, random=secrets.SystemRandom().random, clock=reactor)


def _make_router(config: Config, reactor: Any, wall: WallClock) -> IRouter:
    if not config.amqp:
        return MemoryRouter()
    try:
        return amqp.AmqpRouter(amqp.settings_of(config), reactor, wall)
    except AddressError as error:
        raise ConfigError(f"amqp: {error}") from None


def _make_bus(config: Config, reactor: Any, wall: WallClock, counters: Counters) -> IBus:
    publish, subscribe = config.redis_pub or config.redis, config.redis_sub or config.redis
    if not publish:
        return LocalBus(only=not config.amqp)
    try:
        return redis.RedisBus(
            redis.settings_of(config, publish), redis.settings_of(config, subscribe), reactor, counters, wall=wall
        )
    except AddressError as error:
        raise ConfigError(f"redis: {error}") from None


def _make_store(config: Config, backends: Backends, reactor: Any, wall: WallClock, counters: Counters) -> IStore:
    kind, argument = backends.store(config.store)
    try:
        return kind.make(config, argument, reactor=reactor, wall=wall, counters=counters)
    except AddressError as error:
        raise ConfigError(f"{kind.name}: {error}") from None


def _make_push(config: Config, reactor: Any, wall: WallClock) -> PushClient | None:
    if not config.push_key:
        return None
    settings = PushSettings(hosts=config.push_hosts, private=config.push_private, ca=config.push_ca)
    try:
        vapid = Vapid(VapidKey.read(config.push_key), config.push_contact, wall)
        return PushClient(settings, vapid=vapid, reactor=reactor, wall=wall)
    except (OSError, ValueError) as error:  # the files have changed since they were looked at
        raise ConfigError(f"push_key: {error}") from None


def _make_page(config: Config, issuer: Issuer | None, release: Release) -> PageResource:
    try:
        return PageResource(
            directory("templates", config.templates),
            issuer=issuer,
            demo=config.demo,
            randint=secrets.SystemRandom().randint,
            frame_ancestors=config.frame_ancestors,
            release=release,
        )
    except TemplateError as error:
        raise ConfigError(f"templates: {error}") from None


def _hook_gauges(hooks: Hooks, wall: WallClock) -> dict[str, tuple[str, float]]:
    oldest = 0.0 if hooks.oldest is None else max(wall() - hooks.oldest / 1000, 0.0)
    return {
        "hooks_leading": ("Whether this daemon makes the events of hooks.", float(hooks.is_leading)),
        "hook_events_waiting": (
            "Events of hooks that are not delivered, as the daemon that makes them knows.",
            hooks.waiting,
        ),
        "hook_oldest_seconds": ("Age of the oldest of them.", oldest),
    }


def _make_ops(
    config: Config,
    reactor: Any,
    *,
    chat: Chat,
    front: Front,
    store: IStore,
    router: IRouter,
    key_client: JwksClient | None,
    asker: Asker | None,
    hooks: Hooks | None,
    wall: WallClock,
) -> dict[str, Resource]:
    """The resources for operators, by their names."""

    def numbers() -> dict[str, int]:
        return {
            "connections": len(front.sessions),
            "open": front.connections.open,
            "sockets": chat.context.hub.sockets,
            "users": chat.context.hub.users,
        }

    bus = bool(config.redis or config.redis_pub or config.redis_sub)

    def parts() -> dict[str, bool | None]:
        # A daemon that is alone has nothing to connect to: "up" would say that there is.
        found: dict[str, bool | None] = {
            "router": chat.context.hub.routed if config.amqp else None,
            "store": bool(chat.context.store.up) if chat.context.store.keeps else None,
            "bus": bool(chat.context.bus.up) if bus else None,
        }
        return found if key_client is None else {**found, "keys": key_client.up}

    # What can be behind: in this process nothing is.
    measured = {
        name: part
        for name, part in (("router", router), ("store", store), ("bus", chat.context.bus))
        if IMeasured.providedBy(part)
    }

    def lags() -> dict[str, float]:
        return {name: part.lag for name, part in measured.items() if part.lag is not None}

    def measures() -> dict[str, float]:
        return {name: value for part in measured.values() for name, value in part.measures.items()}

    def asking() -> dict[str, tuple[str, float]]:
        approvals = chat.context.approvals
        if asker is None or approvals is None:
            return {}
        return {
            "ask_in_flight": ("Questions that the back end has not answered.", asker.in_flight),
            "ask_waiting": ("Questions that wait to be sent.", asker.waiting),
            "ask_held": ("Messages that wait to be allowed.", approvals.held),
            "ask_open": (
                "Whether the breaker is open, since the back end did not answer: 1, or 0.",
                float(asker.is_open),
            ),
        }

    def gauges() -> dict[str, tuple[str, float]]:
        forwards = 0 if front.peers is None else front.peers.forwards
        return {
            "connections": ("TCP connections.", front.connections.open),
            "sessions": ("Engine.IO sessions.", len(front.sessions)),
            "sessions_polling": ("Those of them that poll.", front.polls.taken),
            "handshakes_waiting": ("Handshakes that wait for their turn.", len(front.queue)),
            "forwards": ("Requests and WebSockets forwarded to other daemons.", forwards),
            "sockets": ("Sockets in the chat.", chat.context.hub.sockets),
            "users": ("Users with a socket here.", chat.context.hub.users),
            "buffered_bytes": (
                "Bytes held for all clients: unsent, of bodies, of waiting messages.",
                front.budget.held,
            ),
            "messages_waiting": ("Messages that wait for a batch.", chat.context.delivery.waiting),
            "reads_waiting": ("Requests to the store that wait for their turn.", chat.context.reads.waiting),
            "reads_in_flight": ("Requests that the store has not answered.", chat.context.reads.in_flight),
            "batches_in_flight": ("Batches that are being stored or routed.", chat.context.delivery.in_flight),
            **({} if key_client is None else {"keys": ("Keys that were fetched.", key_client.count)}),
            **asking(),
            **({} if hooks is None else _hook_gauges(hooks, wall)),
        }

    def queues() -> dict[str, int]:
        return {name: int(value) for name, (_, value) in gauges().items() if name in QUEUES}

    chat.context.reporter.shows(connections=lambda: front.connections.open, services=parts, queues=queues, lags=lags)
    collector = DaemonCollector(
        chat.context.counters,
        gauges=lambda: {**gauges(), **process_gauges(reactor, front.timers)},
        parts=parts,
        routing=lambda: chat.context.hub.routing,
        lags=lags,
        measures=measures,
    )
    shared = bool(config.amqp or bus)
    found: dict[str, Resource] = {
        "healthz": Health(numbers),
        # A restart does not help if Redis or RabbitMQ is down: all daemons would only lose their clients.
        "livez": Live(lambda: 0.0 if shared else chat.context.delivery.stuck),
        "readyz": Ready(parts, lambda: chat.closing),
    }
    return {**found, "metrics": Metrics(collector, reactor)} if config.metrics else found
