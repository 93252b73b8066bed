// Asks the HTTP API of the daemon that served this page.
//
// The key is in memory, and in the storage of this tab so that a reload keeps it; it is never in an address.

/**
 * @typedef {{bounds: number[], counts: number[]}} Histogram  `counts[n]` took up to `bounds[n]` seconds; the last one, longer.
 *
 * @typedef {object} DaemonCounts
 * @property {string} name
 * @property {string} version
 * @property {number} since  When it was started, in seconds since 1970.
 * @property {number} connections
 * @property {number} sockets
 * @property {number} users
 * @property {Record<string, number>} counts  Since its start.
 * @property {Record<string, number>} refused
 * @property {Record<string, boolean>} services
 * @property {Record<string, number>} lags
 * @property {Record<string, Histogram>} latency
 * @property {Record<string, number>} queues
 * @property {Record<string, Record<string, number>>} refusals
 *
 * @typedef {{daemons: DaemonCounts[], complete: boolean, time: number}} Counts
 * @typedef {{id: string, address: string, revision: number, since: number}} Socket
 * @typedef {{sockets: Socket[], complete: boolean}} Sockets
 * @typedef {{users: Record<string, {online: boolean|null, lastSeen: number|null}>}} Presences
 * @typedef {{users: string[], complete: boolean, next: string|null}} OnlineUsers
 *
 * @typedef {"lost"|"key"|"scope"|"refused"|"strange"} Kind
 *   `lost`: no answer. `key`: the key is not known. `scope`: it may not do that. `refused`: with a reason. `strange`: not the API's answer.
 */

const PATIENCE = 10_000; // milliseconds; a daemon waits two seconds for the others
const KEY = "kschat-admin-key";

export class ApiError extends Error {
  /** @param {Kind} kind @param {string} detail @param {number} [status] */
  constructor(kind, detail, status = 0) {
    super(detail || kind);
    this.kind = kind;
    /** A sentence of the daemon's, or "". */
    this.detail = detail;
    this.status = status;
  }
}

export class Api {
  /** @param {string} key */
  constructor(key) {
    this.key = key;
  }

  /**
   * What an operation answers. Rejects with an ApiError.
   *
   * @param {string} operation
   * @param {object} body
   * @returns {Promise<any>}
   */
  async ask(operation, body) {
    // What cannot be a header cannot be a key.
    if (!/^[!-~]+$/.test(this.key)) throw new ApiError("key", "");
    let response, answer;
    try {
      response = await fetch(`v1/${operation}`, {
        method: "POST",
        body: JSON.stringify(body),
        headers: {authorization: `Bearer ${this.key}`, "content-type": "application/json"},
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(PATIENCE),
      });
      answer = await response.text();
    } catch {
      throw new ApiError("lost", "");
    }
    let said;
    try {
      said = JSON.parse(answer);
    } catch {
      throw new ApiError("strange", "", response.status);
    }
    if (response.ok) return said;
    const detail = typeof said?.detail === "string" ? said.detail : "";
    if (response.status === 401) throw new ApiError("key", detail, 401);
    if (!String(said?.type).startsWith("urn:kschat:")) throw new ApiError("strange", "", response.status);
    throw new ApiError(response.status === 403 ? "scope" : "refused", detail, response.status);
  }
}

/** The key of this tab, or "". */
export function storedKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // the browser keeps nothing for this page
  }
}

/** Keeps the key until the tab is closed; "" forgets it. @param {string} key */
export function storeKey(key) {
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // It is in memory until the page is left.
  }
}
