"""The page: what it holds for whom, and that nothing of a URL gets out of its place."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.test.requesthelper import DummyRequest

from kschat.assets import shipped
from kschat.chat.tokens import Issuer, Keys, Verifier
from kschat.front.page import DemoTokens, PageResource, TemplateError
from kschat.front.static import Release, StaticFiles
from tests.front.serving import Served

SECRET = b"a secret of the tests, 32 bytes and more"

HOSTILE = [
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "</title></main></body><script>alert(1)</script>",
    '" onload="alert(1)',
    "<!-- --><![CDATA[ ]]>",
    "{{7*7}} ${7*7} <%= 7 %>",
    "&lt;&amp;&#34;&quot",
    "javascript:alert(1)",
    "\u202ezoë Ω 雪 \N{PILE OF POO}",
    "\ud7ff\ue000\uffff",
    "a&rid=b#c?d%00e+f",
    "`\\\\` ",
]


class Parsed(HTMLParser):
    """A document's elements as a browser's parser would see them, near enough."""

    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(document.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def by_id(self, name: str) -> dict[str, str | None] | None:
        """The attributes of the element with that id."""
        return next((attributes for _, attributes in self.elements if attributes.get("id") == name), None)

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    @property
    def scripts(self) -> list[str | None]:
        return [attributes.get("src") for tag, attributes in self.elements if tag == "script"]


def page(demo: bool = True, templates: FilePath[str] | None = None) -> PageResource:
    issuer = Issuer(SECRET, Clock().seconds) if demo else None
    return PageResource(templates or shipped("templates"), issuer=issuer, demo=demo, randint=lambda low, high: 4711)


def rendered(resource: PageResource, **arguments: str | bytes) -> Parsed:
    request: Any = DummyRequest([b""])
    request.requestHeaders.setRawHeaders(b"host", [b"localhost:3000"])
    request.args = {
        name.encode(): [value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")]
        for name, value in arguments.items()
    }
    resource.render_GET(request)
    return Parsed(b"".join(request.written))


class InTheDemo(SynchronousTestCase):
    def test_both_users_are_given_a_chat_with_the_tutorials_four_values(self) -> None:
        chat = rendered(page(), uid="1", rid="2").by_id("chat")
        assert chat is not None
        self.assertEqual((chat["data-uid"], chat["data-rid"], chat["data-random"]), ("1", "2", "4711"))
        identity = Verifier(Keys.from_secret(SECRET), ("HS256",), Clock().seconds).verify(chat["data-token-id"])
        self.assertEqual((identity.user, identity.rooms), ("1", "*"))

    def test_it_says_that_it_is_a_demo(self) -> None:
        for arguments in ({}, {"uid": "1", "rid": "2"}):
            document = rendered(page(), **arguments)
            self.assertIsNotNone(document.by_id("demo"))
            self.assertIn("This is a demo.", document.text)

    def test_the_other_side_is_one_click_away(self) -> None:
        link = rendered(page(), uid="a&b", rid="c d").by_id("other-side")
        assert link is not None and link["href"] is not None
        self.assertEqual(parse_qs(link["href"].removeprefix("?")), {"uid": ["c d"], "rid": ["a&b"]})

    def test_a_token_in_the_url_is_not_used(self) -> None:
        chat = rendered(page(), uid="1", rid="2", token="mine").by_id("chat")
        assert chat is not None
        self.assertNotEqual(chat["data-token-id"], "mine")

    def test_without_users_a_form_offers_alice_and_bob(self) -> None:
        document = rendered(page())
        self.assertIsNone(document.by_id("chat"))
        uid, rid = document.by_id("uid"), document.by_id("rid")
        assert uid is not None and rid is not None
        self.assertEqual((uid["value"], rid["value"]), ("alice", "bob"))
        self.assertNotIn("cannot be used", document.text)
        self.assertEqual(document.scripts, ["static/page/card.js"])

    def test_with_whom_to_talk_may_be_chosen_later_and_may_be_a_room(self) -> None:
        for arguments, rid in (({"uid": "1"}, ""), ({"uid": "1", "rid": "#team"}, "#team")):
            chat = rendered(page(), **arguments).by_id("chat")
            assert chat is not None
            self.assertEqual((chat["data-uid"], chat["data-rid"]), ("1", rid))

    def test_a_room_that_can_not_be_is_told_so(self) -> None:
        for bad in ("#", "##x", "#" + "x" * 128, "#a\0b"):
            document = rendered(page(), uid="1", rid=bad)
            self.assertIsNone(document.by_id("chat"), bad)
            self.assertIn("cannot be used", document.text)

    def test_one_user_named_stays_in_the_form(self) -> None:
        rid = rendered(page(), rid="carol").by_id("rid")
        assert rid is not None
        self.assertEqual(rid["value"], "carol")

    def test_users_that_cannot_be_are_told_so_and_not_repeated(self) -> None:
        for bad in ("#room", "x" * 129, "x" * 10_000, "a\0b", "a\rb", "a\nb", "\x7f", "\x85"):
            document = rendered(page(), uid=bad, rid="bob")
            self.assertIsNone(document.by_id("chat"), bad)
            self.assertIn("That name cannot be used", document.text)
            self.assertNotIn(bad, document.text)

    def test_bytes_that_are_no_text_do_not_break_it(self) -> None:
        self.assertIsNotNone(rendered(page(), uid=b"\xff\xfe", rid=b"\xed\xa0\x80").by_id("chat"))


class OutsideOfTheDemo(SynchronousTestCase):
    def test_no_token_is_ever_issued(self) -> None:
        resource = PageResource(
            shipped("templates"), issuer=Issuer(SECRET, Clock().seconds), demo=False, randint=lambda low, high: 1
        )
        for arguments in ({}, {"uid": "1", "rid": "2"}):
            document = rendered(resource, **arguments)
            self.assertIsNone(document.by_id("chat"))
            self.assertIsNone(document.by_id("demo"))
            self.assertIsNotNone(document.by_id("no-token"))
            self.assertIn("This page has no token", document.text)
            self.assertEqual(document.scripts, ["static/page/card.js"])
            self.assertNotIn("form", document.tags)

    def test_the_urls_token_is_handed_to_the_page(self) -> None:
        document = rendered(page(demo=False), uid="1", rid="2", token="a.b.c")
        chat = document.by_id("chat")
        assert chat is not None
        self.assertEqual(chat["data-token-id"], "a.b.c")
        self.assertEqual(chat["data-demo"], "")
        self.assertIsNone(document.by_id("demo"))
        self.assertIsNone(document.by_id("other-side"))

    def test_the_form_keeps_the_token(self) -> None:
        document = rendered(page(demo=False), token='"a.b.c"')
        hidden = [attributes["value"] for _, attributes in document.elements if attributes.get("type") == "hidden"]
        self.assertEqual(hidden, ['"a.b.c"'])


class NothingBreaksOut(SynchronousTestCase):
    def check(self, uid: str, rid: str, token: str) -> None:
        document = rendered(page(demo=False), uid=uid, rid=rid, token=token)
        harmless = rendered(page(demo=False), uid="1", rid="2", token="3")
        self.assertEqual(document.tags, harmless.tags)
        for (tag, found), (_, expected) in zip(document.elements, harmless.elements, strict=True):
            self.assertEqual(found.keys(), expected.keys(), tag)
        chat = document.by_id("chat")
        assert chat is not None
        self.assertEqual((chat["data-uid"], chat["data-rid"], chat["data-token-id"]), (uid, rid, token))
        self.assertIn(uid, document.text)
        self.assertIn(rid, document.text)

    def test_quotes_tags_scripts_and_unicode_stay_text(self) -> None:
        for hostile in HOSTILE:
            self.check(hostile, hostile[::-1].lstrip("#"), hostile * 50)

    @settings(max_examples=150)
    @given(*[st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)] * 3)
    def test_any_text_stays_text(self, uid: str, rid: str, token: str) -> None:
        self.check(uid.replace("#", "_"), rid.replace("#", "_"), token)

    def test_hostile_users_of_the_demo_get_a_token_for_exactly_that_name(self) -> None:
        verifier = Verifier(Keys.from_secret(SECRET), ("HS256",), Clock().seconds)
        for hostile in HOSTILE:
            document = rendered(page(), uid=hostile, rid=hostile)
            chat = document.by_id("chat")
            assert chat is not None
            self.assertEqual(verifier.verify(chat["data-token-id"]).user, hostile)
            for _, attributes in document.elements:
                for name in ("href", "src"):
                    value = attributes.get(name) or ""
                    self.assertTrue(value == "" or value.startswith(("?uid=", "static/", "#i-")), value)

    def test_the_page_has_no_inline_script_style_or_handler_and_loads_nothing_from_elsewhere(self) -> None:
        for arguments in ({}, {"uid": "1", "rid": "2"}):
            for tag, attributes in rendered(page(), **arguments).elements:
                self.assertNotEqual(tag, "style")
                self.assertEqual([name for name in attributes if name.startswith("on") or name == "style"], [])
                scripts = ("static/page/main.js", "static/page/card.js")
                self.assertTrue(tag != "script" or attributes.get("src") in scripts)
                self.assertNotIn("//", (attributes.get("href") or "") + (attributes.get("src") or ""))


def texts(language: str) -> dict[str, str]:
    """The page's texts in that language, by their keys."""
    script = shipped("static").descendant(["page", "texts.js"]).getContent().decode()
    table = script.partition(f"const {language} = {{")[2].partition("\n};")[0]
    return dict(re.findall(r'^  "?([\w ]+?)"?: "(.*)",$', table, re.MULTILINE))


