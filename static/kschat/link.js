// The connection to the daemon, and how the tabs of one user share it.
//
// The tab that holds a Web Lock leads: it has the connection. The others ask it over a BroadcastChannel. When it is closed or
// crashes, the browser gives the lock to the next; when it is frozen, another tab steals the lock. Without locks each tab is alone.
//
// Each tab answers for its own token. One that leads shows it to the server when it connects. One that follows shows it to the tab that
// leads, which asks the server; it is admitted before it sees, or says, anything. A tab whose token is refused stands aside.

import {Late, Lost, Socket, TooLarge} from "./socketio.js";

/** @import {Environment, Status} from "./types.js" */

const QUIET = 15; // seconds of silence, while the page is visible, after which the connection is probed
const PROBE = 5; // seconds for the answer
const NOT_ALLOWED = 6; // the server's ER for a token that is not valid, or another user's
const RENEW = 5; // seconds until the page is asked for a token again, after that failed
const BEAT = 5; // seconds between a follower's questions whether the leader is there
const MISSED = 3; // beats without an answer after which its lock is stolen
const GONE = 300; // seconds without a word after which another tab counts as closed
const ASLEEP = 150; // seconds between two beats of a tab that was frozen; hidden ones have a beat a minute
const FOLLOWERS_PATIENCE = 30; // seconds for an answer through another tab

/** @type {Record<string, string>} */
const WORDS = {
  connecting: "Connecting…", connected: "Connected.", offline: "This device is offline.", ended: "Logged out.",
  lost: "The connection was lost.", silent: "The server does not answer.", drain: "The server is restarting.",
  slow: "This connection was too slow.", "too large": "Something was larger than the server accepts.",
  rate: "Too much was sent; the server asked for a pause.", token: "The token has expired or is not valid.",
  revoked: "The token was revoked.", replaced: "There are too many connections of this user.", logout: "Logged out.",
  namespace: "This server has no chat.", refused: "The server refuses the connection.",
};

/** @param {Status["state"]} state @param {Status["code"]} [code] @param {Partial<Status>} [more] @returns {Status} */
export function status(state, code = "", more = {}) {
  return {state, code, words: WORDS[code] ?? WORDS[state] ?? "", retryAt: null, again: state === "waiting" || state === "offline", ...more};
}

/**
 * One connection. `hear` is called with each event of the server, `tell` with each status.
 * @typedef {{url: URL, user: string, token: string, renew: null | (() => any), environment: Environment,
 *   hear: (event: string, payload: any, ack?: () => void) => void, tell: (status: Status, limit: number) => void}} Wiring
 */

export class Connection {
  /** @type {any} */ #socket;
  /** @type {Wiring} */ #with;
  /** @type {string} */ #token;
  /** @type {Status["code"]} */ #why = "";
  /** @type {any} */ #probe = null;
  #probing = false;
  #renewing = false;
  #stopped = false;
  /** @type {string|null} */ #refusedToken = null;
  /** @type {Status} */ status = status("connecting");

