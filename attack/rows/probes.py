"""Single requests whose answer is the result."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from attack.rows.http import POLL, request
from attack.scenario import SOURCE, Attack, Row
from attack.wire import Client, event
from tests.support.tokens import token


def ask(attack: Attack, data: bytes) -> bytes:
    """One request on one connection, and its whole answer."""
    with attack.connect() as link:
        link.sendall(data)
        answer = b""
        while part := link.recv(65536):
            answer += part
        return answer


def status(answer: bytes) -> str:
    """The status of an answer."""
    return answer[9:12].decode("latin-1")


def ops_paths(attack: Attack) -> None:
    """Spellings of what is for operators, at the port for clients."""
    for path in ("/metrics", "/metrics/", "/%6detrics", "//metrics", "/healthz", "/readyz", "/./metrics"):
        attack.answers[f"{path} {status(ask(attack, request(path, 'Connection: close')))}"] += 1


def versions(attack: Attack) -> None:
    """What the answers tell of the server."""
    for path in ("/", "/x", POLL, "/metrics"):
        head = ask(attack, request(path, "Connection: close")).partition(b"\r\n\r\n")[0].lower()
        attack.answers["tells its version" if b"server:" in head or b"twisted" in head else "tells nothing"] += 1


def rebinding(attack: Attack) -> None:
    """The demo's page, asked for by a name that is not this machine's."""
    answer = ask(attack, b"GET /?uid=1&rid=2 HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n")
    attack.answers["a token" if b"eyJ" in answer else f"no token, {status(answer)}"] += 1


def hosts(attack: Attack) -> None:
    """Requests without a Host, with one, with two, and with one that is not valid."""
    for name, lines in (
        ("none", ()),
        ("one", ("Host: x",)),
        ("two", ("Host: x", "Host: attacker.example")),
        ("invalid", ("Host: x/attacker.example",)),
    ):
        data = "\r\n".join(["GET / HTTP/1.1", *lines, "Connection: close", "", ""]).encode()
        attack.answers[f"{name}: {status(ask(attack, data))}"] += 1


def foreign_origin(attack: Attack) -> None:
    """A session for another origin's page."""
    answer = ask(attack, request(POLL, "Origin: https://attacker.example", "Connection: close"))
    allowed = b"access-control-allow-origin" in answer.lower()
    attack.answers["allowed" if allowed else f"not allowed, {status(answer)}"] += 1


def escapes(attack: Attack) -> None:
    """User ids with control characters for terminals."""
    for name in ("a\x1b[31mb", "a\0b"):
        try:
            client = Client(attack.port, source=SOURCE, user=quote(name), subject=name, join=True)
            client.socket.sendall(event("Nonsense", {}))
            attack.answers["joined"] += 1
        except OSError as error:
            attack.count(error)


def claims(attack: Attack) -> None:
    """Tokens that lack what the daemon requires of them."""
    right = {"aud": "chat", "iss": "https://login"}
    for name, expires_in, given in (
        ("as required", 60, right),
        ("no audience", 60, {"iss": right["iss"]}),
        ("another audience", 60, {**right, "aud": "mail"}),
        ("an audience that is a number", 60, {**right, "aud": 7}),
        ("no issuer", 60, {"aud": right["aud"]}),
        ("another issuer", 60, {**right, "iss": "https://evil"}),
        ("no exp", None, right),
        ("an exp of infinity", None, {**right, "exp": float("inf")}),
        ("an exp of 10**400", None, {**right, "exp": 10**400}),
    ):
        text = token("ann", expires_in=expires_in, **given)
        client = Client(attack.port, source=SOURCE, query=f"&token={text}&ksId=ann")
        try:
            client.join()
            answer = "let in"
        except OSError:
            answer = "refused"
        finally:
            client.socket.close()
        attack.answers[f"{name}: {answer}"] += 1


def _row(name: str, what: str, attack: Callable[[Attack], None], *answers: str, **more: object) -> Row:
    return Row(
        name=name,
        kind="smaller ones",
        what=what,
        attack=attack,
        answers=answers,
        probe=True,
        connections=1,
        **more,  # type: ignore[arg-type]
    )


ROWS = (
    _row(
        "ops-paths",
        "spellings of /metrics, with ops_listen",
        ops_paths,
        *(f"{path} 404" for path in ("/metrics", "/metrics/", "/%6detrics", "//metrics", "/healthz", "/readyz")),
        settings={"ops_listen": "tcp:0:interface=127.0.0.1"},
    ),
    _row("server-version", "what answers reveal about the server", versions, "tells nothing"),
    _row("dns-rebinding", "the demo's page by another Host", rebinding, "no token", settings={"demo": True}),
    _row("hosts", "requests without one valid Host", hosts, "none: 400", "one: 200", "two: 400", "invalid: 400"),
    _row("foreign-origin", "another origin's page", foreign_origin, "not allowed"),
    _row(
        "claims",
        "tokens without audience, issuer or exp",
        claims,
        "as required: let in",
        *(
            f"{name}: refused"
            for name in (
                "no audience",
                "another audience",
                "an audience that is a number",
                "no issuer",
                "another issuer",
                "no exp",
                "an exp of infinity",
                "an exp of 10**400",
            )
        ),
        settings={"audience": "chat", "issuer": "https://login", "require_exp": True},
    ),
    _row(
        "weak-secret",
        "a secret that is easily guessed, on the command line",
        versions,
        settings={"secret": "secret" * 8},
        log_has=(b"easily guessed", b"in the list of processes"),
    ),
    _row(
        "log-escapes",
        "ESC and NUL in a user's id",
        escapes,
        "joined",
        clean_log=(b"\x1b", b"\0"),
        log_has=(b"joined from",),
    ),
)