class Words(SynchronousTestCase):
    def test_the_templates_english_is_that_of_the_scripts(self) -> None:
        english = texts("en")
        template = shipped("templates").child("index.html").getContent().decode()
        found = re.findall(r'data-text="(\w+)"[^>]*>([^<]+)<', template)
        labels = re.findall(r'aria-label="([^"]+)"[^>]* data-label="(\w+)"', template)
        self.assertGreater(len(found), 20)
        self.assertGreater(len(labels), 10)
        for key, words in [*found, *((key, words) for words, key in labels)]:
            self.assertEqual(words, english[key], key)

    def test_each_language_fills_in_the_same_values(self) -> None:
        english, german = texts("en"), texts("de")
        self.assertEqual(english.keys(), german.keys())
        for key, words in english.items():
            self.assertEqual(sorted(re.findall(r"{\w+}", words)), sorted(re.findall(r"{\w+}", german[key])), key)


class Templates(SynchronousTestCase):
    def directory(self, text: str | None) -> FilePath[str]:
        directory = FilePath(self.mktemp())
        directory.makedirs()
        if text is not None:
            directory.child("index.html").setContent(text.encode())
        return directory

    def test_ones_own_template_is_given_the_same_values(self) -> None:
        t = "http://twistedmatrix.com/ns/twisted.web.template/0.1"
        own = f'<p xmlns:t="{t}" t:render="page"><t:slot name="uid"/> to <t:slot name="rid"/></p>'
        self.assertEqual(rendered(page(templates=self.directory(own)), uid="<a>", rid="b").text.strip(), "<a> to b")

    def test_a_missing_or_broken_template_is_one_sentence_at_start(self) -> None:
        missing = self.assertRaises(TemplateError, page, True, self.directory(None))
        self.assertIn("cannot be read: No such file or directory", str(missing))
        broken = self.assertRaises(TemplateError, page, True, self.directory("<p>\n<b></p>"))
        self.assertIn("is not XML: mismatched tag (line 2)", str(broken))

    def test_a_template_that_asks_for_what_is_not_there_is_a_500_and_logged(self) -> None:
        t = "http://twistedmatrix.com/ns/twisted.web.template/0.1"
        resource = page(templates=self.directory(f'<p xmlns:t="{t}" t:render="nothing"/>'))
        request: Any = DummyRequest([b""])
        request.requestHeaders.setRawHeaders(b"host", [b"localhost:3000"])
        request.args = {}
        resource.render_GET(request)
        self.assertEqual(request.responseCode, 500)
        self.assertNotIn(b"Traceback", b"".join(request.written))
        self.assertEqual(len(self.flushLoggedErrors()), 1)


