// The client module on a WebSocket and a clock that this file moves: `node --test chat_test.mjs`.
import assert from "node:assert/strict";
import test from "node:test";
import { Chat, Refused } from "../../static/kschat/chat.js";

const OPEN = '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":10000}';
const settle = async () => { for (let turn = 0; turn < 30; turn++) await null; };

class Clock {
  milliseconds = 1e6;
  timers = new Set();
  setTimeout = (run, delay) => {
    const timer = { run, at: this.milliseconds + delay };
    this.timers.add(timer);
    return timer;
  };
  clearTimeout = (timer) => this.timers.delete(timer);
  async advance(milliseconds) {
    const end = this.milliseconds + milliseconds;
    for (;;) {
      await settle();
      const due = [...this.timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.milliseconds = due.at;
      this.timers.delete(due);
      due.run();
    }
    this.milliseconds = end;
    await settle();
  }
}

/** A client whose server answers as `answers[event](payload)` says; events without one get no answer. */
async function begin(options = {}, answers = {}, more = {}) {
  const clock = new Clock();
  const sockets = [];
  const sent = [];
  const net = { online: true, visible: true };
  const events = new EventTarget();
  const replies = { Conversations: () => [], History: () => ({ MSG: [], more: false }), Presence: () => ({}), Token: () => ({ ER: 0 }), ...answers };
  class WebSocket {
    constructor() { sockets.push(this); }
    send(frame) {
      if (frame.startsWith("40/kschat,")) {
        this.auth = JSON.parse(frame.slice(10));
        sent.push(["CONNECT", this.auth]);
        return;
      }
      const match = /^42\/kschat,(\d*)(\[.*)$/s.exec(frame);
      if (!match) return;
      const [event, payload] = JSON.parse(match[2]);
      this.asked = match[1];
      sent.push([event, payload]);
      const answer = replies[event]?.(payload);
      if (answer !== undefined && match[1]) queueMicrotask(() => this.receive(`43/kschat,${match[1]}${JSON.stringify([answer])}`));
    }
    close() { this.closed = true; }
    receive(...frames) { for (const data of frames) this.onmessage({ data }); }
    event(name, payload) { this.receive(`42/kschat,${JSON.stringify([name, payload])}`); }
  }
  const seen = [];
  const chat = new Chat({
    user: "alice", token: "t1", url: "ws://127.0.0.1:1/socket.io/", ...options,
    environment: {
      WebSocket, setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, now: () => clock.milliseconds, time: () => clock.milliseconds,
      random: () => 0.5, frame: (run) => clock.setTimeout(run, 16), online: () => net.online, visible: () => net.visible, events, page: null,
      ...more,
    },
  });
  chat.on("change", (changes) => seen.push(changes));
  await chat.start();
  const last = () => sockets.at(-1);
  const join = async () => {
    last().receive(OPEN, '40/kschat,{"sid":"x"}');
    await clock.advance(20);
  };
  await join();
  return { chat, clock, sockets, sent, seen, net, events, last, join, replies };
}

const message = (number, fields = {}) => ({
  uId: "bob", pId: "alice", msg: `m${number}`, rStatus: 1, msgTime: 1000 + number, mid: String(number).padStart(24, "0"), ...fields,
});
const texts = (chat, id) => chat.messages(id).map(({ text }) => text);

test("each message belongs to its own conversation", async () => {
  const { chat, clock, last } = await begin();
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1), message(2, { uId: "carol" }), message(3, { uId: "carol", pId: "#team" }), message(4, { uId: 7 })] });
  last().event("RESPCARBON", { RC: 1, ER: 0, MSG: [message(5, { uId: "alice", pId: "bob" })] });
  await clock.advance(20);
  assert.deepEqual(chat.conversations.map(({ id }) => id).sort(), ["#team", "7", "bob", "carol"]);
  assert.deepEqual([texts(chat, "bob"), texts(chat, "carol"), texts(chat, "#team"), texts(chat, "7")], [["m1", "m5"], ["m2"], ["m3"], ["m4"]]);
  assert.deepEqual([chat.conversation("bob").unread, chat.conversation("#team").unread], [1, 1]);
});

test("a repeat is there once, and what comes late is at its place", async () => {
  const { chat, clock, last } = await begin();
  for (const number of [1, 3, 2, 3, 1]) last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(number)] });
  await clock.advance(20);
  assert.deepEqual(texts(chat, "bob"), ["m1", "m2", "m3"]);
});

test("10,000 messages are one change, and no more of them are in memory than the bound", async () => {
  const { chat, clock, last, seen } = await begin();
  await chat.open("bob");
  await clock.advance(20);
  seen.length = 0;
  const began = process.cpuUsage().user;
  for (let page = 0; page < 100; page++) {
    last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: Array.from({ length: 100 }, (_, number) => message(page * 100 + number)) });
  }
  await clock.advance(20);
  assert.equal(seen.filter(({ messages }) => messages.size).length, 1);
  assert.equal(chat.messages("bob").length, 2000);
  assert.equal(chat.messages("bob").at(-1).text, "m9999");
  assert.equal(seen[0].messages.get("bob").removed.length, 0, "what came and went within a frame is not told");
  assert.ok(process.cpuUsage().user - began < 5e6);
});

test("what was missed leaves no hole: it is asked for when one scrolls there", async () => {
  const { chat, clock, last } = await begin({}, { History: ({ before }) => before
    ? { MSG: [message(800), message(899)], more: false }
    : { MSG: Array.from({ length: 100 }, (_, number) => message(900 + number)), more: true } });
  await chat.open("bob");
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1), message(2), message(950), message(1000)] });
  await clock.advance(20);
  assert.deepEqual([texts(chat, "bob").length, texts(chat, "bob")[0], texts(chat, "bob").at(-1)], [101, "m900", "m1000"]);
  assert.equal(chat.conversation("bob").unread, 3);
  await chat.older("bob");
  assert.deepEqual(texts(chat, "bob").slice(0, 3), ["m800", "m899", "m900"]);
});

