// The client module on a real daemon: node chat_live.mjs URL ALICES_TOKEN BOBS_TOKEN CAROLS_TOKEN. Every wait is bounded.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { Chat } from "../../static/kschat/chat.js";

const WebSocket = createRequire(import.meta.url)("ws");
const [url, ...tokens] = process.argv.slice(2);
const users = ["alice", "bob", "carol"];

async function until(right, what) {
  for (let turn = 0; turn < 1000; turn++) {
    const value = right();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`waited for ${what}`);
}

async function client(user) {
  const chat = new Chat({ user, token: tokens[users.indexOf(user)], url, environment: { WebSocket } });
  await chat.start();
  await until(() => chat.status.state === "connected", `${user} to be connected`);
  return chat;
}

const texts = (chat, id) => chat.messages(id).map(({ text }) => text);

const alice = await client("alice"), bob = await client("bob"), carol = await client("carol");
await bob.open("alice");

// Each message belongs to its own conversation.
const first = alice.send("bob", { text: "Hello Bob" });
assert.ok(["waiting", "sending"].includes(first.state));
carol.send("bob", { text: "Carol here" });
await until(() => bob.messages("alice").length && bob.messages("carol").length, "both messages");
assert.deepEqual([texts(bob, "alice"), texts(bob, "carol")], [["Hello Bob"], ["Carol here"]]);
assert.equal(bob.conversation("carol").unread, 1);
await until(() => first.state === "delivered", "delivered");
bob.read("alice");
await until(() => first.state === "read", "read");

// In order, each once, however fast.
const many = Array.from({ length: 40 }, (_, number) => `m${number}`);
for (const text of many) alice.send("bob", { text });
await until(() => bob.messages("alice").length === 41, "all of them");
assert.deepEqual(texts(bob, "alice"), ["Hello Bob", ...many]);

// To oneself: once.
const note = alice.send("alice", { text: "a note" });
await until(() => note.mid, "the note to be sent");
const end = alice.send("alice", { text: "another" });
await until(() => end.mid, "the other");
assert.deepEqual(texts(alice, "alice"), ["a note", "another"]);

// A reply is text to others; a file is binary.
bob.send("alice", { text: "Indeed", reply: bob.messages("alice")[0] });
const reply = await until(() => alice.messages("bob").find(({ text }) => text === "Indeed"), "the reply");
assert.equal(reply.msg, "> alice: Hello Bob\nIndeed");
assert.deepEqual(reply.reply, { text: "alice: Hello Bob", mid: first.mid });
const data = new Uint8Array([1, 2, 3]).buffer;
bob.send("alice", { text: "see", file: { name: "../a.bin", type: "text/html", size: 3, data } });
const picture = await until(() => alice.messages("bob").find(({ file }) => file), "the file");
assert.deepEqual([picture.text, picture.file.name, [...new Uint8Array(picture.file.data)]], ["see", "a.bin", [1, 2, 3]]);

// Another device: everything is there, and what one sends shows on the other.
const again = await client("alice");
await until(() => again.conversations.length === 2, "the conversations");
await again.open("bob");
assert.equal(again.messages("bob").length, 43);
const before = again.messages("bob").length;
alice.send("bob", { text: "from the first device" });
await until(() => texts(again, "bob").includes("from the first device"), "the carbon");
assert.equal(again.messages("bob").length, before + 1);

// Rooms.
await alice.join("team");
await bob.join("team");
alice.send("#team", { text: "hi all" });
await until(() => texts(bob, "#team").includes("hi all"), "the room's message");
assert.equal(bob.messages("#team")[0].from, "alice");

// What can never be sent is refused at once.
assert.throws(() => alice.send("bob", { text: "x".repeat(alice.limit) }), (error) => error.problem.code === "too large" && !error.problem.again);
const refused = carol.send("#team", { text: "not a member" });
await until(() => refused.state === "failed", "the refusal");
assert.deepEqual([refused.problem.code, refused.problem.again], ["not allowed", false]);
carol.discard(refused);
assert.deepEqual(carol.messages("#team"), []);

// Older pages.
const windowed = new Chat({ user: "bob", token: tokens[1], url, environment: { WebSocket }, limits: { openMessages: 120, closedMessages: 20 } });
await windowed.start();
await until(() => windowed.status.state === "connected", "bob's other device");
for (let number = 0; number < 200; number++) alice.send("bob", { text: `n${number}` });
await until(() => alice.messages("bob").at(-1).mid, "all to be sent");
await windowed.open("alice");
await until(() => windowed.messages("alice").at(-1).text === "n199", "the newest");
while (windowed.conversation("alice").hasOlder) await windowed.older("alice");
assert.equal(windowed.messages("alice")[0].text, "Hello Bob");
assert.ok(windowed.messages("alice").length <= 120);
assert.ok(windowed.conversation("alice").hasNewer);
while (windowed.conversation("alice").hasNewer) await windowed.newer("alice");
assert.equal(windowed.messages("alice").at(-1).text, "n199");
const shown = windowed.messages("alice").map(({ mid }) => mid);
assert.deepEqual(shown, [...new Set(shown)].sort());

// The inbox, in pages.
let inbox = 0;
for await (const page of bob.inbox()) inbox += page.length;
assert.ok(inbox >= 240, String(inbox));

// Offline and back: what was written meanwhile is sent once.
alice.link.giveUp();
await until(() => alice.status.state === "waiting", "the status");
const meanwhile = alice.send("bob", { text: "meanwhile" });
assert.equal(meanwhile.state, "waiting");
alice.connect();
await until(() => meanwhile.mid, "what was written meanwhile");
await until(() => texts(bob, "alice").filter((text) => text === "meanwhile").length === 1, "it at Bob's");

for (const chat of [alice, bob, carol, again, windowed]) chat.stop();
console.log("done");
process.exit(0);
