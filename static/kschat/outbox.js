// What is not acknowledged yet, kept in IndexedDB; and drafts. One message of a conversation is sent at a time, so that their order stays.

import {Lost, TooLarge} from "./socketio.js";

/** @import {Environment, Problem} from "./types.js" */
/** @import {Link} from "./link.js" */

/** @typedef {{seq: number, cid: string, pId: string, msg: any, time: number, bytes: number, failed: Problem|null}} Entry */

const TRIES = 5; // connections that may be lost while one message is sent, before the user is asked
const SHORTEST = 1, LONGEST = 30; // seconds between tries while the server is busy

/** Two stores of one database, or of memory where there is none. */
export class Database {
  /** @type {IDBDatabase|null} */ #db = null;
  /** @param {IDBFactory|null} factory @param {string} name @param {() => void} failed */
  constructor(factory, name, failed) {
    this.factory = factory;
    this.name = name;
    this.failed = failed;
  }

  /** @returns {Promise<void>} */
  open() {
    return new Promise((resolve) => {
      if (!this.factory) return resolve();
      try {
        const opening = this.factory.open(this.name, 1);
        opening.onupgradeneeded = () => {
          opening.result.createObjectStore("outbox", {keyPath: "cid"});
          opening.result.createObjectStore("state");
        };
        opening.onsuccess = () => {
          this.#db = opening.result;
          this.#db.onversionchange = () => { this.#db?.close(); this.#db = null; };
          resolve();
        };
        opening.onerror = opening.onblocked = () => { this.failed(); resolve(); };
      } catch {
        this.failed(); // a browser that forbids it
        resolve();
      }
    });
  }

  /** @param {"outbox"|"state"} store @param {(store: IDBObjectStore) => IDBRequest} run @param {IDBTransactionMode} mode @returns {Promise<any>} */
  #run(store, run, mode) {
    return new Promise((resolve, reject) => {
      if (!this.#db) return resolve(undefined);
      const transaction = this.#db.transaction(store, mode);
      const request = run(transaction.objectStore(store));
      transaction.oncomplete = () => { resolve(request.result); };
      transaction.onerror = transaction.onabort = () => { reject(transaction.error ?? new Error("IndexedDB failed")); };
    });
  }