test("offline is said at once, and online connects", async () => {
  const { chat, net, events, sockets, join } = await begin();
  net.online = false;
  events.dispatchEvent(new Event("offline"));
  assert.equal(chat.status.state, "offline");
  net.online = true;
  events.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 2);
  await join();
  assert.equal(chat.status.state, "connected");
});

test("a server that falls silent is noticed within 25 seconds while the page is seen", async () => {
  const { chat, clock, replies } = await begin();
  delete replies.Token;
  await clock.advance(25_000);
  assert.deepEqual([chat.status.state, chat.status.code], ["waiting", "silent"]);
});

test("a server that answers is not given up", async () => {
  const { chat, clock } = await begin();
  await clock.advance(40_000);
  assert.equal(chat.status.state, "connected");
});

test("Goodbye says when to come back, and a lost connection is a countdown", async () => {
  const { chat, clock, last, sockets } = await begin();
  last().event("Goodbye", { reason: "drain", retryIn: 3 });
  last().onclose();
  assert.deepEqual([chat.status.state, chat.status.code], ["waiting", "drain"]);
  assert.equal(chat.status.retryAt, clock.milliseconds + 3500);
  await clock.advance(3400);
  assert.equal(sockets.length, 1);
  await clock.advance(200);
  assert.equal(sockets.length, 2);
});

test("a token that expires is renewed on the live socket", async () => {
  const { last, clock, sent, chat, sockets } = await begin({ renew: () => "t2" });
  last().event("TokenExpiring", { in: 60 });
  await clock.advance(20);
  assert.deepEqual(sent.filter(([event]) => event === "Token"), [["Token", { token: "t2" }]]);
  assert.equal(sockets.length, 1);
  assert.equal(chat.status.state, "connected");
});

test("a refused token is renewed once, and without another the page is told", async () => {
  const tokens = ["t2", null];
  const { last, clock, sent, chat, sockets } = await begin({ renew: () => tokens.shift() });
  last().event("Goodbye", { reason: "token", retryIn: 0.1 });
  last().receive("41/kschat,");
  await clock.advance(20);
  assert.equal(sockets.length, 2);
  last().receive(OPEN);
  assert.equal(sent.at(-1)[1].token, "t2");
  last().receive('44/kschat,{"message":"Authentication error"}');
  await clock.advance(20);
  assert.deepEqual([chat.status.state, chat.status.code], ["refused", "token"]);
  chat.setToken("t3");
  last().receive(OPEN);
  assert.equal(sent.at(-1)[1].token, "t3");
});

test("what is sent is there at once, in order, one at a time, and gets its ticks", async () => {
  let number = 10;
  const { chat, clock, sent, last } = await begin({}, { Send: () => ({ uId: "alice", mid: message(number++).mid, msgTime: 5 }) });
  const all = ["a", "b", "c"].map((text) => chat.send("bob", { text }));
  assert.deepEqual(texts(chat, "bob"), ["a", "b", "c"]);
  await clock.advance(20);
  assert.deepEqual(sent.filter(([event]) => event === "Send").map(([, { msg }]) => msg), ["a", "b", "c"]);
  assert.deepEqual(all.map(({ state }) => state), ["sent", "sent", "sent"]);
  last().event("RESPSTATUS", { pId: "bob", mid: all[0].mid, STATUS: 2 });
  assert.equal(all[0].state, "delivered");
  last().event("RESPSTATUS", { pId: "bob", mid: all[1].mid, STATUS: 3 });
  assert.deepEqual(all.map(({ state }) => state), ["read", "read", "sent"]);
  last().event("RESPSTATUS", { pId: "bob", mid: all[2].mid, STATUS: 2 });
  assert.deepEqual(all.map(({ state }) => state), ["read", "read", "delivered"]);
});

test("after a lost connection it is sent again with the same cid, before what was written later", async () => {
  let answer;
  const { chat, clock, sent, last, join } = await begin({}, { Send: () => answer });
  chat.send("bob", { text: "one" });
  await settle();
  last().onclose();
  const two = chat.send("bob", { text: "two" });
  answer = { uId: "alice", mid: message(1).mid, msgTime: 5, repeat: true };
  await clock.advance(1000);
  await join();
  const sends = sent.filter(([event]) => event === "Send").map(([, { msg, cid }]) => [msg, cid]);
  assert.deepEqual(sends.map(([msg]) => msg), ["one", "one", "two"]);
  assert.equal(sends[0][1], sends[1][1]);
  assert.equal(two.state, "sent");
});

test("a refusal says whether trying again helps; busy and slow down are tried again by themselves", async () => {
  const answers = [
    { ER: 1, WHY: "no" }, { ER: 6, WHY: "not yours" }, { ER: 4, WHY: "full" },
    { ER: 8, WHY: "busy" }, { ER: 4, WHY: "slow", retryIn: 2 }, { mid: message(1).mid, msgTime: 1 },
  ];
  const { chat, clock } = await begin({}, { Send: () => answers.shift() });
  const [invalid, forbidden, full, busy] = ["a", "b", "c", "d"].map((text) => chat.send("bob", { text }));
  await clock.advance(20);
  assert.deepEqual([invalid, forbidden, full].map(({ problem }) => [problem.code, problem.again, problem.words]),
    [["invalid", false, "no"], ["not allowed", false, "not yours"], ["slow down", true, "full"]]);
  assert.equal(busy.state, "waiting");
  await clock.advance(5000);
  assert.equal(busy.state, "sent");
  chat.discard(invalid);
  assert.deepEqual(texts(chat, "bob"), ["d", "b", "c"]);
});

test("edit sends another text, with another cid", async () => {
  const answers = [{ ER: 6, WHY: "no" }, { mid: message(1).mid, msgTime: 1 }];
  const { chat, clock, sent } = await begin({}, { Send: () => answers.shift() });
  const refused = chat.send("bob", { text: "a" });
  await clock.advance(20);
  chat.edit(refused, "b");
  await clock.advance(20);
  const sends = sent.filter(([event]) => event === "Send").map(([, payload]) => payload);
  assert.deepEqual(sends.map(({ msg }) => msg), ["a", "b"]);
  assert.notEqual(sends[0].cid, sends[1].cid);
  assert.deepEqual(texts(chat, "bob"), ["b"]);
});