  /** @param {Wiring} wiring */
  constructor(wiring) {
    this.#with = wiring;
    this.#token = wiring.token;
    const {WebSocket, setTimeout, clearTimeout, now, random} = wiring.environment;
    const auth = () => ({token: this.#token, ksId: wiring.user, goodbye: 1, typing: 1, receipts: 1, carbons: 1, batch: 1, updates: 1});
    this.#socket = new Socket(wiring.url, {namespace: "/kschat", auth, WebSocket, setTimeout, clearTimeout, now, random});
    this.#socket.on("connect", () => {
      this.#why = "";
      this.#refusedToken = null;
      this.#tell(status("connected"));
    });
    this.#socket.on("disconnect", (/** @type {string} */ reason, /** @type {number} */ seconds) => { this.#lost(reason, seconds); });
    this.#socket.on("refused", (/** @type {string} */ why) => { void this.#refused(why); });
    for (const event of ["RESPRECEIVER", "RESPSTATUS", "RESPCARBON", "RESPTYPING", "RESPPRESENCE", "RESPREAD", "RESPUPDATE"]) {
      this.#socket.on(event, (/** @type {any} */ payload, /** @type {any} */ ack) => {
        wiring.hear(event, payload, typeof ack === "function" ? ack : undefined);
      });
    }
    this.#socket.on("Goodbye", (/** @type {any} */ goodbye) => {
      this.#why = goodbye?.reason in WORDS ? goodbye.reason : "lost";
      if (Number.isFinite(goodbye?.retryIn)) this.#socket.waitBeforeNext(Math.max(0, goodbye.retryIn) + random());
    });
    this.#socket.on("TokenExpiring", () => { void this.#renew(false); });
  }

  get limit() { return this.#socket.maxPayload; }

  /** Whether it is this connection's token. @param {string} token */
  has(token) { return token === this.#token; }

  /**
   * Whether the server accepts a token of another tab as one of this user.
   *
   * @param {string} token
   * @returns {Promise<boolean|null>}  null: it could not be asked.
   */
  async accepts(token) {
    if (this.has(token)) return true;
    const asked = this.request("Token", {token});
    // The socket keeps this tab's own: both are on their way, in this order.
    void this.request("Token", {token: this.#token}).catch(ignore);
    const {ER = 0} = (await asked.catch(ignore)) ?? {ER: -1};
    return ER === NOT_ALLOWED ? false : ER === 0 || null;
  }

  start() {
    const {events, page} = this.#with.environment;
    events?.addEventListener("offline", this.#offline);
    events?.addEventListener("online", this.#online);
    page?.addEventListener("visibilitychange", this.#seen);
    this.#watch();
    if (this.#with.environment.online()) this.#connect();
    else this.#tell(status("offline"));
  }

  /** Ends it for good. @param {Status} [last] */
  stop(last) {
    if (this.#stopped) return;
    this.#stopped = true;
    const {events, page, clearTimeout} = this.#with.environment;
    events?.removeEventListener("offline", this.#offline);
    events?.removeEventListener("online", this.#online);
    page?.removeEventListener("visibilitychange", this.#seen);
    clearTimeout(this.#probe);
    this.#socket.close();
    if (last) this.#tell(last);
  }

  /** Tries at once. */
  connect() {
    if (this.#stopped || this.status.state === "connected") return;
    this.#connect();
  }

  /** @param {string} token */
  setToken(token) {
    this.#token = token;
    if (this.#socket.connected) void this.request("Token", {token}).catch(ignore);
    else if (this.status.state === "refused") this.#connect();
  }

  /** @param {string} event @param {any} payload @returns {Promise<any>} */
  request(event, payload) { return this.#socket.request(event, ...(payload === undefined ? [] : [payload])); }

  /** @param {string} event @param {any} payload */
  emit(event, payload) { this.#socket.emit(event, payload); }

  /** Gives the connection up that does not answer; the next try follows. */
  giveUp() {
    this.#why = "silent";
    this.#socket.giveUp("no answer");
  }

  #connect() {
    this.#tell(status("connecting"));
    this.#socket.connect();
  }

  /** @param {Status} now */
  #tell(now) {
    this.status = now;
    this.#with.tell(now, this.limit);
  }

  /** @param {string} reason @param {number} seconds */
  #lost(reason, seconds) {
    const why = this.#why || (reason.includes("silent") ? "silent" : "lost");
    this.#why = "";
    if (["token", "revoked"].includes(why)) {
      this.#socket.close();
      void this.#renew(true, /** @type {Status["code"]} */ (why));
    } else if (why === "logout") {
      this.stop(status("ended", "logout"));
    } else if (why === "replaced") {
      this.#socket.close();
      this.#tell(status("refused", "replaced", {again: true}));
    } else if (!this.#with.environment.online()) {
      this.#socket.close();
      this.#tell(status("offline"));
    } else {
      this.#tell(status("waiting", /** @type {Status["code"]} */ (why), {retryAt: this.#with.environment.time() + seconds * 1000}));
    }
  }

  /** @param {string} why */
  async #refused(why) {
    if (why === "Authentication error") await this.#renew(true);
    else this.#tell(status("refused", why === "Invalid namespace" ? "namespace" : "refused", {again: true}));
  }

  /** Asks the page for another token. @param {boolean} closed @param {Status["code"]} [code] */
  async #renew(closed, code = "token") {
    if (this.#renewing) return;
    this.#renewing = true;
    const before = this.#token;
    let token = null, failed = false;
    try {
      if (this.#refusedToken !== before || !closed) token = (await this.#with.renew?.()) ?? null;
    } catch {
      failed = true; // such as a fetch without a network: asked again
    } finally {
      this.#renewing = false;
    }
    if (this.#stopped) return;
    if (closed && this.#token !== before) this.#connect(); // setToken came first
    else if (token && token !== before) {
      this.#token = token;
      if (closed && !this.#socket.connected) {
        this.#refusedToken = token;
        this.#connect();
      } else {
        await this.request("Token", {token}).catch(ignore);
      }
    } else if (closed && failed) {
      const {time, setTimeout} = this.#with.environment;
      this.#tell(status("waiting", code, {retryAt: time() + RENEW * 1000}));
      setTimeout(() => { if (!this.#stopped && this.status.state === "waiting") this.#connect(); }, RENEW * 1000);
    } else if (closed) {
      this.#tell(status("refused", code));
    }
  }

  #offline = () => {
    this.#socket.close();
    this.#tell(status("offline"));
  };

  #online = () => { if (this.status.state === "offline" || this.status.state === "waiting") this.#connect(); };

  #seen = () => {
    if (!this.#with.environment.visible()) return;
    if (this.status.state === "waiting") this.#connect();
    else this.check(2);
  };

  #watch() {
    this.#probe = this.#with.environment.setTimeout(() => {
      this.#watch();
      if (this.#with.environment.visible()) this.check(QUIET);
    }, PROBE * 1000);
  }

  /** Probes the connection if nothing was heard for so many seconds. @param {number} quiet */
  check(quiet) {
    const {now, setTimeout} = this.#with.environment;
    if (this.#probing || !this.#socket.connected || now() - this.#socket.heard < quiet * 1000) return;
    this.#probing = true;
    const asked = now();
    let answered = false;
    this.request("Token", {token: this.#token}).then(() => { answered = true; }, ignore);
    setTimeout(() => {
      this.#probing = false;
      if (!this.#stopped && this.#socket.connected && !answered && this.#socket.heard <= asked) this.giveUp();
    }, PROBE * 1000);
  }
}

function ignore() { /* the connection's status tells it */ }

/**
 * The connection as each tab sees it.
 * @typedef {Omit<Wiring, "tell"> & {name: string, shared: boolean, tell: (status: Status, limit: number) => void,
 *   note: (note: any) => void, leads: (leads: boolean) => void}} Sharing
 */

export class Link {
  /** @type {Sharing} */ #with;
  /** @type {Connection|null} */ #connection = null;
  /** @type {BroadcastChannel|null} */ #channel = null;
  /** @type {(() => void)|null} */ #release = null;
  /** @type {AbortController|null} */ #queued = null;
  /** @type {Map<number, {resolve: (answer: any) => void, reject: (error: Error) => void, timer: any}>} */ #asked = new Map();
  /** @type {Map<string, string[]>} */ #watched = new Map();
  /** When the other tabs were last heard of. @type {Map<string, number>} */ #tabs = new Map();
  /** Tokens of tabs that wait to be admitted. @type {Map<string, string>} */ #applicants = new Map();
  /** Whether the tab that leads has had this one's token accepted. */
  #admitted = false;
  /** Whether this tab stands aside, since its token was refused. */
  #aside = false;
  /** @type {string|null} */ #renewed = null;
  #tab;
  #next = 0;
  #silent = 0;
  /** @type {any} */ #beat = null;
  #stopped = false;
  #token;
  limit = Infinity;
  /** @type {Status} */ status = status("connecting");

  /** @param {Sharing} sharing */
  constructor(sharing) {
    this.#with = sharing;
    this.#token = sharing.token;
    this.#tab = `${sharing.environment.time()}-${sharing.environment.random()}`;
  }

  get leader() { return this.#connection !== null; }

  start() {
    const {locks, BroadcastChannel} = this.#with.environment;
    if (!this.#with.shared || !locks || !BroadcastChannel) return this.#lead();
    try {
      this.#channel = new BroadcastChannel(this.#with.name);
    } catch {
      return this.#lead(); // a frame to which the browser gives nothing that tabs share
    }
    this.#channel.onmessage = ({data}) => { this.#heard(data); };
    this.#apply();
    this.#beats();
  }

  /** Asks for the lock, and the tab that has it to be admitted. */
  #apply() {
    this.#aside = false;
    this.#queue(false);
    this.#post({kind: "hello", token: this.#token});
  }

  stop() {
    this.#stopped = true;
    this.#with.environment.clearTimeout(this.#beat);
    this.#queued?.abort();
    this.#post({kind: "watch", ids: []});
    this.#follow();
    this.#release?.();
    this.#channel?.close();
    this.#channel = null;
    this.#fail(new Lost("stopped"));
    this.#status(status("ended"), this.limit);
  }

  connect() {
    if (this.#connection) this.#connection.connect();
    else if (this.#aside) this.#again();
    else this.#post({kind: "connect"});
  }

  /** With another token, perhaps. */
  #again() {
    this.#status(status("connecting"), this.limit);
    this.#apply();
  }

  /** @param {string} token */
  setToken(token) {
    this.#token = token;
    if (this.#connection) this.#connection.setToken(token);
    else if (this.#aside) this.#again();
    else if (this.#channel) this.#post(this.#admitted ? {kind: "token", token} : {kind: "hello", token});
  }

  /** @param {string} event @param {any} [payload] @returns {Promise<any>} Rejected with Lost, Late or TooLarge. */
  request(event, payload) {
    if (this.#connection) return this.#connection.request(event, payload);
    if (this.#stopped || this.status.state !== "connected") return Promise.reject(new Lost("not connected"));
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      const timer = this.#with.environment.setTimeout(() => {
        this.#asked.delete(id);
        reject(new Late("no answer"));
      }, FOLLOWERS_PATIENCE * 1000);
      this.#asked.set(id, {resolve, reject, timer});
      this.#post({kind: "request", id, event, payload});
    });
  }

  /** @param {string} event @param {any} payload */
  emit(event, payload) {
    if (this.#connection) this.#connection.emit(event, payload);
    else if (this.#admitted) this.#post({kind: "emit", event, payload});
  }

  /** To the other tabs. @param {any} note */
  note(note) { if (this.#connection || this.#admitted) this.#post({kind: "note", note}); }

  giveUp() { this.#connection?.giveUp(); }

  /** Whose presence this tab shows. @param {string[]} ids */
  watch(ids) {
    this.#watched.set(this.#tab, ids);
    if (this.#connection) this.#present();
    else if (this.#admitted) this.#post({kind: "watch", ids});
  }

  /** @param {any} message */
  #post(message) { this.#channel?.postMessage({...message, tab: this.#tab}); }

  /** @param {boolean} steal */
  #queue(steal) {
    const {locks} = this.#with.environment;
    if (this.#stopped || !locks) return;
    this.#queued?.abort();
    const queued = this.#queued = new AbortController();
    const options = steal ? {steal: true} : {signal: queued.signal};
    locks.request(this.#with.name, options, () => new Promise((resolve) => {
      if (this.#stopped || queued !== this.#queued) return resolve(undefined);
      this.#release = () => { resolve(undefined); };
      this.#lead();
    })).catch((/** @type {any} */ error) => {
      if (queued !== this.#queued || this.#stopped) return; // given up here
      if (error?.name === "AbortError") { // stolen by another tab while this one was frozen
        this.#follow();
        this.#status(status("connecting"), this.limit); // what was said meanwhile was not heard
        this.#apply();
      } else if (!this.#connection) this.#alone(); // refused, as in a frame of another site whose storage the browser blocks
    });
  }

  /** Without the other tabs. */
  #alone() {
    this.#with.environment.clearTimeout(this.#beat);
    this.#channel?.close();
    this.#channel = null;
    this.#lead();
  }

  #lead() {
    const {name: _, shared: __, ...wiring} = this.#with;
    this.#connection = new Connection({
      ...wiring,
      token: this.#token,
      hear: (event, payload, ack) => {
        if (this.#tabs.size) this.#post({kind: "hear", event, payload});
        wiring.hear(event, payload, ack);
      },
      tell: (now, limit) => {
        if (this.#channel && now.state === "refused" && (now.code === "token" || now.code === "revoked")) return this.#standAside(now);
        this.#status(now, limit);
        this.#post({kind: "status", status: now, limit});
        if (now.state !== "connected") return;
        this.#present();
        for (const [tab, token] of this.#applicants) void this.#examine(tab, token);
      },
    });
    this.#admitted = false; // by its own connection, or not at all
    this.#fail(new Lost("another tab had the connection"));
    this.#post({kind: "leads"});
    this.#connection.start();
    this.#with.leads(true);
  }

  #follow() {
    const connection = this.#connection;
    this.#connection = null;
    connection?.stop();
    if (connection) this.#with.leads(false);
  }

  /** Leaves the connection to tabs with another token. @param {Status} now */
  #standAside(now) {
    this.#aside = true;
    this.#admitted = false;
    this.#queued?.abort();
    this.#queued = null;
    this.#follow();
    this.#release?.();
    this.#release = null;
    this.#fail(new Lost("refused"));
    this.#status(now, this.limit);
  }

  /** Has the server say whether another tab's token is this user's. @param {string} tab @param {string} token */
  async #examine(tab, token) {
    const connection = this.#connection;
    if (!connection) return;
    this.#post({kind: "status", status: connection.status, limit: connection.limit}); // somebody is there, however long the server takes
    if (connection.status.state !== "connected" && !connection.has(token)) {
      this.#applicants.set(tab, token);
      return;
    }
    this.#applicants.delete(tab);
    const accepted = await connection.accepts(token);
    if (connection !== this.#connection || accepted === null) return; // it asks again
    if (accepted) this.#post({kind: "admitted", to: tab, status: connection.status, limit: connection.limit});
    else this.#post({kind: "refused", to: tab, token});
  }

  /** This tab's token was refused: its page may have another. @param {string} token */
  async #turnedAway(token) {
    if (token !== this.#token) return; // there is another meanwhile
    let other = null;
    try {
      if (this.#renewed !== token) other = (await this.#with.renew?.()) ?? null;
    } catch {
      // As if there were none.
    }
    if (this.#stopped || this.#connection || this.#admitted || token !== this.#token) return;
    if (other && other !== token) {
      this.#renewed = this.#token = other;
      this.#post({kind: "hello", token: other});
    } else this.#standAside(status("refused", "token"));
  }

  /** @param {Error} error */
  #fail(error) {
    for (const {reject, timer} of this.#asked.values()) {
      this.#with.environment.clearTimeout(timer);
      reject(error);
    }
    this.#asked.clear();
  }

  /** @param {Status} now @param {number} limit */
  #status(now, limit) {
    this.limit = limit;
    this.status = now;
    this.#with.tell(now, limit);
  }

  /** @param {{status: Status, limit: number}} told */
  #hearStatus(told) {
    this.limit = told.limit;
    if (JSON.stringify(this.status) !== JSON.stringify(told.status)) this.#status(told.status, told.limit);
  }

  #present() {
    const connection = this.#connection;
    if (connection?.status.state !== "connected") return;
    const ids = [...new Set([...this.#watched.values()].flat())].slice(0, 500);
    connection.request("Presence", {ids}).then((answer) => {
      if (!answer || answer.ER) return;
      for (const [id, {online, lastSeen}] of Object.entries(/** @type {Record<string, any>} */ (answer))) {
        const payload = {id, online, lastSeen};
        this.#post({kind: "hear", event: "RESPPRESENCE", payload});
        this.#with.hear("RESPPRESENCE", payload);
      }
    }, ignore);
  }

  #beats() {
    const {time, setTimeout} = this.#with.environment;
    const since = time();
    this.#beat = setTimeout(() => {
      this.#beats();
      this.#forgetClosed();
      if (this.#connection || this.#aside) return;
      // This tab was frozen, and may not have heard all: what it has is looked at again, as after a lost connection.
      if (time() - since > ASLEEP * 1000 && this.status.state === "connected") this.#status(status("connecting"), this.limit);
      this.#silent += 1;
      if (this.#silent > MISSED) {
        this.#silent = 0;
        this.#queue(true);
      } else {
        this.#post(this.#admitted ? {kind: "hello"} : {kind: "hello", token: this.#token});
      }
    }, BEAT * 1000);
  }

  /** A tab that was closed does not say so; one that is hidden asks seldom. */
  #forgetClosed() {
    const since = this.#with.environment.now() - GONE * 1000;
    for (const [tab, seen] of this.#tabs) {
      if (seen >= since) continue;
      this.#tabs.delete(tab);
      this.#watched.delete(tab);
      this.#applicants.delete(tab);
    }
  }

  /** @param {any} message */
  #heard(message) {
    const {kind, tab, id, event, payload} = message;
    if (this.#aside) return;
    this.#tabs.set(tab, this.#with.environment.now());
    if (!this.#connection && !this.#admitted) return this.#waits(message);
    if (kind === "note") return this.#with.note(message.note);
    if (kind === "watch") {
      this.#watched.set(tab, message.ids);
      if (!message.ids.length) this.#watched.delete(tab);
      return this.#present();
    }
    if (this.#connection) return this.#serve(message);
    if (kind === "answer" && message.to === this.#tab) {
      const asked = this.#asked.get(id);
      this.#asked.delete(id);
      this.#with.environment.clearTimeout(asked?.timer);
      if (message.error) asked?.reject(message.error === "large" ? new TooLarge("too large") : message.error === "late" ? new Late("late") : new Lost("lost"));
      else asked?.resolve(message.answer);
    } else if (kind === "hear") {
      this.#silent = 0;
      this.#with.hear(event, payload);
    } else if (kind === "status") {
      this.#silent = 0;
      if (message.status.state !== "connected") this.#fail(new Lost("the connection was lost"));
      this.#hearStatus(message);
    } else if (kind === "leads") {
      this.#silent = 0;
      this.#fail(new Lost("another tab has the connection"));
      this.#post({kind: "watch", ids: this.#watched.get(this.#tab) ?? []});
    }
  }

  /** What a tab hears that is not admitted: how it stands with that, and why there is no connection. @param {any} message */
  #waits({kind, to, token, status: now, limit}) {
    if (["hear", "status", "leads", "admitted", "refused"].includes(kind)) this.#silent = 0;
    if (kind === "leads") this.#post({kind: "hello", token: this.#token});
    else if (kind === "status") { if (now.state !== "connected") this.#hearStatus({status: now, limit}); }
    else if (to !== this.#tab) return;
    else if (kind === "refused") void this.#turnedAway(token);
    else if (kind === "admitted") {
      this.#admitted = true;
      this.#renewed = null;
      this.#hearStatus({status: now, limit});
      this.#post({kind: "watch", ids: this.#watched.get(this.#tab) ?? []});
    }
  }

  /** What a follower asks of the leader. @param {any} message */
  #serve({kind, tab, id, event, payload, token}) {
    const connection = /** @type {Connection} */ (this.#connection);
    if (kind === "hello") {
      if (token) void this.#examine(tab, token);
      else this.#post({kind: "status", status: connection.status, limit: connection.limit});
    } else if (kind === "request") {
      connection.request(event, payload).then(
        (answer) => { this.#post({kind: "answer", to: tab, id, answer}); },
        (error) => { this.#post({kind: "answer", to: tab, id, error: error instanceof TooLarge ? "large" : error instanceof Late ? "late" : "lost"}); },
      );
    } else if (kind === "emit") connection.emit(event, payload);
    else if (kind === "connect") connection.connect();
    else if (kind === "token") connection.setToken(token);
  }
}
