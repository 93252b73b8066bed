"use strict";
// Makes the test vectors of tests/wire/vectors/ with the parsers that npm's own clients and servers use.
//
//     node make_vectors.js            writes ../wire/vectors/*.json
//     node make_vectors.js DIRECTORY  writes them there (tests/wire/test_vectors.py does, and compares)
//
// Revision 3 is Engine.IO 3 with Socket.IO protocol 4 (clients 1.x and 2.x), revision 4 is Engine.IO 4 with Socket.IO protocol 5.
// Every vector is decoded again by the parser that made it before it is written, so that none claims what npm itself does not read.
// What the fields mean stands in ../wire/vectors/README.md.

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const engine3 = require("eio-parser3");
const engine4 = require("eio-parser4");
const socket4 = require("sio-parser4");
const socket5 = require("sio-parser5");
// Client 1.7.4 brings a parser of its own, whose text differs in places (no comma after a namespace with nothing behind it).
const socket3 = createRequire(require.resolve("sio1"))("socket.io-parser");

const MADE_BY = {
  engine3: "engine.io-parser 2.2.1",
  engine4: "engine.io-parser 5.2.3",
  socket3: "socket.io-parser 2.3.1",
  socket4: "socket.io-parser 3.3.6",
  socket5: "socket.io-parser 4.2.7",
};

const hex = (text) => Buffer.from(text.replace(/ /g, ""), "hex");
const ALL_BYTES = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

/** A value as it stands in the JSON files: binary becomes {"$bin": hex}. */
function plain(value) {
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return { $bin: Buffer.from(value).toString("hex") };
  if (value instanceof ArrayBuffer) return { $bin: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

/** A frame or body as it stands in the JSON files: text as it is, bytes as {"hex": …}. */
const frame = (encoded) => (typeof encoded === "string" ? encoded : { hex: Buffer.from(encoded).toString("hex") });

/** Our own copy of a value, since the parsers put placeholders into what they are given. */
function copy(value) {
  if (Buffer.isBuffer(value)) return Buffer.from(value);
  if (Array.isArray(value)) return value.map(copy);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copy(inner)]));
  }
  return value;
}

/** The one value that a callback is given; the parsers call it before they return. */
function now(call) {
  let given;
  call((value) => (given = value));
  assert.notStrictEqual(given, undefined, "the parser answered later, or not at all");
  return given;
}

// ---------------------------------------------------------------------------------------------------------------- Engine.IO

const OPEN = JSON.stringify({ sid: "Lbo5JLzTotvW3g2LAAAA", upgrades: [], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000000 });
const OPEN_3 = JSON.stringify({ sid: "Lbo5JLzTotvW3g2LAAAA", upgrades: ["websocket"], pingInterval: 25000, pingTimeout: 5000 });

const ENGINE_PACKETS = [
  ["open, revision 4", { type: "open", data: OPEN }, [4]],
  ["open, revision 3", { type: "open", data: OPEN_3 }, [3]],
  ["close", { type: "close" }],
  ["ping", { type: "ping" }],
  ["ping of a probe", { type: "ping", data: "probe" }],
  ["pong", { type: "pong" }],
  ["pong of a probe", { type: "pong", data: "probe" }],
  ["upgrade", { type: "upgrade" }],
  ["noop", { type: "noop" }],
  ["message without text", { type: "message" }],
  ["message", { type: "message", data: "hello" }],
  ["message whose text begins like a packet", { type: "message", data: "4bAQID" }],
  ["message that begins with the letter b", { type: "message", data: "banana" }],
  ["message with digits and a colon", { type: "message", data: "12:34" }],
  ["message with line ends, NUL and quotes", { type: "message", data: 'a\r\nb\u0000c"d\\e\t' }],
  ["message with Latin, Greek, Chinese", { type: "message", data: "é λ 漢字" }],
  ["message with an emoji (two UTF-16 units)", { type: "message", data: "😀" }],
  ["message with a joined emoji", { type: "message", data: "👩‍👩‍👧" }],
  ["message with the last code point", { type: "message", data: "\u{10ffff}" }],
  ["message with line and paragraph separators", { type: "message", data: "\u2028\u2029" }],
  ["message with a byte order mark", { type: "message", data: "\ufeffx" }],
  ["message of 1,000 characters", { type: "message", data: "x".repeat(1000) }],
  ["binary of no byte", { type: "message", data: Buffer.alloc(0) }],
  ["binary of one byte", { type: "message", data: hex("04") }],
  ["binary", { type: "message", data: hex("01 02 03") }],
  ["binary with every byte", { type: "message", data: ALL_BYTES }],
  ["binary whose base64 needs no padding", { type: "message", data: hex("fb ff fe") }],
];

