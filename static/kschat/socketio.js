// A small Socket.IO client: Engine.IO revision 4, Socket.IO revision 5, over WebSocket only, one namespace.
//
//   const socket = new Socket("ws://127.0.0.1:3000/socket.io/", {namespace: "/kschat", auth: {token}});
//   socket.on("connect", () => …);             also: "disconnect" (reason, seconds), "refused" (message)
//   socket.on("RESPRECEIVER", (payload, ack) => …);
//   await socket.request("Send", {…});         resolves with the ack's first argument
//   socket.connect();
//
// It reconnects automatically, with a growing delay, until close() is called or the namespace refuses it. It keeps no
// messages: a request made while the connection is lost is rejected with Lost, and the caller decides what to do.
// Follows socketio/socket.io, docs/engine.io-protocol/v4-current.md and docs/socket.io-protocol/v5-current.md.

const OPEN = "0", CLOSE = "1", PING = "2", PONG = "3", MESSAGE = "4";
const CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4, BINARY_EVENT = 5, BINARY_ACK = 6;
const RESERVED = new Set(["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]);

/** The connection was lost before the answer arrived: it is unknown whether the server received the event. */
export class Lost extends Error {}
/** The packet is larger than the server accepts; it was not sent. */
export class TooLarge extends Error {}
/** No answer arrived in time. */
export class Late extends Error {}

/** @typedef {{type: number, attachments: number, namespace: string, id: number|null, data: any}} Packet */

const DEFAULTS = {
  namespace: "/",
  auth: /** @type {any} */ (undefined), // goes into the CONNECT packet; a function is called at each connection
  query: /** @type {Record<string, string>} */ ({}),
  handshakeTimeout: 10, // seconds until the namespace must be joined
  ackTimeout: 20, // seconds until a request must be answered
  firstDelay: 0.5, // seconds before the first reconnect; doubles each time, plus or minus half
  longestDelay: 20,
  // Everything from outside this file, so that a test can replace it.
  WebSocket: /** @type {new (url: string) => WebSocket} */ (globalThis.WebSocket),
  setTimeout: (/** @type {() => void} */ run, /** @type {number} */ milliseconds) => /** @type {any} */ (setTimeout(run, milliseconds)),
  clearTimeout: (/** @type {any} */ timer) => clearTimeout(timer),
  now: () => performance.now(),
  random: Math.random,
};

export class Socket {
  #url;
  #options;
  /** @type {Map<string, (...args: any[]) => void>} */ #listeners = new Map();
  #state = "closed"; // closed, waiting (for the next try), opening, open
  /** @type {WebSocket|null} */ #websocket = null;
  /** @type {any} */ #retryTimer = null;
  /** @type {any} */ #joinTimer = null;
  /** @type {any} */ #silenceTimer = null;
  #heard = 0; // time of the last frame from the server, milliseconds
  #silence = 0; // how long it may be silent, milliseconds
  #tries = 0;
  /** @type {number|null} */ #wait = null; // seconds that the server asked to wait
  #nextId = 0;
  /** @type {Map<number|null, {resolve: (answer: any) => void, reject: (error: Error) => void, timer: any}>} */ #requests = new Map(); // ack id -> {resolve, reject, timer}
  /** @type {{packet: Packet, attachments: (ArrayBuffer|Blob)[]}|null} */ #incoming = null; // a packet that waits for its attachments
  maxPayload = Infinity; // bytes of one packet, as announced by the server

  /** @param {string|URL} url @param {Partial<typeof DEFAULTS>} [options] */
  constructor(url, options = {}) {
    this.#url = new URL(url);
    this.#options = {...DEFAULTS, ...options};
    this.#url.search = new URLSearchParams({...this.#options.query, EIO: "4", transport: "websocket"}).toString();
  }

  get connected() { return this.#state === "open"; }

  /** When the last frame arrived, by `now`. */
  get heard() { return this.#heard; }

  /** Gives the connection up, as if it had been lost; the next try follows. @param {string} reason */
  giveUp(reason) { if (this.#state === "opening" || this.#state === "open") this.#lose(reason); }

  /** @param {string} event @param {(...args: any[]) => void} listener */
  on(event, listener) { this.#listeners.set(event, listener); }

  /** Connects; if it is waiting for the next try, it connects at once. */
  connect() {
    if (this.#state === "opening" || this.#state === "open") return;
    this.#options.clearTimeout(this.#retryTimer);
    this.#state = "opening";
    this.#joinTimer = this.#timer(this.#options.handshakeTimeout, () => this.#lose("no answer to the handshake"));
    let websocket;
    try {
      websocket = new this.#options.WebSocket(this.#url.href);
    } catch (error) {
      this.#lose(String(error));
      return;
    }
    websocket.binaryType = "arraybuffer";
    // An abandoned socket may still deliver events: ignore them.
    websocket.onmessage = ({data}) => { if (websocket === this.#websocket) this.#received(data); };
    websocket.onclose = () => { if (websocket === this.#websocket) this.#lose("the connection was closed"); };
    this.#websocket = websocket;
  }

  /** Disconnects permanently; connect() connects again. */
  close() {
    if (this.#state === "open") this.#write(this.#packet(DISCONNECT));
    this.#drop(new Lost("closed"));
    this.#state = "closed";
  }

  /** Delays the next try to connect by this many seconds, as requested by a server that shuts down. @param {number} seconds */
  waitBeforeNext(seconds) { this.#wait = seconds; }

  /** Sends an event without an answer; returns whether it was sent. @param {string} event @param {any[]} args */
  emit(event, ...args) {
    if (!this.connected) return false;
    this.#send(EVENT, [event, ...args]);
    return true;
  }

  /** Sends an event; resolves with the first argument of its ack, rejects with Lost, Late or TooLarge. @param {string} event @param {any[]} args @returns {Promise<any>} */
  request(event, ...args) {
    return new Promise((resolve, reject) => {
      if (!this.connected) throw new Lost("not connected");
      const id = this.#nextId++;
      this.#send(EVENT, [event, ...args], id);
      const timer = this.#timer(this.#options.ackTimeout, () => {
        this.#requests.delete(id);
        reject(new Late("no answer in time"));
      });
      this.#requests.set(id, {resolve, reject, timer});
    });
  }

  /** @param {number} seconds @param {() => void} run */
  #timer(seconds, run) { return this.#options.setTimeout(run, seconds * 1000); }

  /** @param {string} event @param {any[]} args */
  #tell(event, ...args) { this.#listeners.get(event)?.(...args); }

  // Engine.IO

  /** @param {any} frame */
  #received(frame) {
    this.#heard = this.#options.now();
    try {
      if (typeof frame === "string") this.#engine(frame[0], frame.slice(1));
      else this.#attachment(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lose(error.message);
    }
  }

  /** @param {string|undefined} type @param {string} rest */
  #engine(type, rest) {
    if (type === MESSAGE) {
      if (this.#incoming) throw new ProtocolError("text came where an attachment was due");
      this.#dispatch(decode(rest));
    } else if (type === PING) {
      this.#write(PONG + rest);
    } else if (type === OPEN) {
      const {pingInterval, pingTimeout, maxPayload} = parse(rest);
      this.maxPayload = maxPayload ?? Infinity;
      this.#silence = pingInterval + pingTimeout;
      this.#watch(this.#silence);
      const {auth} = this.#options;
      this.#write(this.#packet(CONNECT, typeof auth === "function" ? auth() : auth));
    } else if (type === CLOSE) {
      this.#lose("the server closed the connection");
    } // Anything else, such as a noop, needs no answer.
  }

  /** Closes the connection if nothing arrived for the ping interval plus the ping timeout. @param {number} milliseconds */
  #watch(milliseconds) {
    this.#silenceTimer = this.#options.setTimeout(() => {
      const left = this.#heard + this.#silence - this.#options.now();
      if (left > 0) this.#watch(left); // One timer that checks again, instead of a new one for each packet.
      else this.#lose("the server fell silent");
    }, milliseconds);
  }

  /** @param {string} reason */
  #lose(reason) {
    const wasOpen = this.#state === "open";
    this.#drop(new Lost(reason));
    this.#state = "waiting";
    const {firstDelay, longestDelay, random} = this.#options;
    const backOff = Math.min(longestDelay, firstDelay * 2 ** this.#tries++) * (0.5 + random());
    const seconds = this.#wait ?? backOff;
    this.#wait = null;
    this.#retryTimer = this.#timer(seconds, () => { this.connect(); });
    this.#tell("disconnect", reason, seconds, wasOpen);
  }

  /** @param {Error} error */
  #drop(error) {
    const websocket = this.#websocket;
    this.#websocket = null;
    this.#incoming = null;
    for (const timer of [this.#retryTimer, this.#joinTimer, this.#silenceTimer]) this.#options.clearTimeout(timer);
    if (websocket) websocket.close();
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const {reject, timer} of requests) {
      this.#options.clearTimeout(timer);
      reject(error);
    }
  }

  /** @param {(any|any[])[]} frames */
  #write(...frames) { for (const frame of frames.flat()) this.#websocket?.send(frame); }

  // Socket.IO

  /** @param {number} type @param {any} [data] @param {number|""} [id] @param {any[]} [attachments] */
  #packet(type, data, id = "", attachments = []) {
    const {namespace} = this.#options;
    const count = type === BINARY_EVENT || type === BINARY_ACK ? `${attachments.length}-` : "";
    const where = namespace === "/" ? "" : `${namespace},`;
    return [`${MESSAGE}${type}${count}${where}${id}${data === undefined ? "" : JSON.stringify(data)}`, ...attachments];
  }

  /** @param {number} type @param {any[]} args @param {number} [id] */
  #send(type, args, id) {
    /** @type {any[]} */
    const attachments = [];
    const data = takeOut(args, attachments);
    const binary = type === EVENT ? BINARY_EVENT : BINARY_ACK;
    const frames = this.#packet(attachments.length ? binary : type, data, id, attachments);
    if (frames.some((frame) => size(frame) > this.maxPayload)) throw new TooLarge("larger than the server takes");
    this.#write(frames);
  }

  /** @param {ArrayBuffer|Blob} data */
  #attachment(data) {
    if (!this.#incoming) throw new ProtocolError("an attachment came that no packet announced");
    const {packet, attachments} = this.#incoming;
    attachments.push(data);
    if (attachments.length < packet.attachments) return;
    this.#incoming = null;
    packet.data = putIn(packet.data, attachments);
    this.#deliver(packet);
  }

  /** @param {Packet} packet */
  #dispatch(packet) {
    if (packet.namespace !== this.#options.namespace) return;
    if (packet.attachments) this.#incoming = {packet, attachments: []};
    else this.#deliver(packet);
  }

  /** @param {Packet} packet */
  #deliver({type, id, data}) {
    if (type === CONNECT && this.#state === "opening") {
      this.#state = "open";
      this.#tries = 0;
      this.#options.clearTimeout(this.#joinTimer);
      this.#tell("connect");
    } else if (type === CONNECT_ERROR) {
      this.#drop(new Lost("refused"));
      this.#state = "closed";
      this.#tell("refused", data?.message ?? String(data));
    } else if (type === DISCONNECT) {
      this.#lose("the server ended the session");
    } else if (this.#state === "open" && (type === EVENT || type === BINARY_EVENT)) {
      const [event, ...args] = data;
      if (RESERVED.has(event)) return;
      if (id !== null) args.push((/** @type {any[]} */ ...answer) => { if (this.connected) this.#send(ACK, answer, id); });
      this.#tell(event, ...args);
    } else if (type === ACK || type === BINARY_ACK) {
      const request = this.#requests.get(id);
      this.#requests.delete(id);
      this.#options.clearTimeout(request?.timer);
      request?.resolve(data[0]);
    }
  }
}

class ProtocolError extends Error {}

/** @param {string} text @returns {any} */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new ProtocolError("the server sent no JSON");
  }
}

/** `TYPE[ATTACHMENTS-][NAMESPACE,][ID][JSON]`, without the Engine.IO type. @param {string} text @returns {Packet} */
function decode(text) {
  const match = /^([0-6])(?:(\d+)-)?(?:(\/[^,]*),?)?(\d+)?(.*)$/s.exec(text);
  if (!match) throw new ProtocolError("the server sent a packet that is none");
  const [, type, attachments, namespace = "/", id, json] = match;
  const packet = {
    type: Number(type),
    attachments: Number(attachments ?? 0),
    namespace: namespace.split("?")[0],
    id: id === undefined ? null : Number(id),
    data: json ? parse(json) : undefined,
  };
  const carriesList = [EVENT, ACK, BINARY_EVENT, BINARY_ACK].includes(packet.type);
  if (carriesList && !Array.isArray(packet.data)) throw new ProtocolError("the server sent an event that is no array");
  return packet;
}

const isBinary = (/** @type {unknown} */ value) =>
  value instanceof ArrayBuffer || ArrayBuffer.isView(value) || (typeof Blob === "function" && value instanceof Blob);

/** A copy of `value` with placeholders for binary data, which is appended to `attachments`. @param {any} value @param {any[]} attachments @returns {any} */
function takeOut(value, attachments) {
  if (isBinary(value)) return {_placeholder: true, num: attachments.push(value) - 1};
  if (Array.isArray(value)) return value.map((inner) => takeOut(inner, attachments));
  if (value === null || typeof value !== "object" || typeof value.toJSON === "function") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, takeOut(inner, attachments)]));
}

/** A copy of `value` with the attachments in place of their placeholders. @param {any} value @param {any[]} attachments @returns {any} */
function putIn(value, attachments) {
  if (value === null || typeof value !== "object") return value;
  if (value._placeholder === true) {
    if (!Number.isInteger(value.num) || !(value.num in attachments)) throw new ProtocolError("a placeholder names no attachment");
    return attachments[value.num];
  }
  if (Array.isArray(value)) return value.map((inner) => putIn(inner, attachments));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, putIn(inner, attachments)]));
}

/** Bytes of a frame on the wire. @param {any} frame @returns {number} */
function size(frame) {
  if (typeof frame === "string") return new TextEncoder().encode(frame).length;
  return frame.byteLength ?? frame.size;
}
