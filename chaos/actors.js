"use strict";
// Many real npm clients, 1.7.4, 2.5.0, 3.1.3 and 4.8.4, that send and receive by themselves: `node actors.js`.
//
// One JSON object a line on stdin:
//     {"do": "open", "actor": NAME, "version": 2, "url": …, "options": {…}, "user": …, "targets": [{"pId": …, "count": n}, …],
//      "answers": true, "recovers": false, "window": 8, "pace": 20, "seed": 1}    a client with reconnection; it sends nothing yet
//     {"do": "join", "actor": NAME, "room": …}
//     {"do": "talk"}   {"do": "hush"}                           make messages; make no new ones
//     {"do": "away", "actor": NAME}   {"do": "back", "actor": NAME}
//     {"do": "look", "actor": NAME, "ids": […]}                 who of these users is online
//     {"do": "ask", "actor": NAME}                              a round trip, in order with all that was written before
// On stdout arrays of notes, as they come:
//     ["open", actor, recovered, had an offset]   ["shut", actor, reason]   ["joined", actor, room]   ["asked", actor]
//     ["sent", actor, number, pId]   ["ack", actor, number, mid, repeat]   ["no", actor, number, ER]
//     ["got", actor, key, mid, offset]   ["left", actor, by disconnect()]   ["odd", actor, text]
//     ["looked", actor, users who are not online]
//     ["told", actor]     that the broker took its queue away
//     ["err", actor, text]     an attempt to connect failed
//     ["change", actor, number, mid, text]   of a message of its own, null: deleted   ["changed", actor, number, mid, ER]
//     ["shows", actor, mid, text]            what a client that asks for updates shows now
// A message is `ACTOR/NUMBER` (the key), as its cid, and behind a mark as its text; some carry the text in binary as well. What has no ack yet is
// sent again, in order, whenever the client is connected again; with `retries` the library does that. Some messages are
// edited and deleted later, one change of a message at a time, which is sent again in the same way; the text has `|VERSION` then.

const path = require("node:path");
const readline = require("node:readline");

const modules = path.join(__dirname, "../tests/node/node_modules");
const libraries = {};
const library = (version) => (libraries[version] ??= require(path.join(modules, `sio${version}`)));
const actors = new Map();
const BINARY_EVERY = 13;
const MARK = "Kx7textOfAMessage:"; // as in disclosed.py: no log may hold it
const AGAIN_AFTER = 50; // milliseconds until a refused message is sent again
const EDITED = 0.06; // of the messages that are acknowledged; further changes of one follow with the same chances
const DELETED = 0.03;
const REACTED = 0.02; // of the messages that a client which asks for updates receives
let talking = false;
let notes = [];

function note(...said) {
  if (notes.push(said) === 1) setImmediate(flush);
}

function flush() {
  const said = notes;
  notes = [];
  process.stdout.write(JSON.stringify(said) + "\n");
}