const PAYLOADS = [
  ["one text", [{ type: "message", data: "hello" }]],
  ["two texts", [{ type: "message", data: "hello" }, { type: "message", data: "€" }]],
  ["ten and more characters", [{ type: "message", data: "0123456789" }, { type: "message", data: "x".repeat(123) }]],
  ["control packets", [{ type: "ping", data: "probe" }, { type: "pong" }, { type: "noop" }, { type: "close" }]],
  ["emoji, counted in UTF-16 units", [{ type: "message", data: "😀 λ" }, { type: "message", data: "after" }]],
  ["text that holds lengths and colons", [{ type: "message", data: "3:abc2:xy" }, { type: "message", data: "1:" }]],
  ["one binary", [{ type: "message", data: hex("01 02 03 04") }]],
  ["text, then binary", [{ type: "message", data: "hello" }, { type: "message", data: hex("01 02 03 04") }]],
  ["binary, then text", [{ type: "message", data: hex("ff 00 fe") }, { type: "message", data: "hello" }]],
  ["unicode text beside binary", [{ type: "message", data: "é漢😀" }, { type: "message", data: hex("80 81") }]],
  ["binary of no byte beside text", [{ type: "message", data: Buffer.alloc(0) }, { type: "message", data: "x" }]],
  ["every byte, and many", [{ type: "message", data: ALL_BYTES }, { type: "message", data: hex("01") }, { type: "noop" }]],
];

/** Packet as the decoders give it: no data when there is none. */
function engine_packet(packet) {
  const data = packet.data === "" ? undefined : packet.data;
  return data === undefined ? { type: packet.type } : { type: packet.type, data: plain(data) };
}

function engine_vectors() {
  const vectors = [];
  const add = (revision, carrier, name, packets, encoded) => {
    vectors.push({
      name: `${name}; revision ${revision}, ${carrier}`,
      revision,
      carrier,
      packets: packets.map(engine_packet),
      frames: [frame(encoded)],
      made_by: MADE_BY[`engine${revision}`],
    });
  };
  for (const [name, packet, revisions = [3, 4]] of ENGINE_PACKETS) {
    const binary = Buffer.isBuffer(packet.data);
    if (revisions.includes(3)) {
      const encoded = now((done) => engine3.encodePacket(copy(packet), true, false, done));
      assert.deepStrictEqual(engine_packet(engine3.decodePacket(encoded)), engine_packet(packet), name);
      add(3, "websocket", name, [packet], encoded);
      if (binary) {
        const text = now((done) => engine3.encodePacket(copy(packet), false, false, done));
        assert.deepStrictEqual(engine_packet(engine3.decodePacket(text)), engine_packet(packet), name);
        add(3, "websocket b64", name, [packet], text);
      }
    }
    if (revisions.includes(4)) {
      const encoded = now((done) => engine4.encodePacket(copy(packet), true, done));
      assert.deepStrictEqual(engine_packet(engine4.decodePacket(encoded)), engine_packet(packet), name);
      add(4, "websocket", name, [packet], encoded);
    }
  }
  for (const [name, packets] of PAYLOADS) {
    for (const [carrier, binary_allowed] of [["polling", true], ["polling b64", false]]) {
      const encoded = now((done) => engine3.encodePayload(copy(packets), binary_allowed, done));
      const decoded = [];
      engine3.decodePayload(encoded, (packet) => void decoded.push(engine_packet(packet)));
      assert.deepStrictEqual(decoded, packets.map(engine_packet), name);
      add(3, carrier, name, packets, encoded);
    }
    const encoded = now((done) => engine4.encodePayload(copy(packets), done));
    assert.deepStrictEqual(engine4.decodePayload(encoded).map(engine_packet), packets.map(engine_packet), name);
    add(4, "polling", name, packets, encoded);
  }
  return vectors;
}