test("the outbox is bounded, and what is too large is refused at once", async () => {
  const { chat } = await begin({ limits: { outboxMessages: 2 } });
  assert.throws(() => chat.send("bob", { text: "x".repeat(10_000) }), (error) => error instanceof Refused && error.problem.code === "too large");
  chat.send("bob", { text: "a" });
  chat.send("bob", { text: "b" });
  assert.throws(() => chat.send("bob", { text: "c" }), (error) => error.problem.code === "full");
});

test("a message to oneself is there once, whichever comes first", async () => {
  let reply = null;
  const { chat, clock, last } = await begin({}, { Send: () => reply ?? undefined });
  reply = { mid: message(1).mid, msgTime: 5 };
  const first = chat.send("alice", { text: "note" });
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1, { uId: "alice", msg: "note" })] });
  await clock.advance(20);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1, { uId: "alice", msg: "note" })] });
  await clock.advance(20);
  assert.deepEqual(texts(chat, "alice"), ["note"]);
  assert.equal(first.state, "sent");
  assert.equal(chat.conversation("alice").unread, 0);
});

test("names: the option's, else what a message carried, else the id", async () => {
  const { chat, clock, last } = await begin({ names: { carol: "Carol C." } });
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1, { name: "Bob B." }), message(2, { uId: "carol", name: "another" })] });
  await clock.advance(20);
  assert.deepEqual(["bob", "carol", "dave"].map((id) => chat.name(id)), ["Bob B.", "Carol C.", "dave"]);
});

test("typing and presence are shown, and typing ends", async () => {
  const { chat, clock, last } = await begin();
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1)] });
  await clock.advance(20);
  last().event("RESPTYPING", { uId: "bob" });
  assert.equal(chat.conversation("bob").typing, true);
  await clock.advance(4100);
  assert.equal(chat.conversation("bob").typing, false);
  last().event("RESPPRESENCE", { id: "bob", online: true, lastSeen: null });
  assert.deepEqual(chat.conversation("bob").presence, { online: true, lastSeen: null });
});

test("what another device has read is read here, and what came after it is not", async () => {
  const { chat, clock, last } = await begin({}, { Conversations: () => [{ pId: "bob", last: message(3), unread: 3 }] });
  await clock.advance(20);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(4)] });
  last().event("RESPREAD", { pId: "bob", mid: message(4).mid });
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(5)] });
  await clock.advance(20);
  assert.equal(chat.conversation("bob").unread, 1);
  last().event("RESPREAD", { pId: "bob", mid: message(2).mid });
  await clock.advance(20);
  assert.equal(chat.conversation("bob").unread, 1, "an older one changes nothing");
  last().event("RESPREAD", { pId: "bob", mid: message(5).mid });
  last().event("RESPREAD", { pId: "nobody", mid: message(5).mid });
  await clock.advance(20);
  assert.equal(chat.conversation("bob").unread, 0);
});

test("who has read to the end of what is loaded has not read what is not loaded yet", async () => {
  const { chat, clock, last, sent } = await begin({}, { Conversations: () => [{ pId: "bob", last: message(2000), unread: 1000 }] });
  await clock.advance(20);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1001), message(1002)] });
  await clock.advance(20);
  for (let times = 0; times < 3; times += 1) chat.read("bob");
  assert.equal(chat.conversation("bob").unread, 1000);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1003), message(2000)] });
  await clock.advance(20);
  chat.read("bob");
  assert.equal(chat.conversation("bob").unread, 0);
  await clock.advance(20);
  assert.deepEqual(sent.filter(([event]) => event === "Read").map(([, { mid }]) => mid), [message(1002).mid, message(2000).mid]);
});

test("the list of conversations is asked for before the pages, so that a page comes with its count", async () => {
  const { chat, sent, last, join, clock } = await begin();
  await chat.open("bob");
  last().onclose();
  sent.length = 0;
  await clock.advance(10_000);
  await join();
  const asked = sent.map(([event]) => event);
  assert.ok(asked.indexOf("Conversations") >= 0 && asked.indexOf("Conversations") < asked.indexOf("History"));
});

test("after a message typing is told again as soon as the server passes it on", async () => {
  const { chat, clock, sent } = await begin({}, { Send: () => ({ uId: "alice", mid: message(1).mid, msgTime: 5 }) });
  const told = () => sent.filter(([event]) => event === "Typing").length;
  chat.typing("bob");
  await clock.advance(300);
  chat.send("bob", { text: "one" });
  chat.typing("bob");
  await clock.advance(300);
  assert.equal(told(), 1, "the server would drop it");
  await clock.advance(500);
  chat.typing("bob");
  assert.equal(told(), 2);
  await clock.advance(1500);
  chat.typing("bob");
  assert.equal(told(), 2);
  await clock.advance(600);
  chat.typing("bob");
  assert.equal(told(), 3);
});

/**
 * IndexedDB whose transactions end as `outcome(stores, mode, values)` says, by the stores and values that were used: an error's name, or ""
 * for a success.
 * `kept` is what it has, by store and key.
 */
function fakeDatabases(outcome, put = () => {}, kept = { outbox: {}, state: {} }) {
  const made = [];
  const transaction = (_stores, mode) => {
    const used = [], undo = [];
    const values = [];
    const one = { error: null, mode, puts: 0, committed: false, commit: () => { one.committed = true; }, abort: () => { one.isAborted = true; } };
    one.objectStore = (store) => {
      const change = (key, value) => {
        used.push(store);
        const before = kept[store][key];
        undo.push(() => { if (before === undefined) delete kept[store][key]; else kept[store][key] = before; });
        if (value === undefined) delete kept[store][key];
        else kept[store][key] = structuredClone(value);
        return {};
      };
      return {
        getAll: () => ({ result: Object.values(kept[store]) }), get: (key) => ({ result: kept[store][key] }), delete: (key) => change(key),
        put: (value, key = value.cid) => { one.puts += 1; values.push(value); put(value, key); return change(key, value); },
      };
    };
    made.push(one);
    queueMicrotask(() => queueMicrotask(() => {
      const name = outcome(used, mode, values) || (one.isAborted ? "AbortError" : "");
      if (name) {
        one.error = Object.assign(new Error(name), { name });
        for (const back of undo.reverse()) back();
      }
      (name ? one.onabort : one.oncomplete)();
    }));
    return one;
  };
  return { made, kept, open: () => {
    const opening = { result: { transaction, close: () => {} } };
    queueMicrotask(() => opening.onsuccess());
    return opening;
  } };
}

