// What two looks at the daemons' counts say of the time between them. Pure: no document, no clock.

/** @import {Counts, DaemonCounts, Histogram} from "./api.js" */

/**
 * One point of the charts: figures of all daemons together. A figure is null where it is not known.
 *
 * @typedef {object} Point
 * @property {number} time  In seconds since 1970.
 * @property {Record<string, number|null>} figures
 * @property {Record<string, number>} refusals  How many there were since the look before, by `kind/reason`.
 */

/** What is counted, and the name of its rate. */
const RATES = /** @type {const} */ ({acknowledged: "sent", written: "delivered", delivered: "confirmed"});

/** The kinds of refusals. `refused` has a field of its own. */
export const REFUSALS = /** @type {const} */ (["refused", "denied", "limited", "full", "rejected"]);

/** Queues whose numbers are of the same kind, so that one chart can have them. */
export const QUEUES = /** @type {const} */ (["messages_waiting", "batches_in_flight", "reads_waiting", "handshakes_waiting"]);

/** A daemon's refusals by `kind/reason`, since its start. @param {DaemonCounts} daemon */
export function refusalsOf(daemon) {
  /** @type {Record<string, number>} */
  const found = {};
  for (const kind of REFUSALS) {
    for (const [reason, count] of Object.entries(kind === "refused" ? daemon.refused : daemon.refusals[kind] ?? {})) {
      found[`${kind}/${reason}`] = count;
    }
  }
  return found;
}

/** The same process in both looks; a daemon that was restarted counts from zero. @param {Counts|null} before @param {DaemonCounts} daemon */
export function earlier(before, daemon) {
  return before?.daemons.find(({name, since}) => name === daemon.name && since === daemon.since) ?? null;
}

/**
 * How many messages a second were acknowledged by one daemon; null where there is nothing to compare.
 *
 * @param {DaemonCounts} now
 * @param {DaemonCounts|null} then
 * @param {number} seconds
 */
export function sentRate(now, then, seconds) {
  return then && seconds > 0 ? Math.max(0, (now.counts.sent ?? 0) - (then.counts.sent ?? 0)) / seconds : null;
}

/**
 * The messages between two looks by how long they took until they were acknowledged, of one daemon.
 *
 * @param {DaemonCounts} now
 * @param {DaemonCounts|null} then
 * @returns {Histogram|null}
 */
export function fresh(now, then) {
  const [found, known] = [now.latency.acknowledged, then?.latency.acknowledged];
  if (!found || !known || found.counts.length !== known.counts.length) return null;
  return {bounds: found.bounds, counts: found.counts.map((count, index) => Math.max(0, count - known.counts[index]))};
}

/**
 * The bound in seconds that this part of all messages was below; null without messages.
 *
 * @param {(Histogram|null)[]} histograms
 * @param {number} part
 */
export function quantile(histograms, part) {
  const known = histograms.filter((one) => one !== null);
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (const {bounds, counts: found} of known) {
    // What is beyond all bounds is shown as the last one.
    found.forEach((count, index) => {
      const bound = bounds[Math.min(index, bounds.length - 1)];
      counts.set(bound, (counts.get(bound) ?? 0) + count);
    });
  }
  const all = [...counts].sort(([one], [other]) => one - other);
  const wanted = part * all.reduce((sum, [, count]) => sum + count, 0);
  let seen = 0;
  for (const [bound, count] of all) {
    seen += count;
    if (wanted && seen >= wanted) return bound;
  }
  return null;
}

/**
 * The point of a look. Without an earlier one, rates and latency are not known.
 *
 * @param {Counts|null} before
 * @param {Counts} now
 * @returns {Point}
 */
export function pointOf(before, now) {
  const seconds = before ? now.time - before.time : 0;
  const pairs = now.daemons.map((daemon) => ({daemon, then: earlier(before, daemon)}));
  const compared = seconds > 0 ? pairs.filter(({then}) => then) : [];
  /** @type {Point["figures"]} */
  const figures = {daemons: now.daemons.length};
  for (const name of /** @type {const} */ (["connections", "sockets", "users"])) {
    figures[name] = now.daemons.reduce((sum, daemon) => sum + daemon[name], 0);
  }
  for (const name of QUEUES) figures[name] = now.daemons.reduce((sum, {queues}) => sum + (queues[name] ?? 0), 0);
  for (const [rate, count] of Object.entries(RATES)) {
    const between = compared.reduce((sum, {daemon, then}) => sum + Math.max(0, (daemon.counts[count] ?? 0) - (then?.counts[count] ?? 0)), 0);
    figures[rate] = compared.length ? between / seconds : null;
  }
  const took = compared.map(({daemon, then}) => fresh(daemon, then));
  for (const [name, part] of /** @type {const} */ ([["p50", 0.5], ["p99", 0.99]])) {
    const found = quantile(took, part);
    figures[name] = found === null ? null : found * 1000;
  }
  /** @type {Point["refusals"]} */
  const refusals = {};
  for (const {daemon, then} of compared) {
    const known = then ? refusalsOf(then) : {};
    for (const [reason, count] of Object.entries(refusalsOf(daemon))) {
      refusals[reason] = (refusals[reason] ?? 0) + Math.max(0, count - (known[reason] ?? 0));
    }
  }
  for (const kind of REFUSALS) {
    const count = Object.entries(refusals).reduce((sum, [reason, some]) => sum + (reason.startsWith(`${kind}/`) ? some : 0), 0);
    figures[kind] = compared.length ? count / seconds : null;
  }
  return {time: now.time, figures, refusals};
}

/** Daemons that answered before and do not now, by name, and when each was seen last. They are kept until they are dismissed, within a bound. */
export class Lost {
  /** @type {Map<string, number>} */
  #seen = new Map();
  /** @type {Map<string, number>} */
  #lost = new Map();

  /** @param {number} most  Daemons that are remembered. */
  constructor(most = 50) {
    this.most = most;
  }

  /** Heed a look. @param {Counts} now */
  look(now) {
    const here = new Set(now.daemons.map(({name}) => name));
    for (const [name, time] of this.#seen) if (!here.has(name)) this.#lost.set(name, time);
    for (const name of here) this.#lost.delete(name);
    this.#seen = new Map([...here].map((name) => [name, now.time]));
    for (const name of this.#lost.keys()) {
      if (this.#lost.size <= this.most) break;
      this.#lost.delete(name);
    }
  }

  /** Each with the time at which it was seen last. */
  get all() { return [...this.#lost]; }

  /** @param {string} name */
  dismiss(name) { this.#lost.delete(name); }
}