// ---------------------------------------------------------------------------------------------------------------- Socket.IO

const TYPES = ["CONNECT", "DISCONNECT", "EVENT", "ACK", "CONNECT_ERROR", "BINARY_EVENT", "BINARY_ACK"];
const type = (name) => TYPES.indexOf(name);

const SEND = { uId: "a", pId: 7, msg: "hi", rno: 0.5, time: 1700000000 };

// name, packet, and, where it is not for both, the revisions.
const SOCKET_PACKETS = [
  ["connect to the default namespace", { type: "CONNECT", namespace: "/" }],
  ["connect to a namespace", { type: "CONNECT", namespace: "/kschat" }],
  ["connect with a query", { type: "CONNECT", namespace: "/kschat", query: "token=a.b.c&ksId=42" }, [3]],
  ["connect with an empty value in the query", { type: "CONNECT", namespace: "/kschat", query: "token=" }, [3]],
  ["connect with an escaped query", { type: "CONNECT", namespace: "/kschat", query: "token=%F0%9F%98%80%2C%20x" }, [3]],
  ["connect with auth to the default namespace", { type: "CONNECT", namespace: "/", data: { token: "a.b.c" } }, [4]],
  ["connect with auth", { type: "CONNECT", namespace: "/kschat", data: { token: "a.b.c", ksId: 42, batch: 1 } }, [4]],
  ["connect with an empty auth", { type: "CONNECT", namespace: "/kschat", data: {} }, [4]],
  ["connect with a recovery", { type: "CONNECT", namespace: "/kschat", data: { token: "t", pid: "p", offset: "12" } }, [4]],
  ["connected", { type: "CONNECT", namespace: "/kschat", data: { sid: "wZX3oN0bSVIhsaknAAAI" } }, [4]],
  ["disconnect from the default namespace", { type: "DISCONNECT", namespace: "/" }],
  ["disconnect from a namespace", { type: "DISCONNECT", namespace: "/kschat" }],
  ["error as a string", { type: "CONNECT_ERROR", namespace: "/kschat", data: "Authentication error" }, [3]],
  ["error as a string in the default namespace", { type: "CONNECT_ERROR", namespace: "/", data: "Invalid namespace" }, [3]],
  ["error as an object", { type: "CONNECT_ERROR", namespace: "/kschat", data: { message: "Authentication error" } }, [4]],
  ["error with data", { type: "CONNECT_ERROR", namespace: "/", data: { message: "no", data: { code: 1 } } }, [4]],
  ["event without arguments", { type: "EVENT", namespace: "/", data: ["hello"] }],
  ["event whose name is a number", { type: "EVENT", namespace: "/", data: [1, 2] }],
  ["event in the default namespace", { type: "EVENT", namespace: "/", data: ["hello", 1, "2", { 3: ["4"] }, null, true] }],
  ["event in a namespace", { type: "EVENT", namespace: "/kschat", data: ["Send", SEND] }],
  ["event with ack id 0", { type: "EVENT", namespace: "/kschat", id: 0, data: ["Send", SEND] }],
  ["event with ack id 0 in the default namespace", { type: "EVENT", namespace: "/", id: 0, data: ["hello"] }],
  ["event with a large ack id", { type: "EVENT", namespace: "/kschat", id: 4294967296, data: ["Send", SEND] }],
  ["event with the largest safe ack id", { type: "EVENT", namespace: "/", id: Number.MAX_SAFE_INTEGER, data: ["x"] }],
  ["event whose first argument is a number", { type: "EVENT", namespace: "/", id: 12, data: ["x", 34] }],
  ["event in a longer namespace", { type: "EVENT", namespace: "/a/b-c_1", id: 3, data: ["x"] }],
  ["event in a namespace with unicode", { type: "EVENT", namespace: "/é漢😀", id: 3, data: ["x"] }],
  ["event with unicode", { type: "EVENT", namespace: "/kschat", data: ["é漢😀", "👩‍👩‍👧 \u{10ffff} \u2028 \ufeff"] }],
  ["event with escapes", { type: "EVENT", namespace: "/kschat", data: ["x", '"\\/\b\f\n\r\t\u0000\u001f\u007f'] }],
  ["event with a lone surrogate", { type: "EVENT", namespace: "/kschat", data: ["x", "a\ud800b", "\udc00"] }],
  ["event with numbers", { type: "EVENT", namespace: "/", data: ["x", 0, -1, 1.5, 1e-7, 9007199254740991, 123456789012] }],
  ["event with nested arrays", { type: "EVENT", namespace: "/", data: ["x", [[[[[]]]]], { a: { b: { c: {} } } }] }],
  ["event with what looks like a placeholder", { type: "EVENT", namespace: "/kschat", data: ["x", { _placeholder: true, num: 0 }] }],
  ["event with text that looks like a packet", { type: "EVENT", namespace: "/", data: ["51-/kschat,", "2[\"x\"]"] }],
  ["ack without arguments", { type: "ACK", namespace: "/", id: 1, data: [] }],
  ["ack with id 0", { type: "ACK", namespace: "/", id: 0, data: ["ok"] }],
  ["ack in a namespace", { type: "ACK", namespace: "/kschat", id: 7, data: [{ RESPONSE: "Send Emit is success.", uId: "a" }] }],
  ["ack with id 0 in a namespace", { type: "ACK", namespace: "/kschat", id: 0, data: [] }],
  ["ack with a large id", { type: "ACK", namespace: "/kschat", id: Number.MAX_SAFE_INTEGER, data: [null] }],
  ["ack with what looks like a placeholder", { type: "ACK", namespace: "/", id: 3, data: [{ _placeholder: true, num: 1 }] }],
  ["binary event", { type: "BINARY_EVENT", namespace: "/", data: ["x", hex("01 02 03")] }],
  ["binary event in a namespace", { type: "BINARY_EVENT", namespace: "/kschat", data: ["Send", { ...SEND, msg: hex("00 ff") }] }],
  ["binary event with ack id 0", { type: "BINARY_EVENT", namespace: "/kschat", id: 0, data: ["Send", { ...SEND, msg: hex("00 ff") }] }],
  ["binary event with a large ack id", { type: "BINARY_EVENT", namespace: "/", id: 4294967296, data: ["x", hex("01")] }],
  ["binary event with an attachment of no byte", { type: "BINARY_EVENT", namespace: "/", data: ["x", Buffer.alloc(0)] }],
  ["binary event with every byte", { type: "BINARY_EVENT", namespace: "/", data: ["x", ALL_BYTES] }],
  [
    "binary event with nested attachments",
    { type: "BINARY_EVENT", namespace: "/kschat", id: 9, data: ["x", { a: [hex("01"), { b: hex("02 03") }], c: "é" }, [[hex("04")]], "end"] },
  ],
  [
    "binary event with ten attachments",
    { type: "BINARY_EVENT", namespace: "/", data: ["x", ...Array.from({ length: 10 }, (_, n) => Buffer.from([n]))] },
  ],
  ["binary event with the same bytes twice", { type: "BINARY_EVENT", namespace: "/", data: ["x", hex("0a"), hex("0a")] }],
  ["binary ack", { type: "BINARY_ACK", namespace: "/", id: 0, data: [hex("05")] }],
  ["binary ack in a namespace", { type: "BINARY_ACK", namespace: "/kschat", id: 11, data: [{ file: hex("05 06"), list: [1, hex("07")] }] }],
];