test("what the browser has no room to keep is told, and sent all the same", async () => {
  for (const [name, code] of [["QuotaExceededError", "quota"], ["UnknownError", "storage"]]) {
    const indexedDB = fakeDatabases((stores, mode) => (stores.includes("outbox") && mode === "readwrite" ? name : ""));
    const { chat, clock, seen } = await begin({}, { Send: () => ({ uId: "alice", mid: message(1).mid, msgTime: 5 }) }, { indexedDB });
    chat.send("bob", { text: "Hello" });
    await clock.advance(20);
    assert.deepEqual(seen.flatMap(({ problems }) => problems).map((problem) => problem.code), [code]);
    assert.equal(chat.messages("bob")[0].state, "sent");
  }
});

test("a page in a browser that keeps nothing is told so, and a program is not", async () => {
  for (const [page, codes] of [[new EventTarget(), ["storage"]], [null, []]]) {
    const { clock, seen } = await begin({}, {}, { page, indexedDB: null });
    await clock.advance(20);
    assert.deepEqual(seen.flatMap(({ problems }) => problems).map((problem) => problem.code), codes);
  }
});

test("without a connection nobody is said to be online", async () => {
  const { chat, clock, last, join } = await begin({}, { Presence: () => ({ bob: { online: true, lastSeen: null } }) });
  await chat.open("bob");
  await clock.advance(20);
  assert.equal(chat.conversation("bob").presence.online, true);
  last().onclose();
  assert.equal(chat.conversation("bob").presence.online, null);
  await clock.advance(2000);
  await join();
  assert.equal(chat.conversation("bob").presence.online, true);
});

/** A history of so many messages. */
const history = (count) => ({ before, limit }) => {
  const to = before ? Number(before) : count;
  const from = Math.max(0, to - limit);
  return { MSG: Array.from({ length: to - from }, (_, number) => message(from + number)), more: from > 0 };
};

test("a backlog that comes before the newest page does not stand beside it", async () => {
  let held = [];
  const { chat, clock, last } = await begin({}, { History: (payload) => { held.push(payload); return undefined; } });
  await clock.advance(20);
  void chat.open("bob");
  await clock.advance(20);
  assert.equal(held.length, 1);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: Array.from({ length: 50 }, (_, number) => message(number)) });
  await clock.advance(20);
  last().receive(`43/kschat,${last().asked}${JSON.stringify([history(1000)(held[0])])}`);
  await clock.advance(20);
  assert.deepEqual([texts(chat, "bob")[0], texts(chat, "bob").at(-1), chat.messages("bob").length], ["m900", "m999", 100]);
  assert.equal(chat.conversation("bob").hasOlder, true);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: Array.from({ length: 50 }, (_, number) => message(50 + number)) });
  await clock.advance(20);
  assert.equal(chat.messages("bob").length, 100);
});

test("what was missed while away stands between what was there and what comes live", async () => {
  const { chat, clock, last, join, replies } = await begin({}, { History: history(300) });
  await chat.open("bob");
  await clock.advance(20);
  last().onclose();
  await clock.advance(600);
  replies.History = history(1000);
  last().receive(OPEN, '40/kschat,{"sid":"x"}');
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1000)] });
  await clock.advance(20);
  assert.deepEqual([texts(chat, "bob")[0], texts(chat, "bob").at(-1), chat.messages("bob").length], ["m500", "m1000", 501]);
  last().onclose();
  await clock.advance(2000);
  replies.History = history(1201);
  await join();
  await clock.advance(20);
  assert.deepEqual([texts(chat, "bob")[0], texts(chat, "bob").at(-1), chat.messages("bob").length], ["m500", "m1200", 701]);
});

test("a name is shown without what turns the text around it; an id of nothing else by its numbers", async () => {
  const { chat } = await begin({ names: { carol: "Ca\u202erol\n" } });
  assert.deepEqual(["carol", "b\u2067o\u200eb", "\u202e"].map((id) => chat.name(id)), ["Carol", "bob", "U+202e"]);
});

const sentTo = (number) => message(number, { uId: "alice", pId: "bob" });
const states = (chat, id) => chat.messages(id).map(({ state }) => state);

test("a device that connects late shows the ticks of earlier messages", async () => {
  let read = 12;
  const all = [sentTo(11), sentTo(12), message(13), sentTo(14), sentTo(15)];
  const { chat, clock, last, join } = await begin({}, {
    Conversations: () => [{ pId: "bob", last: sentTo(15), unread: 0 }],
    // As the daemon does: the receipts of a page come before the answer.
    History: ({ before }) => {
      const page = before ? [sentTo(1), sentTo(2)] : all;
      const own = page.filter(({ uId }) => uId === "alice");
      const newest = (to) => own.findLast(({ mid }) => mid <= message(to).mid)?.mid;
      for (const [to, STATUS] of [[14, 2], [read, 3]]) last().event("RESPSTATUS", { pId: "bob", mid: newest(to), STATUS });
      return { MSG: page, more: !before };
    },
  });
  await clock.advance(20);
  await chat.open("bob");
  await clock.advance(20);
  assert.deepEqual(states(chat, "bob"), ["read", "read", "received", "delivered", "sent"]);
  await chat.older("bob");
  assert.deepEqual(states(chat, "bob"), ["read", "read", "read", "read", "received", "delivered", "sent"], "an older page takes nothing back");
  // What was read while this device was away.
  last().onclose();
  read = 15;
  await clock.advance(2000);
  await join();
  assert.deepEqual(states(chat, "bob"), ["read", "read", "read", "read", "received", "read", "read"]);
});