  /** @param {"outbox"|"state"} store @returns {Promise<any[]>} */
  async values(store) { return (await this.#run(store, (one) => one.getAll(), "readonly")) ?? []; }
  /** @param {string} key @returns {Promise<any>} */
  get(key) { return this.#run("state", (one) => one.get(key), "readonly"); }
  /** @param {"outbox"|"state"} store @param {any} value @param {string} [key] */
  put(store, value, key) { return this.#run(store, (one) => one.put(value, key), "readwrite"); }
  /** @param {"outbox"|"state"} store @param {string} key */
  remove(store, key) { return this.#run(store, (one) => one.delete(key), "readwrite"); }
  close() { this.#db?.close(); this.#db = null; }
}

/** What a refusal means. @param {any} answer @returns {{problem: Problem, wait: number|null}} */
export function refusal(answer) {
  const words = typeof answer?.WHY === "string" ? answer.WHY : "The server refused it.";
  const retryIn = Number.isFinite(answer?.retryIn) ? Math.max(0, answer.retryIn) : null;
  switch (answer?.ER) {
    case 1: return {problem: {code: "invalid", words, again: false}, wait: null};
    case 4: return {problem: {code: "slow down", words, again: true}, wait: retryIn};
    case 5: return {problem: {code: "too large", words, again: false}, wait: null};
    case 6: return {problem: {code: "not allowed", words, again: false}, wait: null};
    case 2: case 3: case 7: case 8: return {problem: {code: "not available", words, again: true}, wait: -1};
    default: return {problem: {code: "unknown", words, again: true}, wait: null};
  }
}

export class Outbox {
  /** @type {Map<string, Entry>} */ entries = new Map();
  /** @type {Set<string>} */ #busy = new Set();
  /** @type {Map<string, number>} */ #tries = new Map();
  /** @type {Set<string>} */ loaded = new Set();
  #bytes = 0;
  sends = false;

  /**
   * @param {string} user @param {Link} link @param {Database} database @param {Environment} environment
   * @param {{state: (entry: Entry, state: "waiting"|"sending"|"failed") => void, sent: (entry: Entry, answer: any) => void,
   *   gone: (entry: Entry) => void, added: (entry: Entry) => void, problem: (problem: Problem) => void}} tell
   */
  constructor(user, link, database, environment, tell) {
    this.user = user;
    this.link = link;
    this.database = database;
    this.environment = environment;
    this.tell = tell;
  }

  get bytes() { return this.#bytes; }

  async load() {
    const kept = /** @type {Entry[]} */ (await this.database.values("outbox"));
    for (const entry of kept.sort((a, b) => a.seq - b.seq)) {
      this.loaded.add(entry.cid);
      this.hear(entry);
    }
  }

  /** What another tab has sent since it was loaded, and before this tab heard the others, is gone. */
  async reconcile() {
    if (!this.loaded.size) return;
    const kept = new Set((await this.database.values("outbox")).map(({cid}) => cid));
    for (const cid of this.loaded) {
      const entry = kept.has(cid) ? undefined : this.take(cid);
      if (entry) this.tell.gone(entry);
    }
    this.loaded.clear();
  }

  /** An entry that another tab wrote, or that was kept. @param {Entry} entry */
  hear(entry) {
    const before = this.entries.get(entry.cid);
    this.#bytes += entry.bytes - (before?.bytes ?? 0);
    this.entries.set(entry.cid, entry);
    if (!before) this.tell.added(entry);
    this.tell.state(entry, entry.failed ? "failed" : "waiting");
    this.run();
  }

  /** @param {Entry} entry */
  put(entry) {
    this.hear(entry);
    this.link.note({outbox: entry});
    this.database.put("outbox", entry).catch((/** @type {any} */ error) => {
      const quota = error?.name === "QuotaExceededError";
      this.tell.problem({code: quota ? "quota" : "storage", words: quota ? "This device has no room left: keep the page open until the message is sent."
        : "This browser keeps nothing: keep the page open until the message is sent.", again: false});
    });
  }

  /** @param {string} cid @returns {Entry|undefined} */
  take(cid) {
    const entry = this.entries.get(cid);
    if (!entry) return undefined;
    this.entries.delete(cid);
    this.#tries.delete(cid);
    this.#bytes -= entry.bytes;
    return entry;
  }

  /** @param {string} cid */
  remove(cid) {
    const entry = this.take(cid);
    void this.database.remove("outbox", cid).catch(() => { /* sent again after a reload, and known by its cid */ });
    return entry;
  }

  /** @param {string} cid */
  discard(cid) {
    const entry = this.remove(cid);
    if (!entry) return;
    this.link.note({discarded: cid});
    this.tell.gone(entry);
  }

  /** Sends what waits, where this tab leads and is connected. */
  run() {
    if (!this.sends || this.link.status.state !== "connected") return;
    const heads = new Map();
    for (const entry of this.entries.values()) if (!entry.failed && !heads.has(entry.pId)) heads.set(entry.pId, entry);
    for (const entry of heads.values()) if (!this.#busy.has(entry.pId)) void this.#send(entry);
  }

  /** @param {Entry} entry */
  async #send(entry) {
    const {cid, pId} = entry;
    const tries = (this.#tries.get(cid) ?? 0) + 1;
    this.#tries.set(cid, tries);
    this.#busy.add(pId);
    this.tell.state(entry, "sending");
    this.link.note({sending: cid});
    let wait = 0;
    try {
      const payload = {uId: this.user, pId, msg: entry.msg, rno: entry.seq % 1e9, time: Math.floor(entry.time / 1000), cid};
      const answer = await this.link.request("Send", payload);
      if (!answer?.ER) {
        if (this.remove(cid)) this.tell.sent(entry, answer);
        this.link.note({sent: cid, answer});
      } else {
        const {problem, wait: asked} = refusal(answer);
        if (asked === null) this.#fail(entry, problem);
        else wait = asked >= 0 ? asked : Math.min(LONGEST, SHORTEST * 2 ** Math.min(tries - 1, 5));
      }
    } catch (error) {
      if (error instanceof TooLarge) this.#fail(entry, {code: "too large", words: "Too long for this server.", again: false});
      else if (tries >= TRIES) this.#fail(entry, {code: "connection", words: "The connection was lost each time it was sent.", again: true});
      else if (!(error instanceof Lost)) this.link.giveUp(); // no answer in time: a new connection, and the same cid
    }
    if (this.entries.get(cid) === entry && !entry.failed) {
      this.tell.state(entry, "waiting");
      this.link.note({outbox: entry});
    }
    const next = () => {
      this.#busy.delete(pId);
      this.run();
    };
    if (wait) this.environment.setTimeout(next, wait * 1000);
    else next();
  }

  /** @param {Entry} entry @param {Problem} problem */
  #fail(entry, problem) {
    if (!this.entries.has(entry.cid)) return;
    this.#tries.delete(entry.cid);
    this.put({...entry, failed: problem});
  }
}
