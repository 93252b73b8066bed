"use strict";
// Drives one real npm socket.io client: `node client.js 1` … `node client.js 4` takes client 1.7.4, 2.5.0, 3.1.3, 4.8.4.
//
// One JSON object a line. On stdin, requests:
//     {"id": 1, "do": "connect", "socket": NAME, "url": …, "options": {…}, "answers": true, "events": [NAME, …]}   a socket, and the events it is asked about beside the chat's; answered when it is made, not when it is connected
//     {"id": 2, "do": "emit", "socket": NAME, "event": …, "args": […], "ack": true}   answered with the ack's arguments, or at once without "ack"
//     {"id": 3, "do": "disconnect", "socket": NAME}
//     {"id": 4, "do": "state", "socket": NAME}                                 {connected, id, recovered, engine: the engine's readyState, transport: its name,
//                                                                               pid and offset: what it shows when it comes back (4.6 and later)}
// On stdout, answers {"id": 2, "answer": …} or {"id": 2, "error": TEXT}, and whatever a socket is told:
//     {"socket": NAME, "event": "RESPSEND", "args": […], "asks_ack": true}
// Binary is {"$bin": hex} both ways, {"$date": milliseconds}, {"$undefined": 1} and {"$nan": 1} are what they say on the way in, an Error {"$error": message}. Events that ask for an ack are answered at once with no arguments,
// as the tutorial's client does with its empty callbacks, unless "answers" is false. The program ends when its stdin does.

const readline = require("node:readline");

const version = process.argv[2];
const io = require(`sio${version}`);

// What the libraries themselves tell a socket, then what kschat sends.
const OWN_EVENTS = ["connect", "disconnect", "error", "connect_error", "connect_timeout", "reconnect_attempt"];
const CHAT_EVENTS = ["RESPSEND", "RESPRECEIVER", "RESPLOGOUT", "RESPSTATUS", "RESPTYPING", "RESPPRESENCE", "RESPCARBON", "RESPUPDATE", "TokenExpiring", "Goodbye"];

const sockets = new Map();

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function to_plain(value) {
  if (value instanceof Error) return { $error: value.message, data: to_plain(value.data) };
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return { $bin: Buffer.from(value).toString("hex") };
  if (value instanceof ArrayBuffer) return { $bin: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(to_plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, to_plain(inner)]));
  }
  return value;
}

function from_plain(value) {
  if (Array.isArray(value)) return value.map(from_plain);
  if (value !== null && typeof value === "object") {
    if (typeof value.$bin === "string" && Object.keys(value).length === 1) return Buffer.from(value.$bin, "hex");
    if ("$date" in value) return new Date(value.$date);
    if ("$undefined" in value) return undefined;
    if ("$nan" in value) return NaN;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, from_plain(inner)]));
  }
  return value;
}

function listen(name, socket, answers, events) {
  for (const event of OWN_EVENTS) {
    socket.on(event, (...args) => say({ socket: name, event, args: args.slice(0, 1).map(to_plain) }));
  }
  for (const event of [...CHAT_EVENTS, ...events]) {
    socket.on(event, (...args) => {
      const asks_ack = typeof args[args.length - 1] === "function";
      const answer = asks_ack ? args.pop() : null;
      if (asks_ack && answers) answer();
      say({ socket: name, event, args: args.map(to_plain), asks_ack });
    });
  }
}

const requests = {
  connect({ id, socket: name, url, options, answers, events }) {
    // A package by its name: what a program gives as the parser is a module.
    if (options.parser) options.parser = require(options.parser);
    const socket = io(url, options);
    sockets.set(name, socket);
    listen(name, socket, answers, events);
    say({ id, answer: null });
  },
  emit({ id, socket: name, event, args, ack }) {
    const given = from_plain(args);
    if (ack) given.push((...answer) => say({ id, answer: answer.map(to_plain) }));
    sockets.get(name).emit(event, ...given);
    if (!ack) say({ id, answer: null });
  },
  disconnect({ id, socket: name }) {
    sockets.get(name).disconnect();
    say({ id, answer: null });
  },
  state({ id, socket: name }) {
    const socket = sockets.get(name);
    const { readyState: engine = null, transport = null } = socket.io.engine ?? {};
    const answer = { connected: socket.connected, id: socket.id ?? null, recovered: Boolean(socket.recovered), engine };
    const shows = { pid: socket._pid ?? null, offset: socket._lastOffset ?? null };
    say({ id, answer: { ...answer, ...shows, transport: transport && transport.name } });
  },
};

const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => {
  const request = JSON.parse(line);
  try {
    requests[request.do](request);
  } catch (error) {
    say({ id: request.id, error: String(error && error.stack) });
  }
});
input.on("close", () => process.exit(0));