test("the last message of a conversation that was never opened gets its ticks", async () => {
  const { chat, clock, last, seen } = await begin({}, { Conversations: () => [{ pId: "bob", last: sentTo(5), unread: 0 }] });
  await clock.advance(20);
  const ticks = async (mid, STATUS) => {
    seen.length = 0;
    last().event("RESPSTATUS", { pId: "bob", mid, STATUS });
    await clock.advance(20);
    return [chat.conversation("bob").last.state, seen.some(({ conversations }) => conversations.has("bob"))];
  };
  assert.deepEqual(await ticks(message(4).mid, 3), ["sent", false], "an earlier one was read");
  assert.deepEqual(await ticks(message(5).mid, 2), ["delivered", true]);
  assert.deepEqual(await ticks(message(5).mid, 3), ["read", true]);
  assert.deepEqual(await ticks(message(5).mid, 2), ["read", false], "what was read is not delivered again");
});

test("a message that its sender deleted is shown as deleted, and an edited one with its last text", async () => {
  const page = [message(1, { msg: null, deleted: 7 }), message(2, { msg: "after", edited: 8 }), message(3, { msg: null })];
  const { chat, clock } = await begin({}, { History: () => ({ MSG: page, more: false }) });
  await chat.open("bob");
  await clock.advance(20);
  assert.deepEqual(chat.messages("bob").map(({ text, deleted }) => [text, deleted]), [["", true], ["after", false], ["null", false]]);
});

test("what was edited or deleted while it was in memory is shown so once it is loaded again", async () => {
  let page = [message(1), message(2, { msg: { text: "", file: { name: "a", type: "", data: "" } } }), message(3)];
  const { chat, clock, last, seen, join, replies } = await begin({}, { History: () => ({ MSG: page, more: false }) });
  await chat.open("bob");
  await clock.advance(20);
  const before = [...chat.messages("bob")];
  last().onclose();
  page = [message(1, { msg: null, deleted: 7 }), page[1], message(3, { msg: "another", edited: 8 })];
  replies.Conversations = () => [{ pId: "bob", last: page[2], unread: 0 }];
  await clock.advance(2000);
  seen.length = 0;
  await join();
  assert.deepEqual(chat.messages("bob").map(({ text, deleted }) => [text, deleted]), [["", true], [before[1].text, false], ["another", false]]);
  assert.ok(chat.messages("bob").every((one, index) => one === before[index]), "each keeps its object");
  assert.equal(chat.conversation("bob").last.text, "another");
  assert.deepEqual(seen.flatMap(({ messages }) => messages.get("bob")?.changed ?? []).map(({ mid }) => mid).sort(), [before[0].mid, before[2].mid]);
});

test("without a store, messages are shown on a page that is not of a secure context", async (t) => {
  t.mock.method(globalThis.crypto, "randomUUID", () => { throw new TypeError("crypto.randomUUID is not a function"); });
  const { chat, clock, last } = await begin();
  const { mid: _, ...without } = message(1);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [without] });
  await clock.advance(20);
  assert.deepEqual(texts(chat, "bob"), ["m1"]);
});

/** What a client keeps of its conversations, by their ids, as it was written last. */
function keeping() {
  const kept = {};
  return { kept, indexedDB: fakeDatabases(() => "", (value, key) => { if (key === "kept") Object.assign(kept, { now: value }); }) };
}

test("a draft is kept before what needs less to be known again", async () => {
  const { kept, indexedDB } = keeping();
  const { chat, clock } = await begin({ limits: { drafts: 2 } }, {}, { indexedDB });
  chat.setDraft("bob", "Hello");
  for (const id of ["carol", "dave", "erin"]) chat.setDraft(id, "");
  await clock.advance(200);
  assert.deepEqual(Object.entries(kept.now).map(([id, { draft }]) => [id, draft]), [["bob", "Hello"], ["erin", ""]]);
  for (const id of ["carol", "dave"]) chat.setDraft(id, "Later");
  await clock.advance(200);
  assert.deepEqual(Object.entries(kept.now).map(([id, { draft }]) => [id, draft]), [["carol", "Later"], ["dave", "Later"]]);
});

test("what one tab keeps does not undo the drafts of another", async () => {
  const channels = new Set();
  class Channel {
    constructor() { channels.add(this); }
    postMessage(data) { for (const one of channels) if (one !== this) queueMicrotask(() => one.onmessage({ data: structuredClone(data) })); }
    close() { channels.delete(this); }
  }
  const tab = (leads) => {
    const { kept, indexedDB } = keeping();
    const locks = { request: (name, options, run) => (leads ? Promise.resolve(run()) : new Promise(() => {})) };
    return { kept, more: { indexedDB, locks, BroadcastChannel: Channel, random: () => (leads ? 0.5 : 0.6) } };
  };
  const one = tab(true), other = tab(false);
  const first = await begin({}, {}, one.more);
  const second = new Chat({ user: "alice", token: "t1", url: "ws://127.0.0.1:1/socket.io/", environment: {
    WebSocket: null, setTimeout: first.clock.setTimeout, clearTimeout: first.clock.clearTimeout, now: () => 0, time: () => 0, frame: (run) => run(),
    visible: () => true, online: () => true, events: null, page: null, ...other.more,
  } });
  await second.start();
  await first.clock.advance(20);
  first.chat.setDraft("bob", "To Bob");
  await first.clock.advance(200);
  second.setDraft("carol", "To Carol");
  await first.clock.advance(200);
  for (const { kept } of [one, other]) {
    assert.deepEqual(Object.entries(kept.now).map(([id, { draft }]) => [id, draft]), [["bob", "To Bob"], ["carol", "To Carol"]]);
  }
});

// What is kept, and from whom