// Texts that npm's clients or people send and no parser of today writes: to be read, not to be written.
const READ_ONLY = [
  ["disconnect without the comma", 4, ["1/kschat"], { type: "DISCONNECT", namespace: "/kschat" }],
  ["connect without the comma", 4, ["0/kschat"], { type: "CONNECT", namespace: "/kschat" }],
  ["JSON with spaces", 4, ['2/kschat,5[ "x" , { "a" : 1 } ]'], { type: "EVENT", namespace: "/kschat", id: 5, data: ["x", { a: 1 }] }],
  ["JSON with escaped unicode", 4, ['2["\\u00e9\\ud83d\\ude00"]'], { type: "EVENT", namespace: "/", data: ["é😀"] }],
  ["default namespace written out", 4, ['2/,["x"]'], { type: "EVENT", namespace: "/", data: ["x"] }],
  ["ack id with leading zeros", 4, ['2/kschat,007["x"]'], { type: "EVENT", namespace: "/kschat", id: 7, data: ["x"] }],
  [
    "placeholders out of order",
    4,
    ['52-["x",{"_placeholder":true,"num":1},{"num":0,"_placeholder":true}]', hex("aa"), hex("bb")],
    { type: "BINARY_EVENT", namespace: "/", data: ["x", hex("bb"), hex("aa")] },
  ],
];