// mulberry32
function random_from(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

class Actor {
  constructor({ actor, version, url, options, user, targets, answers, recovers, updates, window, pace, seed }) {
    Object.assign(this, { name: actor, user, targets, answers, recovers, updates, window, pace });
    this.random = random_from(seed);
    this.queued = options.retries !== undefined; // then the library sends again, one message at a time
    this.number = 0;
    this.pending = new Map();
    this.changes = new Map(); // by the number of the message: {mid, pId, version, text}, until it is acknowledged
    this.versions = new Map();
    this.had_offset = false;
    this.is_away = false;
    this.socket = library(version)(url, options);
    this.socket.on("connect", () => this.connected());
    this.socket.on("disconnect", (reason) => note("shut", this.name, String(reason)));
    const refused = (error) => {
      const text = typeof error === "string" ? error : error.message;
      // What the transport says: the status of an HTTP request, where there was one.
      const status = error.description && (error.description.status ?? error.description.message ?? error.description);
      if (/Authentication|namespace/.test(text)) note("odd", this.name, text);
      // Versions 1 and 2 tell of the error that ends a connection in the same way.
      else if (!this.socket.connected) note("err", this.name, `${text} ${status ?? ""}`);
    };
    this.socket.on("connect_error", refused);
    this.socket.on("error", refused);
    this.socket.on("RESPRECEIVER", (body, ...rest) => this.received(body, rest));
    this.socket.on("RESPUPDATE", (body, ...rest) => this.updated(body, rest));
    this.talk();
  }

  connected() {
    note("open", this.name, Boolean(this.socket.recovered), this.had_offset);
    if (!this.queued) {
      for (const number of this.pending.keys()) this.emit(number);
      for (const number of this.changes.keys()) this.emit_change(number);
    }
  }

  talk() {
    if (talking && this.pending.size < this.window && (this.socket.connected || this.queued)) {
      const target = this.targets[Math.floor(this.random() * this.targets.length)];
      const number = this.number++;
      this.pending.set(number, target);
      note("sent", this.name, number, target);
      this.emit(number);
    }
    // Some messages go out in one burst, others apart.
    if (this.random() < 0.4 && this.pending.size < this.window && talking) setImmediate(() => this.talk());
    else setTimeout(() => this.talk(), this.random() * this.pace);
  }

  emit(number) {
    const key = `${this.name}/${number}`;
    const text = MARK + key;
    const msg = number % BINARY_EVERY ? text : { text, bytes: Buffer.from(text) };
    const payload = { uId: this.user, pId: this.pending.get(number), msg, rno: number, time: Date.now(), cid: key };
    if (this.queued) this.socket.emit("Send", payload, (error, answer) => (error ? this.again(number) : this.answered(number, answer)));
    else this.socket.emit("Send", payload, (answer) => this.answered(number, answer));
  }

  again(number) {
    setTimeout(() => {
      if (this.pending.has(number) && (this.socket.connected || this.queued)) this.emit(number);
    }, AGAIN_AFTER);
  }

  answered(number, answer) {
    if (!this.pending.has(number)) return; // answered before: it was sent twice
    if (answer.ER) {
      note("no", this.name, number, answer.ER);
      this.again(number);
      return;
    }
    const pId = this.pending.get(number);
    this.pending.delete(number);
    note("ack", this.name, number, answer.mid, Boolean(answer.repeat));
    this.change(number, answer.mid, pId);
  }

  // Perhaps edit or delete a message of its own, some time later.
  change(number, mid, pId) {
    const chance = this.random();
    if (chance >= EDITED + DELETED) return;
    setTimeout(() => {
      if (!talking) return;
      const version = (this.versions.get(number) || 0) + 1;
      this.versions.set(number, version);
      const text = chance < EDITED ? `${MARK}${this.name}/${number}|${version}` : null;
      this.changes.set(number, { mid, pId, version, text });
      note("change", this.name, number, mid, text);
      if (this.socket.connected || this.queued) this.emit_change(number);
    }, this.random() * 300);
  }

  emit_change(number) {
    const { mid, pId, version, text } = this.changes.get(number);
    const payload = { mid, pId, cid: `${this.name}/${number}|${version}` };
    const answered = (answer) => {
      const now = this.changes.get(number);
      if (now === undefined || now.version !== version) return; // answered before: it was sent twice
      if (answer.ER && answer.ER !== 1 && answer.ER !== 6) {
        setTimeout(() => {
          if (this.changes.has(number) && (this.socket.connected || this.queued)) this.emit_change(number);
        }, AGAIN_AFTER);
        return;
      }
      this.changes.delete(number);
      note("changed", this.name, number, mid, answer.ER);
      if (text !== null) this.change(number, mid, pId);
    };
    const name = text === null ? "Delete" : "Edit";
    if (text !== null) payload.msg = text;
    if (this.queued) this.socket.emit(name, payload, (error, answer) => (error ? answered({ ER: 3 }) : answered(answer)));
    else this.socket.emit(name, payload, answered);
  }

  updated(body, rest) {
    if (typeof rest[rest.length - 1] === "string") this.had_offset = true;
    if (!this.updates) note("odd", this.name, `an update that was not asked for: ${JSON.stringify(body)}`);
    else if (body.kind === "edit") note("shows", this.name, body.mid, body.msg);
    else if (body.kind === "delete") note("shows", this.name, body.mid, null);
    else if (body.kind !== "react") note("odd", this.name, `an update: ${JSON.stringify(body)}`);
  }

  // disconnect() throws away what arrives in the same moment, though its WebSocket has read it. So it is for clients
  // that call the acks, or show where they were: they must miss nothing all the same.
  leave() {
    if (!this.socket.connected) return; // it is on its way back from another fault
    this.is_away = true;
    this.socket.io.reconnection(false);
    const by_program = (this.answers || this.recovers) && this.random() < 0.7;
    if (by_program) this.socket.disconnect();
    else this.socket.io.engine.close();
    note("left", this.name, by_program);
  }

  come_back() {
    if (!this.is_away) return;
    this.is_away = false;
    const connect = () => {
      this.socket.io.reconnection(true);
      this.socket.connect();
    };
    if (this.socket.connected) this.socket.once("disconnect", () => setTimeout(connect, 0));
    else connect();
  }

  received(body, rest) {
    const last = rest[rest.length - 1];
    if (typeof last === "function" && this.answers) last();
    if (typeof last === "string") this.had_offset = true;
    if (body.RC === 1 && body.ER === 0 && body.MSG === undefined) {
      note("told", this.name);
      return;
    }
    if (body.ER !== 0 || !Array.isArray(body.MSG)) {
      note("odd", this.name, JSON.stringify(body));
      return;
    }
    for (const { msg, mid, offset } of body.MSG) {
      const text = typeof msg === "string" ? msg : msg.text;
      const bytes = typeof msg === "string" ? text : Buffer.from(msg.bytes).toString();
      if (bytes !== text || !text.startsWith(MARK)) note("odd", this.name, `the bytes of ${text} are ${bytes}`);
      note("got", this.name, text.slice(MARK.length).split("|")[0], mid, offset);
      if (!this.updates) continue;
      note("shows", this.name, mid, text);
      if (this.random() < REACTED && this.socket.connected) this.socket.emit("React", { mid, emoji: "+1" });
    }
  }
}

const requests = {
  open: (request) => actors.set(request.actor, new Actor(request)),
  join({ actor, room }) {
    actors.get(actor).socket.emit("Join", { room }, (...answer) => {
      const said = answer[answer.length - 1];
      if (said.ER === 0) note("joined", actor, room);
      else note("odd", actor, `Join: ${JSON.stringify(answer)}`);
    });
  },
  talk: () => (talking = true),
  hush: () => (talking = false),
  away: ({ actor }) => actors.get(actor).leave(),
  back: ({ actor }) => actors.get(actor).come_back(),
  look({ actor, ids }) {
    actors.get(actor).socket.emit("Presence", { ids }, (...answer) => {
      const found = answer[answer.length - 1];
      note("looked", actor, ids.filter((id) => !found[id] || found[id].online !== true));
    });
  },
  ask: ({ actor }) => actors.get(actor).socket.emit("Presence", { ids: [] }, () => note("asked", actor)),
};

const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => {
  const request = JSON.parse(line);
  requests[request.do](request);
});
input.on("close", () => process.exit(0));
