"use strict";
// static/kschat/socketio.js, the page's client, on a WebSocket and a clock that this file moves: `node --test socketio_test.js`.

const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const path = require("node:path");
const test = require("node:test");

const source = readFileSync(path.join(__dirname, "../../static/kschat/socketio.js"), "utf8");
const client = import("data:text/javascript," + encodeURIComponent(source)); // an ES module without a package.json that says so

const OPEN = '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":200}';

class Clock {
  milliseconds = 0;
  timers = new Set();
  setTimeout = (run, delay) => {
    const timer = { run, at: this.milliseconds + delay };
    this.timers.add(timer);
    return timer;
  };
  clearTimeout = (timer) => this.timers.delete(timer);
  now = () => this.milliseconds;
  advance(milliseconds) {
    const end = this.milliseconds + milliseconds;
    for (;;) {
      const due = [...this.timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.milliseconds = due.at;
      this.timers.delete(due);
      due.run();
    }
    this.milliseconds = end;
  }
}

async function begin(options = {}) {
  const module = await client;
  const clock = new Clock();
  const websockets = [];
  class WebSocket {
    sent = [];
    closed = false;
    constructor(url) {
      this.url = url;
      websockets.push(this);
    }
    send(frame) { this.sent.push(frame); }
    close() { this.closed = true; }
    receive(...frames) { for (const data of frames) this.onmessage({ data }); }
  }
  const told = [];
  const socket = new module.Socket("ws://127.0.0.1:1/socket.io/", {
    namespace: "/kschat", auth: { token: "t" }, WebSocket, random: () => 0.5,
    setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, now: clock.now, ...options,
  });
  for (const event of ["connect", "disconnect", "refused", "News"]) socket.on(event, (...args) => told.push([event, ...args]));
  socket.connect();
  const last = () => websockets.at(-1);
  const join = () => {
    last().receive(OPEN, '40/kschat,{"sid":"x"}');
    last().sent.length = 0;
    told.length = 0;
  };
  return { ...module, clock, socket, told, websockets, last, join };
}

test("joins its namespace with the token in the packet, not in the URL", async () => {
  const { last, told, socket } = await begin({ query: { ksId: "a b" } });
  assert.equal(last().url, "ws://127.0.0.1:1/socket.io/?ksId=a+b&EIO=4&transport=websocket");
  last().receive(OPEN);
  assert.deepEqual(last().sent, ['40/kschat,{"token":"t"}']);
  assert.equal(socket.connected, false);
  last().receive('40/kschat,{"sid":"x"}');
  assert.deepEqual(told, [["connect"]]);
  assert.equal(socket.connected, true);
});

test("answers pings and gives a silent server up after interval and timeout", async () => {
  const { clock, join, last, told } = await begin();
  join();
  for (let turn = 0; turn < 10; turn++) {
    clock.advance(44_000);
    last().receive("2");
  }
  assert.deepEqual(last().sent, Array(10).fill("3"));
  clock.advance(44_999);
  assert.deepEqual(told, []);
  clock.advance(1);
  assert.deepEqual(told, [["disconnect", "the server fell silent", 0.5, true]]);
  assert.equal(last().closed, true);
});

test("waits longer from try to try, with a bound, and at once when told to", async () => {
  const { clock, last, told, websockets, socket, join } = await begin({ longestDelay: 4 });
  const delays = [];
  for (let turn = 0; turn < 6; turn++) {
    last().onclose();
    delays.push(told.at(-1)[2]);
    clock.advance(delays.at(-1) * 1000 - 1);
    assert.equal(websockets.length, turn + 1);
    clock.advance(1);
    assert.equal(websockets.length, turn + 2);
  }
  assert.deepEqual(delays, [0.5, 1, 2, 4, 4, 4]);
  last().onclose();
  socket.connect();
  assert.equal(websockets.length, 8);
  socket.connect();
  assert.equal(websockets.length, 8);
  join();
  last().onclose();
  assert.equal(told.at(-1)[2], 0.5);
  clock.advance(500);
  socket.waitBeforeNext(30);
  last().onclose();
  assert.equal(told.at(-1)[2], 30);
});

test("spreads the tries of many clients by jitter", async () => {
  for (const [random, expected] of [[0, 0.25], [0.999, 0.7495]]) {
    const { last, told } = await begin({ random: () => random });
    last().onclose();
    assert.equal(told[0][2], expected);
  }
});

test("gives a handshake that does not end up", async () => {
  const { clock, last, told } = await begin();
  last().receive(OPEN);
  clock.advance(10_000);
  assert.deepEqual(told, [["disconnect", "no answer to the handshake", 0.5, false]]);
});

test("a refused namespace is told and not tried again", async () => {
  const { clock, last, told, websockets } = await begin();
  last().receive(OPEN, '44/kschat,{"message":"Authentication error"}');
  assert.deepEqual(told, [["refused", "Authentication error"]]);
  assert.equal(last().closed, true);
  clock.advance(600_000);
  assert.equal(websockets.length, 1);
});

test("requests resolve with their acks, and reject when late, lost or too large", async () => {
  const { clock, join, last, socket, Late, Lost, TooLarge } = await begin();
  await assert.rejects(socket.request("Send", 1), Lost);
  join();
  const answered = socket.request("Send", { a: "ü" });
  const late = socket.request("Send", 2);
  assert.deepEqual(last().sent, ['42/kschat,0["Send",{"a":"ü"}]', '42/kschat,1["Send",2]']);
  last().receive('43/kschat,0[{"RESPONSE":"ok"}]', "43/kschat,99[1]");
  assert.deepEqual(await answered, { RESPONSE: "ok" });
  const rejected = assert.rejects(late, Late);
  clock.advance(20_000);
  await rejected;
  last().receive("43/kschat,1[1]");
  await assert.rejects(socket.request("Send", "ü".repeat(100)), TooLarge);
  await assert.rejects(socket.request("Send", new Uint8Array(201)), TooLarge);
  const lost = assert.rejects(socket.request("Send", 3), Lost);
  last().onclose();
  await lost;
  assert.equal(clock.timers.size, 1); // the next try alone
});

test("events of the server come with a function for the ack where they ask for one", async () => {
  const { join, last, told } = await begin();
  join();
  last().receive('42/kschat,["News",1,[2]]', '42/kschat,0["News",3]', '42/kschat,7["Unknown",{"x":1}]', '42["News","elsewhere"]');
  assert.deepEqual(told[0], ["News", 1, [2]]);
  assert.equal(told.length, 2);
  told[1][2]("got", new Uint8Array([1]));
  assert.equal(last().sent[0], '461-/kschat,0["got",{"_placeholder":true,"num":0}]');
  assert.equal(last().sent.length, 2);
});

test("binary goes out and comes in at its places", async () => {
  const { join, last, told, socket } = await begin();
  join();
  const [one, two] = [new Uint8Array([1]).buffer, new Uint8Array([2, 2])];
  socket.emit("Send", { one, list: [two], fake: { _placeholder: "no" } });
  assert.deepEqual(last().sent, [
    '452-/kschat,["Send",{"one":{"_placeholder":true,"num":0},"list":[{"_placeholder":true,"num":1}],"fake":{"_placeholder":"no"}}]', one, two,
  ]);
  last().receive('452-/kschat,["News",{"a":[{"_placeholder":true,"num":1}],"b":{"_placeholder":true,"num":0}}]', one, two.buffer);
  assert.deepEqual(told, [["News", { a: [two.buffer], b: one }]]);
  last().receive('42/kschat,["News",{"_placeholder":true,"num":0}]');
  assert.deepEqual(told[1], ["News", { _placeholder: true, num: 0 }]);
});

test("what is no packet ends the connection, which is made anew", async () => {
  const one = new Uint8Array([1]).buffer;
  for (const frames of [
    ["4"], ["49/kschat,"], ["42/kschat,{}"], ["42/kschat,["], ["42/kschat"], [one], ["451-/kschat,[1]", "2", "42/kschat,[1]"],
    ['451-/kschat,["News",{"_placeholder":true,"num":1}]', one], ['451-/kschat,["News",{"_placeholder":true,"num":"length"}]', one], ["0{"],
  ]) {
    const { clock, join, last, told, websockets } = await begin();
    join();
    last().receive(...frames.slice(0, -1));
    const websocket = last();
    websocket.receive(frames.at(-1));
    assert.equal(told.at(-1)[0], "disconnect", frames[0]);
    websocket.receive('42/kschat,["News",1]'); // from the connection that was given up
    assert.equal(told.length, 1);
    clock.advance(500);
    assert.equal(websockets.length, 2);
  }
});

test("ends when the server says so, and for good when asked to", async () => {
  const { clock, join, last, told, socket, websockets } = await begin();
  join();
  last().receive("6");
  last().receive("41/kschat,");
  assert.deepEqual(told, [["disconnect", "the server ended the session", 0.5, true]]);
  clock.advance(500);
  join();
  last().receive("1");
  assert.equal(told[0][1], "the server closed the connection");
  clock.advance(500);
  join();
  socket.close();
  assert.deepEqual(last().sent, ["41/kschat,"]);
  assert.equal(last().closed, true);
  assert.equal(clock.timers.size, 0);
  assert.equal(websockets.length, 3);
});