// What npm's decoders refuse. (They let pass much that they should not; those cases are no vectors.)
const REFUSED = [
  ["no packet type", "x"],
  ["unknown packet type", '7["x"]'],
  ["unknown packet type 9", "9"],
  ["event that is an object", '2{"a":1}'],
  ["event that is a string", '2"x"'],
  ["event that is empty", "2[]"],
  ["event whose name is an object", "2[{}]"],
  ["event whose name is null", "2[null]"],
  ["event with text that is no JSON", '2["x"'],
  ["event with text after the JSON", '2["x"]y'],
  ["event with an id that is no number", '2/kschat,1a["x"]'],
  ["ack that is an object", "31{}"],
  ["ack without JSON", "31["],
  ["disconnect with a payload", "1{}"],
  ["binary event without a count", '5-["x"]', [4]],
  ["binary event with a count that is no number", '5a-["x"]'],
  ["binary event with a negative count", '5-1-["x"]'],
  ["binary event with a fraction", '51.5-["x"]'],
  ["binary event without the dash", '51["x"]'],
  ["binary event with count 0", '50-["x"]'],
  ["binary event with far too many attachments", '51000-["x"]'],
  ["binary event that ends too early", "51"],
  ["bytes that nobody announced", hex("01")],
  ["text where bytes were announced", ['51-["x",{"_placeholder":true,"num":0}]', '2["x"]']],
  ["placeholder beyond the attachments", ['51-["x",{"_placeholder":true,"num":1}]', hex("01")]],
  ["placeholder with a negative number", ['51-["x",{"_placeholder":true,"num":-1}]', hex("01")]],
  ["placeholder with a text for number", ['51-["x",{"_placeholder":true,"num":"0"}]', hex("01")]],
  ["placeholder without a number", ['51-["x",{"_placeholder":true}]', hex("01")]],
  ["connect with an array", "0[]", [4]],
  ["connect with a text", '0"x"'],
  ["reserved event name connect", '2["connect"]', [4]],
  ["reserved event name disconnecting", '2["disconnecting",1]', [4]],
  ["reserved event name connect_error", '2/kschat,["connect_error",1]', [4]],
  ["reserved event name newListener", '2["newListener"]', [4]],
];

const SOCKET_PARSERS = { 3: socket4, 4: socket5 };

function encode_socket(parser, revision, packet) {
  const query = packet.query === undefined ? "" : "?" + packet.query;
  const given = { type: type(packet.type), nsp: packet.namespace + query };
  if (packet.id !== undefined) given.id = packet.id;
  if (packet.data !== undefined) given.data = copy(packet.data);
  const encoder = new parser.Encoder();
  if (revision === 3) return now((done) => encoder.encode(given, done));
  // The newer encoder finds binary by itself; given type 5 it would not take the attachments out.
  if (given.type >= 5) given.type -= 3;
  return encoder.encode(given);
}