test("what is sent in one task is one transaction, which is committed at its end", async () => {
  const indexedDB = fakeDatabases(() => "");
  const { chat, clock } = await begin({}, {}, { indexedDB });
  await clock.advance(20);
  indexedDB.made.length = 0;
  for (let number = 0; number < 40; number++) chat.send("bob", { text: `m${number}` });
  await Promise.resolve();
  const writes = indexedDB.made.filter(({ mode }) => mode === "readwrite");
  assert.deepEqual(writes.map(({ puts, committed }) => [puts, committed]), [[40, true]]);
  assert.equal(Object.keys(indexedDB.kept.outbox).length, 40);
});

test("what has no room, or can't be kept, does not take the rest with it", async () => {
  for (const cid of ["large", "odd"]) {
    const isLarge = (value) => JSON.stringify(value.msg ?? "").length > 3000;
    const indexedDB = fakeDatabases((_stores, _mode, values) => (cid === "large" && values.some(isLarge) ? "QuotaExceededError" : ""), (value) => {
      if (cid === "odd" && isLarge(value)) throw Object.assign(new Error("odd"), { name: "DataCloneError" });
    });
    const { chat, clock, seen } = await begin({}, {}, { indexedDB });
    await clock.advance(20);
    for (const text of ["one", "x".repeat(4000), "two"]) chat.send("bob", { text });
    await clock.advance(20);
    assert.deepEqual(Object.values(indexedDB.kept.outbox).map(({ msg }) => msg).sort(), ["one", "two"], cid);
    assert.deepEqual(seen.flatMap(({ problems }) => problems).map(({ code }) => code), [cid === "large" ? "quota" : "storage"]);
    assert.equal(chat.messages("bob").length, 3);
  }
});

test("what was typed just before the page goes away is kept, and a draft that can't be is told as such", async () => {
  const indexedDB = fakeDatabases((stores) => (stores.includes("state") && indexedDB.isFull ? "QuotaExceededError" : ""));
  const { chat, clock, events, seen } = await begin({}, {}, { indexedDB });
  await clock.advance(20);
  chat.setDraft("bob", "typed in the last moment");
  events.dispatchEvent(new Event("pagehide"));
  await settle();
  assert.equal(indexedDB.kept.state.kept.bob.draft, "typed in the last moment");
  indexedDB.isFull = true;
  chat.setDraft("bob", "more");
  await clock.advance(200);
  assert.deepEqual(seen.flatMap(({ problems }) => problems).map(({ code }) => code), ["drafts"]);
});

const entry = (number, more = {}) => ({ seq: number, cid: `c${number}`, pId: "bob", msg: `kept ${number}`, time: number, bytes: 9, failed: null, ...more });

test("a tab whose token is refused sees nothing of what is kept, and leaves nothing to be sent", async () => {
  const indexedDB = fakeDatabases(() => "", () => {}, { outbox: { c1: entry(1) }, state: { kept: { bob: { draft: "a secret draft" } } } });
  const { chat, clock, sockets, sent } = await begin({ token: "damaged" }, {}, { indexedDB, locks: null });
  // `begin` joined: this one is another, that was refused from the start.
  const other = new Chat({ user: "alice", token: "damaged", url: "ws://127.0.0.1:1/socket.io/", environment: {
    ...chatEnvironment(clock, sockets), indexedDB,
  } });
  await other.start();
  other.send("bob", { text: "written by a stranger" });
  await settle();
  const socket = sockets.at(-1);
  socket.receive(OPEN, '44/kschat,{"message":"Authentication error"}');
  await clock.advance(20);
  assert.deepEqual([other.status.state, other.status.code], ["refused", "token"]);
  other.send("bob", { text: "and another, after the refusal" });
  other.setDraft("bob", "a forged draft");
  await clock.advance(200);
  assert.deepEqual(other.messages("bob").map(({ text }) => text), ["written by a stranger", "and another, after the refusal"]);
  assert.deepEqual(Object.values(indexedDB.kept.outbox).map(({ msg }) => msg), ["kept 1"]);
  assert.equal(indexedDB.kept.state.kept.bob.draft, "a secret draft");
  // The one that was accepted has all of it.
  assert.equal(chat.conversation("bob").draft, "a secret draft");
  assert.deepEqual(sent.filter(([event]) => event === "Send").map(([, { msg }]) => msg), ["kept 1"]);
});

/** What a second client on the same clock needs; its sockets are seen by the first one's test. */
function chatEnvironment(clock, sockets) {
  class WebSocket {
    constructor() { sockets.push(this); }
    send() {}
    close() { this.closed = true; }
    receive(...frames) { for (const data of frames) this.onmessage({ data }); }
  }
  return {
    WebSocket, setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, now: () => clock.milliseconds, time: () => clock.milliseconds,
    random: () => 0.25, frame: (run) => clock.setTimeout(run, 16), online: () => true, visible: () => true, events: new EventTarget(), page: null,
    locks: null, BroadcastChannel: null,
  };
}

test("what was kept is sent before what is written now, though this device's clock was set back", async () => {
  const indexedDB = fakeDatabases(() => "", () => {}, { outbox: { c5000000000000: entry(5e12), c4000000000000: entry(4e12) }, state: {} });
  let number = 1;
  const { chat, clock, sent } = await begin({}, { Send: () => ({ mid: message(number++).mid, msgTime: 5 }) }, { indexedDB });
  chat.send("bob", { text: "new" });
  await clock.advance(20);
  chat.send("bob", { text: "newer" });
  await clock.advance(20);
  assert.deepEqual(sent.filter(([event]) => event === "Send").map(([, { msg }]) => msg), ["kept 4000000000000", "kept 5000000000000", "new", "newer"]);
});

// What others change

const update = (number, kind, fields = {}) => ({ mid: message(number).mid, kind, uId: "bob", pId: "alice", at: 9, ...fields });

