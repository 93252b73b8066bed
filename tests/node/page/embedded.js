"use strict";
// The client module in an application of another origin, which gives it tokens and names: tabs, the outbox, a crash, a token that ends.

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { kept } = require("./person.js");
const { equal, ok } = require("./stage.js");

const MODULE = path.join(__dirname, "../../../static/kschat");
const APP = `<!doctype html><meta charset="utf-8"><title>An application</title><link rel="icon" href="data:,"><script type="module">
import {Chat} from "./kschat/chat.js";
const {user, server} = window.told;
window.asked = 0;
const chat = window.chat = new Chat({user, url: server + "/socket.io/", token: await window.freshToken("first"), names: {carol: "Carol of the application"},
  renew: () => { window.asked += 1; return window.freshToken("next"); }});
window.shown = (id) => chat.messages(id).map(({own, text, state}) => (own ? ">" : "<") + text + (own ? " " + state : ""));
await chat.start();
</script>`;

/** The application's server, on its port: it serves its page and its copy of the module. */
async function application(port) {
  const server = http.createServer((request, response) => {
    const name = /^\/kschat\/([\w-]+\.js)$/.exec(request.url)?.[1];
    response.setHeader("content-type", name ? "text/javascript" : "text/html; charset=utf-8");
    response.end(name ? fs.readFileSync(path.join(MODULE, name)) : APP);
  });
  await new Promise((done) => { server.listen(port, "127.0.0.1", done); });
  return server;
}

class Tab {
  constructor(stage, page) {
    Object.assign(this, { stage, page, sockets: [], complaints: [] });
    page.on("websocket", (socket) => this.sockets.push(socket));
    page.on("pageerror", (error) => this.complaints.push(error.message));
  }

  static async open(stage, context, app, user, peer, tokens) {
    const tab = new Tab(stage, await context.newPage());
    await tab.page.exposeFunction("freshToken", async (which) => (which === "first" ? tokens.first : (await stage.ask("token", { user })) ?? tokens.next));
    await tab.page.addInitScript((told) => { window.told = told; }, { user, server: stage.config.url });
    await tab.page.goto(app);
    await tab.page.waitForFunction(() => window.shown);
    await tab.state("connected");
    await tab.page.evaluate((id) => window.chat.open(id), peer);
    tab.peer = peer;
    return tab;
  }

  state(wanted) { return this.page.waitForFunction((state) => window.chat.status.state === state, wanted, { polling: 50 }); }

  send(text, peer = this.peer) { return this.page.evaluate(([id, words]) => { window.chat.send(id, { text: words }); }, [peer, text]); }

  shown(peer = this.peer) { return this.page.evaluate((id) => window.shown(id), peer); }

  shows(line, peer = this.peer) { return this.stage.until(async () => (await this.shown(peer)).includes(line), `${line} in the conversation with ${peer}`); }

  open_() { return this.sockets.filter((socket) => !socket.isClosed()); }
}

module.exports = async (stage) => {
  const { port, tokens } = stage.config;
  const server = await application(port);
  const app = `http://127.0.0.1:${port}/`;
  const [mine, theirs] = [await stage.device(), await stage.device()];
  let alice = await Tab.open(stage, mine, app, "alice", "bob", { first: tokens.alice });
  const bob = await Tab.open(stage, theirs, app, "bob", "alice", { first: tokens.bob });
  const carol = await Tab.open(stage, await stage.device(), app, "carol", "bob", { first: tokens.carol });

  await stage.step("each message is in its own conversation, with its ticks and its sender's name", async () => {
    await alice.send("Hello Bob");
    await bob.shows("<Hello Bob");
    await alice.shows(">Hello Bob delivered");
    await carol.send("This is Carol");
    await bob.shows("<This is Carol", "carol");
    equal(await bob.shown(), ["<Hello Bob"], "the conversation with Alice");
    await bob.page.evaluate(() => window.chat.read("alice"));
    await alice.shows(">Hello Bob read");
    equal(await bob.page.evaluate(() => ["alice", "carol"].map((id) => window.chat.name(id))), ["Alice Smith", "Carol of the application"], "names");
  });

  await stage.step("two tabs share a connection, agree, and one goes on when the other is closed", async () => {
    const tab = await Tab.open(stage, mine, app, "alice", "bob", { first: tokens.alice });
    await tab.shows(">Hello Bob read");
    await tab.send("From the second tab");
    await bob.shows("<From the second tab");
    await stage.until(async () => (await alice.shown()).some((line) => line.startsWith(">From the second tab")), "it in the first tab");
    equal([...alice.open_(), ...tab.open_()].length, 1, "connections");
    await (alice.open_().length ? alice : tab).page.close();
    alice = alice.page.isClosed() ? tab : alice;
    await alice.state("connected");
    await alice.send("Alone again");
    await bob.shows("<Alone again");
  });

  await stage.step("what is written while the server is down survives the end of the page, and is sent once and in order", async () => {
    await stage.ask("kill");
    await alice.state("waiting");
    for (let number = 1; number <= 5; number += 1) await alice.send(`while it was down ${number}`);
    await alice.page.evaluate(() => { window.chat.setDraft("bob", "a draft"); });
    await stage.until(async () => (await kept(alice.page)).includes("while it was down 5") && (await kept(alice.page)).includes("a draft"), "it to be kept");
    // As a crash would: nothing of the page runs any more.
    const client = await mine.newCDPSession(alice.page);
    client.send("Page.crash").catch(() => {});
    await alice.page.waitForEvent("crash");
    await alice.page.close();
    await stage.ask("restart");
    alice = await Tab.open(stage, mine, app, "alice", "bob", { first: tokens.alice });
    await bob.shows("<while it was down 5");
    await alice.shows(">while it was down 5 delivered");
    const lines = (await bob.shown()).filter((line) => line.startsWith("<while it was down"));
    equal(lines, [1, 2, 3, 4, 5].map((number) => `<while it was down ${number}`), "what arrived");
    equal(await alice.page.evaluate(() => window.chat.conversation("bob").draft), "a draft", "the draft");
  });

  await stage.step("it knows at once that the network is gone", async () => {
    await mine.setOffline(true);
    await alice.state("offline");
    await alice.send("written offline");
    await mine.setOffline(false);
    await bob.shows("<written offline");
    equal((await bob.shown()).filter((line) => line === "<written offline").length, 1, "times it arrived");
  });

  await stage.step("a token that ends is renewed by the application on the live socket, and no token is kept", async () => {
    const tab = await Tab.open(stage, await stage.device(), app, "dave", "bob", { first: await stage.ask("token", { user: "dave", seconds: 4 }) });
    await stage.until(() => tab.page.evaluate(() => window.asked), "the application to be asked");
    await tab.page.waitForTimeout(4500);
    await tab.send("after the first token");
    await bob.shows("<after the first token", "dave");
    equal(tab.sockets.length, 1, "connections");
    for (const one of [alice, tab]) ok(!/eyJ/.test(await kept(one.page)), "a token is kept");
    await tab.page.context().close();
  });

  for (const one of [alice, bob, carol]) equal(one.complaints, [], "errors");
  server.close();
  server.closeAllConnections();
};