/** What the decoder makes of frames: a packet like those above; throws where npm refuses. */
function decode_socket(parser, frames, binary) {
  const decoder = new parser.Decoder();
  const decoded = [];
  decoder.on("decoded", (packet) => decoded.push(packet));
  for (const one of frames) decoder.add(one);
  if (decoded.length !== 1) throw new Error("incomplete packet");
  const [packet] = decoded;
  if (packet.type === 4 && typeof packet.data === "string" && packet.data.startsWith("parser error")) throw new Error(packet.data);
  const [namespace, query] = packet.nsp.split(/\?(.*)/s);
  const plain_type = packet.type + (binary && packet.type < 5 ? 3 : 0);
  return strip({ type: TYPES[plain_type], namespace, query, id: packet.id, data: packet.data });
}

function strip(packet) {
  const { type, namespace, query, id, data } = packet;
  const result = { type, namespace };
  if (query !== undefined) result.query = query;
  if (id !== undefined) result.id = id;
  if (data !== undefined) result.data = plain(data);
  return result;
}

function socket_vectors() {
  const vectors = [];
  const add = (name, revision, made_by, packet, frames, write) => {
    const fields = { name: `${name}; revision ${revision}`, revision, packet: strip(packet), frames: frames.map(frame), write };
    vectors.push({ ...fields, made_by });
  };
  for (const [name, packet, revisions = [3, 4]] of SOCKET_PACKETS) {
    const binary = packet.type.startsWith("BINARY");
    for (const revision of revisions) {
      const parser = SOCKET_PARSERS[revision];
      const frames = encode_socket(parser, revision, packet);
      assert.deepStrictEqual(decode_socket(parser, frames, binary), strip(packet), name);
      add(name, revision, MADE_BY[`socket${revision + 1}`], packet, frames, true);
      if (revision === 3) {
        const oldest = encode_socket(socket3, 3, packet);
        if (JSON.stringify(oldest.map(frame)) !== JSON.stringify(frames.map(frame))) {
          add(`${name}, as client 1.7.4 writes it`, 3, MADE_BY.socket3, packet, oldest, false);
        }
      }
    }
  }
  for (const [name, revision, frames, packet] of READ_ONLY) {
    const parser = SOCKET_PARSERS[revision];
    assert.deepStrictEqual(decode_socket(parser, frames, packet.type.startsWith("BINARY")), strip(packet), name);
    add(name, revision, "hand", packet, frames, false);
  }
  return vectors;
}

function refused_vectors() {
  const vectors = [];
  for (const [name, given, revisions = [3, 4]] of REFUSED) {
    const frames = Array.isArray(given) ? given : [given];
    for (const revision of revisions) {
      let why = null;
      try {
        decode_socket(SOCKET_PARSERS[revision], frames, false);
      } catch (error) {
        why = error.message;
      }
      assert.notStrictEqual(why, null, `npm takes "${name}" in revision ${revision}`);
      vectors.push({ name: `${name}; revision ${revision}`, revision, frames: frames.map(frame), npm_says: why });
    }
  }
  return vectors;
}

// -------------------------------------------------------------------------------------------------------------------- files

/** One vector a line, so that a change is read in a diff; only ASCII, so that what looks alike cannot be taken for the same. */
function listing(vectors) {
  const names = vectors.map((vector) => vector.name);
  assert.strictEqual(new Set(names).size, names.length, "a name stands twice");
  const ascii = (text) => text.replace(/[\u007f-\uffff]/g, (unit) => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0"));
  return "[\n" + vectors.map((vector) => ascii(JSON.stringify(vector))).join(",\n") + "\n]\n";
}

const directory = process.argv[2] || path.join(__dirname, "..", "wire", "vectors");
fs.mkdirSync(directory, { recursive: true });
for (const [name, vectors] of [["engineio", engine_vectors()], ["socketio", socket_vectors()], ["refused", refused_vectors()]]) {
  fs.writeFileSync(path.join(directory, `${name}.json`), listing(vectors));
  console.log(`${name}.json: ${vectors.length} vectors`);
}