test("edits, deletions and reactions of others are seen at once, in their order, and once", async () => {
  const { chat, clock, last, sent, seen } = await begin();
  assert.equal(sent.find(([event]) => event === "CONNECT")[1].updates, 1);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [1, 2, 3].map((number) => message(number)) });
  last().event("RESPUPDATE", update(1, "edit", { msg: "> bob: m0\nother words", offset: 4 }));
  last().event("RESPUPDATE", update(2, "delete", { offset: 5 }));
  last().event("RESPUPDATE", update(3, "react", { uId: "bob", emoji: "\u{1f44d}", offset: 6 }));
  last().event("RESPUPDATE", update(3, "react", { uId: "alice", pId: "bob", emoji: "\u{1f44d}", offset: 7 }));
  last().event("RESPUPDATE", update(99, "edit", { msg: "of what is not here", offset: 8 }));
  await clock.advance(20);
  const [one, two, three] = chat.messages("bob");
  assert.deepEqual([one.text, one.edited, one.reply.text], ["other words", true, "bob: m0"]);
  assert.deepEqual([two.text, two.deleted, two.edited], ["", true, false]);
  assert.deepEqual(three.reactions, { "\u{1f44d}": ["bob", "alice"] });
  assert.equal(chat.conversation("bob").unread, 3);
  seen.length = 0;
  last().event("RESPUPDATE", update(3, "react", { emoji: "\u2764", offset: 9 }));
  last().event("RESPUPDATE", update(3, "react", { emoji: "\u{1f44d}", offset: 6 })); // an older one, again
  last().event("RESPUPDATE", update(2, "edit", { msg: "too late", offset: 10 }));
  await clock.advance(20);
  assert.deepEqual(three.reactions, { "\u{1f44d}": ["alice"], "\u2764": ["bob"] });
  assert.deepEqual(seen.flatMap(({ messages }) => messages.get("bob")?.changed ?? []), [three]);
  last().event("RESPUPDATE", update(3, "react", { emoji: "", offset: 11 }));
  await clock.advance(20);
  assert.deepEqual(three.reactions, { "\u{1f44d}": ["alice"] });
});

test("hostile updates change nothing but the message they are about", async () => {
  const { chat, clock, last } = await begin();
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1)] });
  for (const odd of [null, 7, {}, { mid: message(1).mid }, update(1, "react", { emoji: "__proto__" }), update(1, "react", { emoji: "toString", uId: "eve", pId: "alice" }), update(1, "other")]) last().event("RESPUPDATE", odd);
  await clock.advance(20);
  const [one] = chat.messages("bob");
  assert.deepEqual(Object.keys(one.reactions), ["__proto__"]);
  assert.equal({}.polluted ?? one.text, "m1");
});

test("the last message in the list, which was never loaded, changes too; and a line that is cut replaces no loaded text", async () => {
  const long = "x".repeat(3000);
  let lines = [{ pId: "bob", last: message(5, { msg: "short" }), unread: 0 }];
  const { chat, clock, last, replies } = await begin({}, { Conversations: () => lines });
  await clock.advance(20);
  last().event("RESPUPDATE", update(5, "edit", { msg: "in other words" }));
  await clock.advance(20);
  assert.equal(chat.conversation("bob").last.text, "in other words");
  replies.History = () => ({ MSG: [message(5, { msg: long, edited: 3 })], more: false });
  await chat.open("bob");
  await clock.advance(20);
  lines = [{ pId: "bob", last: message(5, { msg: long.slice(0, 2000), edited: 3, cut: true }), unread: 0 }, { pId: "carol", last: message(6, { uId: "carol", msg: null, cut: true }), unread: 0 }];
  last().event("RESPCARBON", { RC: 1, ER: 0, MSG: [] });
  await clock.advance(2000);
  assert.equal(chat.messages("bob")[0].text, long);
  assert.equal(chat.conversation("carol").last.text, "\u2026");
});

test("one edits, deletes and reacts, which this page and the user's other tabs show; a refusal is told", async () => {
  const asked = [];
  const answer = (event) => (payload) => { asked.push([event, payload]); return payload.mid === message(2).mid ? { ER: 6, WHY: "too old" } : { ER: 0, mid: payload.mid, at: 8 }; };
  const { chat, clock, last } = await begin({}, { Edit: answer("Edit"), Delete: answer("Delete"), React: answer("React") });
  last().event("RESPCARBON", { RC: 1, ER: 0, MSG: [1, 2, 3].map((number) => message(number, { uId: "alice", pId: "bob", msg: number === 3 ? "> bob: hi\nm3" : `m${number}` })) });
  await clock.advance(20);
  const [one, two, three] = chat.messages("bob");
  await Promise.all([chat.edit(three, "better"), chat.react(one, "\u{1f44d}"), clock.advance(20)]);
  assert.deepEqual([three.text, three.edited, three.reply.text, one.reactions], ["better", true, "bob: hi", { "\u{1f44d}": ["alice"] }]);
  await Promise.all([chat.delete(one), clock.advance(20)]);
  assert.deepEqual([one.deleted, one.reactions], [true, {}]);
  assert.deepEqual(asked, [
    ["Edit", { mid: three.mid, pId: "bob", msg: "> bob: hi\nbetter" }], ["React", { mid: one.mid, pId: "bob", emoji: "\u{1f44d}" }], ["Delete", { mid: one.mid, pId: "bob" }],
  ]);
  const refused = chat.edit(two, "no").catch((error) => error.problem.code);
  await clock.advance(20);
  assert.equal(await refused, "not allowed");
  assert.equal(two.text, "m2");
  await assert.rejects(chat.edit(two, "x".repeat(20_000)), (error) => error.problem.code === "too large");
});

test("what was changed while this device was away is asked for, since another device may have been told", async () => {
  let asked = 0;
  const { chat, clock, last, join, replies } = await begin({}, { History: () => ({ MSG: [message(1), message(2, { offset: undefined })], more: false }) });
  await chat.open("bob");
  await clock.advance(20);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(3, { offset: 7 })] });
  await clock.advance(20);
  last().onclose();
  // Message 1 is far above what is loaded again at a reconnect.
  replies.History = () => ({ MSG: [message(3)], more: true });
  replies.Sync = ({ offset }) => { asked = offset; return { MSG: [message(4, { offset: 8 }), update(1, "edit", { msg: "changed meanwhile", offset: 9 })], more: false }; };
  await clock.advance(2000);
  await join();
  assert.equal(asked, 7);
  assert.equal(chat.messages("bob").find(({ mid }) => mid === message(1).mid)?.text, "changed meanwhile");
});

