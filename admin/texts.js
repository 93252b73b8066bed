// Every text that the script shows. `{name}` in a text is replaced by a value. Text goes into the document as text, never as markup.

const TEXTS = {
  // The connection
  opening: "Asking the daemon…",
  live: "Live: a look every {n} s",
  paused: "Paused",
  hidden: "Paused while this tab is in the background",
  bad: "Not live",
  updated: "Last answer: {time}",
  badKey: "The daemon does not know this key. Check it against the file of keys (api_keys), and that the daemon has read it again since you changed it.",
  noScope: "This key may not do that: {detail} It needs the scope admin.",
  lost: "The daemon that served this page does not answer. It may be down, or the network is. Trying again; what you see is from {time}.",
  lostAtFirst: "The daemon does not answer. It may be down, or the network is.",
  strange: "Something other than the daemon answered, with the status {status}. Check the proxy in between.",
  refused: "The daemon refused: {detail}",
  // Problems
  noProblems: "No problems",
  incomplete: "A daemon did not answer within two seconds, or Redis is down, so that it is not known which daemons there are. Figures may be incomplete.",
  gone: "{name} has not answered since {time}. It was stopped, or it is cut off from Redis.",
  dismiss: "Dismiss",
  dismissLabel: "Dismiss: {name}",
  "down router": "{name} cannot reach RabbitMQ. Messages reach sockets on other daemons late; in relay mode they are refused.",
  "down store": "{name} cannot use its store. Messages are refused.",
  "down bus": "{name} cannot reach Redis. Presence, typing and receipts do not reach other daemons.",
  "down keys": "{name} cannot fetch the keys of tokens (jwks_url).",
  "down other": "{name} cannot use {service}.",
  // Figures
  ok: "ok",
  down: "{names} down",
  notAnswering: "no answer",
  none: "–",
  allDaemons: "All together",
  // Charts
  "chart messages": "Messages a second",
  "chart latency": "Time until a message is acknowledged (ms)",
  "chart sockets": "Sockets and users",
  "chart queues": "Waiting",
  "chart refusals": "Refusals a second",
  "line acknowledged": "acknowledged",
  "line written": "written to sockets",
  "line delivered": "confirmed by clients",
  "line p50": "p50",
  "line p99": "p99",
  "line sockets": "sockets",
  "line users": "users",
  "line messages_waiting": "messages",
  "line batches_in_flight": "batches",
  "line reads_waiting": "reads",
  "line handshakes_waiting": "handshakes",
  "line refused": "requests",
  "line denied": "sockets not let in",
  "line limited": "rates",
  "line full": "bounds",
  "line rejected": "HTTP requests",
  chartLabel: "{title}, {span}. {lines}.",
  chartLine: "{label}: now {now}, at most {most}",
  chartEmpty: "no figures yet",
  span: "the last {n} minutes",
  axisBegin: "{n} min ago",
  axisEnd: "now",
  shownNow: "now",
  moment: "{time}: {figures}",
  // Refusals
  "kind refused": "Request",
  "kind denied": "Socket not let in",
  "kind limited": "Rate exceeded",
  "kind full": "Bound reached",
  "kind rejected": "HTTP request for a session",
  "rejected/0": "unknown transport",
  "rejected/1": "unknown session",
  "rejected/2": "wrong method",
  "rejected/3": "bad request",
  "rejected/4": "not allowed",
  "rejected/5": "unknown version of the protocol",
  noRefusals: "Nothing was refused since the daemons were started.",
  // Users
  online: "Online",
  offline: "Offline",
  unknown: "It is not known now whether the user is online.",
  lastSeen: "last seen {time}",
  neverSeen: "not seen yet",
  sockets: "{n} sockets",
  oneSocket: "1 socket",
  noSockets: "No sockets",
  socketsIncomplete: "A daemon did not answer in time, or Redis is down: there may be more.",
  badUser: "A user’s id has 1 to 128 characters and does not begin with #.",
  nobodyOnline: "Nobody is online.",
  listed: "{n} users are listed.",
  listedMore: "{n} users are listed; there are more.",
  onlineIncomplete: "A daemon did not answer in time: there may be more.",
  // Actions
  disconnect: "Disconnect",
  disconnectTitle: "Disconnect this user?",
  disconnectText: "All sockets of the user are disconnected. With its token the user may connect again.",
  disconnectDone: "All sockets of the user were disconnected.",
  revoke: "Revoke tokens",
  revokeTitle: "Revoke all tokens of this user?",
  revokeText: "All sockets of the user are disconnected, and no connection is let in with a token of the user, old or new, until you lift the revocation.",
  revokeDone: "All tokens of the user are revoked.",
  lift: "Lift revocation",
  liftTitle: "Lift the revocation of this user?",
  liftText: "Tokens of the user are accepted again, until they expire.",
  liftDone: "The revocation is lifted.",
  notice: "Send notice",
  noticeTitle: "Send a notice to this user",
  noticeText: "The user receives it as a message from the sender of this key (“system”, unless the file of keys says otherwise), also if the user is offline now.",
  noticeDone: "The notice is stored, and on its way to the user.",
  noticeEmpty: "Write a text first.",
  failed: "It was not done. {why}",
  unsure: "No answer arrived: it may have been done. Look the user up again before you repeat it.",
};

/** @typedef {keyof typeof TEXTS} Key */

/**
 * @param {Key} key
 * @param {Record<string, string|number>} [values]
 */
export function say(key, values = {}) {
  return TEXTS[key].replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Whether there is a text for that. @param {string} key @returns {key is Key} */
export function has(key) { return Object.hasOwn(TEXTS, key); }

const NUMBER = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const FINE = new Intl.NumberFormat("en", {maximumFractionDigits: 1});
const CLOCK = new Intl.DateTimeFormat("en-GB", {hour: "2-digit", minute: "2-digit", second: "2-digit"});
const DAY = new Intl.DateTimeFormat("en-GB", {day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit"});

/** A figure: small ones with a decimal, those that are not known as a dash. @param {number|null|undefined} value */
export function number(value) {
  if (value === null || value === undefined) return say("none");
  return (Math.abs(value) < 100 ? FINE : NUMBER).format(value);
}

/** The time of day; of another day, the day too. @param {number} time  In seconds since 1970. */
export function clock(time) {
  const at = new Date(time * 1000);
  return (at.toDateString() === new Date().toDateString() ? CLOCK : DAY).format(at);
}

/** For how long something has been running, in two units. @param {number} seconds */
export function age(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(whole / 86_400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([count]) => count);
  return (first < 0 ? parts.slice(3) : parts.slice(first, first + 2)).map((part) => part.join(" ")).join(" ");
}

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1_000_000 ? `${FINE.format(bytes / 1000)} kB` : `${FINE.format(bytes / 1_000_000)} MB`;
}