class OverHttp(TestCase):
    async def test_the_pages_scripts_and_styles_are_of_one_release(self) -> None:
        release = Release(shipped("static"))
        index = PageResource(
            shipped("templates"), issuer=None, demo=False, randint=lambda low, high: 1, release=release
        )
        served = Served(self, index=index, static=StaticFiles(shipped("static"), release))
        for query in ("?uid=1&rid=2&token=3", "?uid=1&rid=static/x.js&token=static/page/main.js", ""):
            document = Parsed((await served.get(f"/{query}")).body)
            named = [attributes.get(name) for _, attributes in document.elements for name in ("href", "src")]
            urls = [url for url in named if url]
            files = [url for url in urls if url.endswith((".js", ".css"))]
            self.assertGreater(len(files), 1)
            for url in files:
                self.assertTrue(url.startswith(f"static/{release.name}/"), url)
                self.assertEqual((await served.get(f"/{url}")).code, 200, url)
            # What names other files by where it is itself.
            self.assertIn("static/page/manifest.webmanifest", urls)
        chat = Parsed((await served.get("/?uid=1&rid=static/x.js&token=static/page/main.js")).body).by_id("chat")
        assert chat is not None
        self.assertEqual((chat["data-rid"], chat["data-token-id"]), ("static/x.js", "static/page/main.js"))

    async def test_headers_forbid_inline_script_and_caching(self) -> None:
        response = await Served(self, index=page()).get("/?uid=1&rid=2")
        self.assertEqual(response.code, 200)
        self.assertTrue(response.body.startswith(b"<!DOCTYPE html>\n<html"))
        headers = response.headers
        self.assertEqual(headers["content-type"], "text/html; charset=utf-8")
        self.assertIn("default-src 'none'", headers["content-security-policy"])
        self.assertRegex(headers["content-security-policy"], r"connect-src 'self' ws://127\.0\.0\.1:\d+ wss://127")
        self.assertNotIn("unsafe", headers["content-security-policy"])
        self.assertEqual(headers["cache-control"], "no-store")
        self.assertEqual(headers["referrer-policy"], "no-referrer")
        self.assertEqual(headers["x-content-type-options"], "nosniff")

    async def test_a_demo_gives_its_tokens_to_this_machine_alone(self) -> None:
        served = Served(self, index=page())
        for host in ("localhost", "LOCALHOST:3000", "a.localhost", "127.0.0.1:3000", "127.1.2.3", "[::1]:3000"):
            response = await served.get("/?uid=1&rid=2", host=host)
            self.assertIn(b"data-token", response.body, host)
        for host in (
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "x:y:z",
        ):
            response = await served.get("/?uid=1&rid=2", host=host)
            self.assertEqual(response.code, 421, host)
            self.assertNotIn(b"data-token", response.body)
        self.assertEqual((await Served(self, index=page(demo=False)).get("/", host="chat.example")).code, 200)

    async def test_the_demo_gives_another_token_to_this_machine_alone(self) -> None:
        served = Served(self, tokens=DemoTokens(Issuer(SECRET, Clock().seconds)))
        response = await served.get("/tokens?uid=a%26b", host="localhost:3000")
        self.assertEqual((response.code, response.headers["cache-control"]), (200, "no-store"))
        answer = json.loads(response.body)
        identity = Verifier(Keys.from_secret(SECRET), ("HS256",), Clock().seconds).verify(answer["token"])
        self.assertEqual((identity.user, identity.expires, identity.rooms), ("a&b", answer["in"], "*"))
        for path, host, code in (
            ("?uid=1", "evil.example", 421),
            ("?uid=1", "localhost.evil.example", 421),
            ("", "localhost", 400),
            ("?uid=%23room", "localhost", 400),
            ("?uid=a%00b", "localhost", 400),
            ("/more?uid=1", "localhost", 400),
        ):
            refused = await served.get(f"/tokens{path}", host=host)
            self.assertEqual(refused.code, code, path)
            self.assertNotIn(b'token":', refused.body)
        self.assertIn((await served.get("/tokens?uid=1", "POST", host="localhost")).code, (405, 501))

    async def test_head_is_the_page_without_its_body(self) -> None:
        served = Served(self, index=page())
        full, head = await served.get("/?uid=1&rid=2"), await served.get("/?uid=1&rid=2", "HEAD")
        self.assertEqual((head.code, head.body), (200, b""))
        self.assertEqual(head.headers["content-length"], str(len(full.body)))

    async def test_other_methods_are_refused(self) -> None:
        for method in ("POST", "PUT", "DELETE"):
            self.assertIn((await Served(self, index=page()).get("/", method)).code, (405, 501))

    async def test_hostile_urls_are_answered(self) -> None:
        served = Served(self, index=page())
        for hostile in HOSTILE:
            response = await served.get("/?" + urlencode({"uid": hostile, "rid": hostile}))
            chat = Parsed(response.body).by_id("chat")
            assert chat is not None
            self.assertEqual((chat["data-uid"], chat["data-rid"]), (hostile, hostile))
        for query in (
            "uid",
            "uid=&rid=",
            "uid=%zz&rid=%",
            "uid=1&uid=2&rid=3",
            "&&&=",
            "uid=" + "x" * 10_000,
            quote("<") * 900,
        ):
            self.assertEqual((await served.get("/?" + query)).code, 200, query[:40])