test("the ticks of the newest messages in the list are asked for, of few, and of none that was read", async () => {
  const conversations = Array.from({ length: 20 }, (_, number) => ({ pId: `p${number}`, last: message(100 - number, { uId: "alice", pId: `p${number}` }), unread: 0 }));
  conversations.push({ pId: "#room", last: message(200, { uId: "alice", pId: "#room" }), unread: 0 }, { pId: "bob", last: message(300), unread: 1 });
  const asked = [];
  const { chat, clock, last, join, replies } = await begin();
  replies.Conversations = () => conversations;
  replies.History = ({ pId, limit }) => {
    asked.push([pId, limit]);
    last().event("RESPSTATUS", { pId, mid: conversations.find((one) => one.pId === pId).last.mid, STATUS: pId === "p0" ? 3 : 2 });
    return { MSG: [], more: false };
  };
  last().onclose();
  await clock.advance(2000);
  await join();
  assert.deepEqual(asked, Array.from({ length: 10 }, (_, number) => [`p${number}`, 1]));
  assert.deepEqual(["p0", "p1", "p15"].map((id) => chat.conversation(id).last.state), ["read", "delivered", "sent"]);
});

// A long conversation, from its middle

/** Messages at these places, as a server that has them answers. */
function longHistory(places) {
  const mid = (place) => `${place.toString(16).padStart(16, "0")}0000abcd`;
  const all = places.map((place, number) => message(number, { mid: mid(place), msg: `n${number}` }));
  let asked = 0;
  return {
    all, mid, count: () => asked,
    History: ({ before, limit }) => {
      asked += 1;
      const to = before ? all.findLastIndex((one) => one.mid.slice(0, 16) < before.slice(0, 16)) + 1 : all.length;
      return { MSG: all.slice(Math.max(0, to - limit), to), more: to - limit > 0 };
    },
  };
}

test("a conversation is opened around a message, however far it is from the newest, and read on from there without a hole", async () => {
  const day = 86_400_000n << 16n;
  const shapes = {
    even: Array.from({ length: 3000 }, (_, number) => BigInt(number) * 5_000_000n + (1n << 48n)),
    // Few a day, then a burst, a pause of a year, and another burst.
    bursts: Array.from({ length: 3000 }, (_, number) => (1n << 48n) + (number < 200 ? BigInt(number) * day : number < 1500 ? 300n * day + BigInt(number) * 9n : 700n * day + BigInt(number))),
  };
  for (const [name, places] of Object.entries(shapes)) {
    const { all, History, count } = longHistory(places);
    const { chat, clock } = await begin({ limits: { openMessages: 400 } }, { History, Conversations: () => [{ pId: "bob", last: all.at(-1), unread: 1000 }] });
    await chat.open("bob");
    await clock.advance(20);
    const before = count();
    const at = 150;
    await Promise.all([chat.around("bob", all[at].mid), clock.advance(20)]);
    const shown = () => chat.messages("bob").map(({ text }) => Number(text.slice(1)));
    const contiguous = () => assert.deepEqual(shown(), Array.from({ length: shown().length }, (_, number) => shown()[0] + number), name);
    contiguous();
    assert.ok(shown().includes(at) && shown().includes(at + 1), `${name}: ${shown()[0]} to ${shown().at(-1)}`);
    assert.ok(count() - before < 80, `${name}: ${count() - before} pages`);
    let pages = 0;
    while (chat.conversation("bob").hasNewer) {
      await Promise.all([chat.newer("bob"), clock.advance(20)]);
      contiguous();
      assert.ok(pages++ < 60, `${name}: it ends`);
    }
    assert.equal(shown().at(-1), 2999);
    assert.ok(count() < 300, `${name}: ${count()} pages`);
    while (chat.conversation("bob").hasOlder) {
      await Promise.all([chat.older("bob"), clock.advance(20)]);
      contiguous();
    }
    assert.equal(shown()[0], 0);
  }
});

test("what comes live while one reads in the middle is counted, not put into a hole; and who writes is at the end", async () => {
  const { all, mid, History } = longHistory(Array.from({ length: 1000 }, (_, number) => (1n << 48n) + BigInt(number) * 1000n));
  const { chat, clock, last } = await begin({}, { History, Conversations: () => [{ pId: "bob", last: all.at(-1), unread: 900 }], Send: ({ msg }) => {
    all.push(message(3, { mid: mid((1n << 49n) + 9n), uId: "alice", pId: "bob", msg }));
    return { mid: all.at(-1).mid, msgTime: 5 };
  } });
  await chat.open("bob");
  await clock.advance(20);
  await Promise.all([chat.around("bob", all[99].mid), clock.advance(20)]);
  last().event("RESPRECEIVER", { RC: 1, ER: 0, MSG: [message(1, { mid: mid(1n << 49n), msg: "live" })] });
  last().event("RESPCARBON", { RC: 1, ER: 0, MSG: [message(2, { mid: mid((1n << 49n) + 1n), uId: "alice", pId: "bob", msg: "from another device" })] });
  await clock.advance(20);
  assert.equal(texts(chat, "bob").includes("live"), false);
  assert.equal(chat.conversation("bob").last.text, "from another device");
  assert.equal(chat.conversation("bob").missed, 2);
  all.push(message(1, { mid: mid(1n << 49n), msg: "live" }), message(2, { mid: mid((1n << 49n) + 1n), uId: "alice", pId: "bob", msg: "from another device" }));
  chat.send("bob", { text: "mine" });
  await clock.advance(50);
  assert.deepEqual(texts(chat, "bob").slice(-3), ["live", "from another device", "mine"]);
  assert.equal(chat.conversation("bob").hasNewer, false);
});
