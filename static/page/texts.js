// Every text that the page shows, in each of its languages; helpers that make elements; and the elements of messages.
//
// `{name}` in a text is replaced by a value. Another language: a table with the same keys here, and its name in NAMES.
// Text goes into the document as text: nothing here parses markup, and of a message only what this file makes is an element.

/** @import {FilePart, Message} from "../kschat/types.js" */

const en = {
  // The frame
  conversations: "Conversations",
  messages: "Messages",
  search: "Search",
  searchHint: "Search people, rooms and messages",
  newConversation: "New conversation",
  settings: "Settings",
  keys: "Keyboard shortcuts",
  back: "Back to the conversations",
  close: "Close",
  you: "You",
  youAre: "You are",
  self: "Notes to yourself",
  aRoom: "Room",
  tryNow: "Try now",
  // The connection
  connecting: "Connecting…",
  connected: "Connected",
  offline: "No network. Messages will be sent when it is back.",
  waiting: "Connection lost.",
  waitingDrain: "The server is restarting.",
  waitingSlow: "This connection was too slow.",
  waitingRate: "Too many requests: the server asked for a pause.",
  waitingLarge: "A message was too large for the server.",
  inSeconds: "Next try in {n} s",
  nextTry: "Trying again…",
  refused: "The server refused the connection.",
  refusedToken: "The server does not accept this page’s token. It may have expired or belong to another user. Open the page again from your application.",
  refusedRevoked: "Your access was withdrawn. Open the page again from your application.",
  refusedReplaced: "You have too many connections open. This page was the oldest.",
  ended: "Logged out.",
  notConnected: "Not connected",
  reload: "Reload",
  // The list
  noConversations: "No conversations yet",
  noConversationsHint: "Start one with the + button: enter a person’s name, or # and a room’s name.",
  nothingFound: "Nothing found for “{words}”.",
  startWith: "Write to {name}",
  joinRoom: "Open the room {name}",
  foundMessages: "Messages",
  foundLoaded: "Only messages that this page has loaded are searched.",
  draft: "Draft",
  typing: "typing…",
  picture: "Picture",
  file: "File",
  unread: "{n} unread",
  unreadMany: "1000 or more unread",
  yesterday: "Yesterday",
  today: "Today",
  // The conversation
  online: "online",
  isOffline: "offline",
  isBlocked: "blocked by you",
  outdated: "This page and its scripts come from different releases of the server. Reload it, or open it again from your application.",
  lastSeen: "last seen {when}",
  lastSeenNow: "last seen just now",
  at: "{day} at {time}",
  messageTo: "Message to {name}",
  writeMessage: "Write a message",
  send: "Send",
  attach: "Attach a picture or file",
  hint: "Enter sends, Shift+Enter starts a new line.",
  noMessages: "No messages yet",
  noMessagesHint: "Say hello to {name}.",
  beginning: "This is the beginning of your conversation.",
  beginningRoom: "This is the beginning of the room.",
  loading: "Loading…",
  notLoaded: "Could not be loaded.",
  newMessages: "New messages",
  markRead: "Mark as read",
  jump: "Jump to the newest message",
  jumpCount: "{n} new",
  showMore: "Show more",
  showLess: "Show less",
  dropHere: "Drop to attach",
  pickConversation: "Choose a conversation",
  pickHint: "Or start a new one: messages arrive even when the other person is away.",
  demoHint: "This is a demo, so you can be both sides: open a second window as someone else, and write to yourself.",
  openAs: "Open a window as {name}",
  details: "Details",
  // Messages
  stateWaiting: "Waiting to be sent",
  stateSending: "Sending",
  stateSent: "Sent",
  stateDelivered: "Delivered",
  stateRead: "Read",
  stateFailed: "Not sent",
  deleted: "This message was deleted.",
  from: "{name}: ",
  reply: "Reply",
  replyTo: "Reply to {name}",
  copy: "Copy",
  copied: "Copied.",
  copyFailed: "The browser did not allow copying.",
  react: "React",
  reactions: "Reactions",
  reaction: "{emoji} {n}: {names}",
  andMore: "{names} and {n} more",
  edited: "edited",
  delete: "Delete",
  deleteTitle: "Delete this message?",
  deleteHint: "It will be deleted for everybody in this conversation.",
  retry: "Try again",
  edit: "Edit",
  discard: "Discard",
  cancel: "Cancel",
  editing: "Editing an unsent message",
  editingSent: "Editing your message",
  remove: "Remove {name}",
  download: "Download {name}, {size}",
  fetchFile: "Load",
  pictureFrom: "Picture {name}",
  bytes: "{n} bytes",
  // Problems
  tooLarge: "“{name}” is too large ({size}). This server accepts at most {limit} per message.",
  tooLong: "This message is too long. This server accepts at most {limit} per message.",
  tooMany: "You can attach up to {n} files at once. The others were left out.",
  unreadable: "“{name}” could not be read.",
  "problem too large": "Too large for this server.",
  "problem invalid": "The server does not accept this message.",
  "problem not allowed": "You are not allowed to write here.",
  "problem slow down": "Too many messages at once. Try again in a moment.",
  "problem not available": "The server could not store it. Try again in a moment.",
  "problem connection": "The connection was lost on every try.",
  "problem full": "Too many messages are waiting to be sent.",
  "problem quota": "This browser has no room left for unsent messages: they will be lost if you close the page.",
  "problem storage": "This browser keeps nothing for this page: unsent messages will be lost if you close it.",
  "problem drafts": "This browser cannot keep drafts: they will be lost if you close the page.",
  "problem unknown": "Something went wrong.",
  noAnswer: "The server did not answer. Try again when you are connected.",
  "asked invalid": "The server does not accept this.",
  "asked not allowed": "You are not allowed to do this.",
  "asked slow down": "Too many requests at once. Try again in a moment.",
  "asked not available": "The server cannot do this at the moment. Try again later.",
  "join invalid": "That is not a room’s name.",
  "join not allowed": "You are not allowed to enter this room.",
  "join slow down": "The room is full, or you are in too many rooms.",
  "change invalid": "This message no longer exists.",
  "change not allowed": "This message can no longer be changed.",
  "block invalid": "This person cannot be blocked.",
  "block slow down": "Your list of blocked people is full.",
  badName: "A name has 1 to 128 characters.",
  // Dialogs
  startTitle: "New conversation",
  startLabel: "A person’s name, or # and a room’s name",
  open: "Open",
  theme: "Appearance",
  themeAuto: "Same as device",
  themeLight: "Light",
  themeDark: "Dark",
  language: "Language",
  languageAuto: "Same as browser",
  nextVisit: "The language changes when you reload the page.",
  sound: "Play a sound for new messages",
  notify: "Show notifications while this page is in the background",
  notifyDenied: "This browser blocks notifications for this page. Allow them in its settings.",
  notifyText: "New message",
  push: "Show notifications when this page is closed",
  pushOne: "New message",
  pushMany: "{n} new messages",
  pushNever: "This browser cannot show notifications when this page is closed.",
  pushOff: "This server does not send notifications.",
  pushFailed: "That did not work. Try again when you are connected.",
  logout: "Log out",
  logoutAll: "Log out on all devices",
  blocked: "Blocked people",
  nobodyBlocked: "You have not blocked anyone.",
  block: "Block {name}",
  unblock: "Unblock {name}",
  blockHint: "Their messages will no longer reach you, and they will see you as offline.",
  leave: "Leave the room",
  // Choosing a name, and having no token
  demo: "This is a demo.",
  demoHow: "It gives anyone a token for any name, on this machine only.",
  choose: "Choose your name and the name of the person you want to talk to.",
  badChoice: "That name cannot be used. A name has 1 to 128 characters, and only a room’s name begins with #.",
  theOther: "Other person",
  chat: "Chat",
  chooseToo: "Then open the other side in a second tab and talk to yourself.",
  noToken: "This page has no token, so the server cannot identify you. Open it from your application, which adds the token, or add one to this page’s address:",
  makeToken: "To make a token by hand, run this on the server with the secret that the daemon was started with:",
  tryDemo: "To try kschat without tokens, start it with",
  // Keys
  keySend: "Send the message",
  keyLine: "Start a new line",
  keyMove: "Move through conversations or messages",
  keyReply: "Reply to or copy the focused message",
  keyReact: "React to the focused message",
  keyEdit: "Edit or delete the focused message, if it is yours",
  keySearch: "Search",
  keyNext: "Next or previous conversation",
  keyEscape: "Cancel, close, or go back",
  keyKeys: "Show this list",
  // The live region
  oneNew: "{name}: {text}",
  manyNew: "{n} new messages from {name}",
  manyNewMany: "{n} new messages in {m} conversations",
};

/** @type {Record<keyof typeof en, string>} */
const de = {
  conversations: "Unterhaltungen",
  messages: "Nachrichten",
  search: "Suchen",
  searchHint: "Personen, Räume und Nachrichten suchen",
  newConversation: "Neue Unterhaltung",
  settings: "Einstellungen",
  keys: "Tastenkürzel",
  back: "Zurück zu den Unterhaltungen",
  close: "Schließen",
  you: "Du",
  youAre: "Du bist",
  self: "Notizen an dich",
  aRoom: "Raum",
  tryNow: "Jetzt versuchen",
  connecting: "Verbindung wird aufgebaut…",
  connected: "Verbunden",
  offline: "Kein Netz. Nachrichten werden gesendet, sobald es wieder da ist.",
  waiting: "Verbindung verloren.",
  waitingDrain: "Der Server startet neu.",
  waitingSlow: "Diese Verbindung war zu langsam.",
  waitingRate: "Zu viele Anfragen: Der Server bittet um eine Pause.",
  waitingLarge: "Eine Nachricht war zu groß für den Server.",
  inSeconds: "Nächster Versuch in {n} s",
  nextTry: "Neuer Versuch…",
  refused: "Der Server hat die Verbindung abgelehnt.",
  refusedToken: "Der Server akzeptiert das Token dieser Seite nicht. Es ist vielleicht abgelaufen oder gehört jemand anderem. Öffne die Seite noch einmal aus deiner Anwendung.",
  refusedRevoked: "Dein Zugang wurde entzogen. Öffne die Seite noch einmal aus deiner Anwendung.",
  refusedReplaced: "Du hast zu viele offene Verbindungen. Die dieser Seite war die älteste.",
  ended: "Abgemeldet.",
  notConnected: "Nicht verbunden",
  reload: "Neu laden",
  noConversations: "Noch keine Unterhaltungen",
  noConversationsHint: "Beginne eine mit der Schaltfläche +: Gib den Namen einer Person ein, oder # und den Namen eines Raums.",
  nothingFound: "Nichts gefunden zu „{words}“.",
  startWith: "An {name} schreiben",
  joinRoom: "Den Raum {name} öffnen",
  foundMessages: "Nachrichten",
  foundLoaded: "Gesucht wird nur in den Nachrichten, die diese Seite geladen hat.",
  draft: "Entwurf",
  typing: "schreibt…",
  picture: "Bild",
  file: "Datei",
  unread: "{n} ungelesen",
  unreadMany: "1000 oder mehr ungelesen",
  yesterday: "Gestern",
  today: "Heute",
  online: "online",
  isOffline: "offline",
  isBlocked: "von dir blockiert",
  outdated: "Diese Seite und ihre Skripte stammen aus verschiedenen Versionen des Servers. Lade sie neu, oder öffne sie noch einmal aus deiner Anwendung.",
  lastSeen: "zuletzt online {when}",
  lastSeenNow: "gerade eben online",
  at: "{day} um {time}",
  messageTo: "Nachricht an {name}",
  writeMessage: "Nachricht schreiben",
  send: "Senden",
  attach: "Bild oder Datei anhängen",
  hint: "Enter sendet, Umschalt+Enter beginnt eine neue Zeile.",
  noMessages: "Noch keine Nachrichten",
  noMessagesHint: "Sag {name} Hallo.",
  beginning: "Hier beginnt eure Unterhaltung.",
  beginningRoom: "Hier beginnt der Raum.",
  loading: "Wird geladen…",
  notLoaded: "Konnte nicht geladen werden.",
  newMessages: "Neue Nachrichten",
  markRead: "Als gelesen markieren",
  jump: "Zur neuesten Nachricht springen",
  jumpCount: "{n} neue",
  showMore: "Mehr anzeigen",
  showLess: "Weniger anzeigen",
  dropHere: "Zum Anhängen loslassen",
  pickConversation: "Wähle eine Unterhaltung",
  pickHint: "Oder beginne eine neue: Nachrichten kommen an, auch wenn die andere Person gerade nicht da ist.",
  demoHint: "Dies ist eine Demo, also kannst du beide Seiten sein: Öffne ein zweites Fenster als jemand anders und schreib dir selbst.",
  openAs: "Fenster als {name} öffnen",
  details: "Details",
  stateWaiting: "Wartet auf das Senden",
  stateSending: "Wird gesendet",
  stateSent: "Gesendet",
  stateDelivered: "Zugestellt",
  stateRead: "Gelesen",
  stateFailed: "Nicht gesendet",
  deleted: "Diese Nachricht wurde gelöscht.",
  from: "{name}: ",
  reply: "Antworten",
  replyTo: "Antwort an {name}",
  copy: "Kopieren",
  copied: "Kopiert.",
  copyFailed: "Der Browser hat das Kopieren nicht erlaubt.",
  react: "Reagieren",
  reactions: "Reaktionen",
  reaction: "{emoji} {n}: {names}",
  andMore: "{names} und {n} weitere",
  edited: "bearbeitet",
  delete: "Löschen",
  deleteTitle: "Diese Nachricht löschen?",
  deleteHint: "Sie wird für alle in dieser Unterhaltung gelöscht.",
  retry: "Erneut versuchen",
  edit: "Bearbeiten",
  discard: "Verwerfen",
  cancel: "Abbrechen",
  editing: "Nicht gesendete Nachricht bearbeiten",
  editingSent: "Deine Nachricht bearbeiten",
  remove: "{name} entfernen",
  download: "{name} herunterladen, {size}",
  fetchFile: "Laden",
  pictureFrom: "Bild {name}",
  bytes: "{n} Bytes",
  tooLarge: "„{name}“ ist zu groß ({size}). Dieser Server nimmt höchstens {limit} pro Nachricht an.",
  tooLong: "Diese Nachricht ist zu lang. Dieser Server nimmt höchstens {limit} pro Nachricht an.",
  tooMany: "Du kannst höchstens {n} Dateien auf einmal anhängen. Die übrigen wurden weggelassen.",
  unreadable: "„{name}“ konnte nicht gelesen werden.",
  "problem too large": "Zu groß für diesen Server.",
  "problem invalid": "Der Server nimmt diese Nachricht nicht an.",
  "problem not allowed": "Du darfst hier nicht schreiben.",
  "problem slow down": "Zu viele Nachrichten auf einmal. Versuche es gleich noch einmal.",
  "problem not available": "Der Server konnte sie nicht speichern. Versuche es gleich noch einmal.",
  "problem connection": "Die Verbindung ging bei jedem Versuch verloren.",
  "problem full": "Zu viele Nachrichten warten auf das Senden.",
  "problem quota": "Dieser Browser hat keinen Platz mehr für nicht gesendete Nachrichten: Sie gehen verloren, wenn du die Seite schließt.",
  "problem storage": "Dieser Browser speichert nichts für diese Seite: Nicht gesendete Nachrichten gehen verloren, wenn du sie schließt.",
  "problem drafts": "Dieser Browser kann keine Entwürfe aufbewahren: Sie gehen verloren, wenn du die Seite schließt.",
  "problem unknown": "Etwas ist schiefgegangen.",
  noAnswer: "Der Server hat nicht geantwortet. Versuche es noch einmal, sobald du verbunden bist.",
  "asked invalid": "Der Server nimmt das nicht an.",
  "asked not allowed": "Das darfst du nicht.",
  "asked slow down": "Zu viele Anfragen auf einmal. Versuche es gleich noch einmal.",
  "asked not available": "Der Server kann das gerade nicht. Versuche es später noch einmal.",
  "join invalid": "Das ist nicht der Name eines Raums.",
  "join not allowed": "Du darfst diesen Raum nicht betreten.",
  "join slow down": "Der Raum ist voll, oder du bist in zu vielen Räumen.",
  "change invalid": "Diese Nachricht gibt es nicht mehr.",
  "change not allowed": "Diese Nachricht kann nicht mehr geändert werden.",
  "block invalid": "Diese Person kann nicht blockiert werden.",
  "block slow down": "Deine Liste blockierter Personen ist voll.",
  badName: "Ein Name hat 1 bis 128 Zeichen.",
  startTitle: "Neue Unterhaltung",
  startLabel: "Name einer Person, oder # und der Name eines Raums",
  open: "Öffnen",
  theme: "Darstellung",
  themeAuto: "Wie das Gerät",
  themeLight: "Hell",
  themeDark: "Dunkel",
  language: "Sprache",
  languageAuto: "Wie der Browser",
  nextVisit: "Die Sprache wechselt, wenn du die Seite neu lädst.",
  sound: "Ton bei neuen Nachrichten",
  notify: "Mitteilungen zeigen, während diese Seite im Hintergrund ist",
  notifyDenied: "Dieser Browser sperrt Mitteilungen für diese Seite. Erlaube sie in seinen Einstellungen.",
  notifyText: "Neue Nachricht",
  push: "Mitteilungen zeigen, wenn diese Seite geschlossen ist",
  pushOne: "Neue Nachricht",
  pushMany: "{n} neue Nachrichten",
  pushNever: "Dieser Browser kann keine Mitteilungen zeigen, wenn diese Seite geschlossen ist.",
  pushOff: "Dieser Server sendet keine Mitteilungen.",
  pushFailed: "Das ging nicht. Versuche es erneut, wenn du verbunden bist.",
  logout: "Abmelden",
  logoutAll: "Auf allen Geräten abmelden",
  blocked: "Blockierte Personen",
  nobodyBlocked: "Du hast niemanden blockiert.",
  block: "{name} blockieren",
  unblock: "{name} nicht mehr blockieren",
  blockHint: "Nachrichten dieser Person erreichen dich nicht mehr, und sie sieht dich als offline.",
  leave: "Den Raum verlassen",
  demo: "Dies ist eine Demo.",
  demoHow: "Sie gibt jedem ein Token für jeden Namen, nur auf diesem Rechner.",
  choose: "Wähle deinen Namen und den Namen der Person, mit der du sprechen möchtest.",
  badChoice: "Dieser Name ist nicht möglich. Ein Name hat 1 bis 128 Zeichen, und nur der eines Raums beginnt mit #.",
  theOther: "Die andere Person",
  chat: "Loslegen",
  chooseToo: "Öffne dann die andere Seite in einem zweiten Tab und sprich mit dir selbst.",
  noToken: "Diese Seite hat kein Token, also kann der Server dich nicht erkennen. Öffne sie aus deiner Anwendung, die das Token mitgibt, oder füge der Adresse dieser Seite eines hinzu:",
  makeToken: "So erzeugst du auf dem Server ein Token, mit dem Geheimnis, mit dem der Daemon gestartet wurde:",
  tryDemo: "Ohne Token probierst du kschat, wenn du es so startest:",
  keySend: "Nachricht senden",
  keyLine: "Neue Zeile beginnen",
  keyMove: "Zwischen Unterhaltungen oder Nachrichten wechseln",
  keyReply: "Auf die Nachricht mit dem Fokus antworten oder sie kopieren",
  keyReact: "Auf die Nachricht mit dem Fokus reagieren",
  keyEdit: "Die Nachricht mit dem Fokus bearbeiten oder löschen, wenn sie von dir ist",
  keySearch: "Suchen",
  keyNext: "Nächste oder vorige Unterhaltung",
  keyEscape: "Abbrechen, schließen oder zurück",
  keyKeys: "Diese Liste zeigen",
  oneNew: "{name}: {text}",
  manyNew: "{n} neue Nachrichten von {name}",
  manyNewMany: "{n} neue Nachrichten in {m} Unterhaltungen",
};

/** @typedef {keyof typeof en} Key */

/** What the user chose; never a token. @typedef {{theme?: string, language?: string, sound?: boolean, notify?: boolean, push?: boolean}} Settings */

const SETTINGS = "kschat.settings";

/** @returns {Settings} */
export function readSettings() {
  try {
    return JSON.parse(localStorage.getItem(SETTINGS) ?? "{}") ?? {};
  } catch {
    return {}; // storage is forbidden, or another program wrote there
  }
}

/** @param {Settings} settings */
export function writeSettings(settings) {
  try {
    localStorage.setItem(SETTINGS, JSON.stringify(settings));
  } catch {
    // They hold for this visit.
  }
}

/** @param {string} [theme] */
export function applyTheme(theme) {
  const html = document.documentElement;
  if (theme === "light" || theme === "dark") html.dataset.theme = theme;
  else delete html.dataset.theme;
}

/** The template's English, in the language of the page. @param {Texts} texts */
export function applyTexts(texts) {
  const html = document.documentElement;
  html.lang = texts.language;
  html.dir = texts.direction;
  html.dataset.words = texts.own;
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-text]"))) {
    element.textContent = texts.say(/** @type {Key} */ (element.dataset.text));
    element.dir = "auto"; // a page that goes from right to left may have English texts
  }
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-label]"))) {
    const words = texts.say(/** @type {Key} */ (element.dataset.label));
    element.setAttribute("aria-label", words);
    if (element instanceof HTMLButtonElement) element.title = words;
    if (element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement) {
      element.placeholder = texts.say(/** @type {Key} */ (element.dataset.hint ?? element.dataset.label));
    }
  }
}

/** @type {Record<string, Record<Key, string>>} */
const TABLES = {en, de};

/** The languages by their own names, for the settings. */
export const NAMES = {en: "English", de: "Deutsch"};

const MINUTES = 500; // formatted times that are kept
const RIGHT_TO_LEFT = new Set(["ar", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"]);

/** The texts of one language, and times and sizes as it writes them. */
export class Texts {
  /** @param {string} asked  A language tag, such as "de-AT". One without a table gets English texts, in its own direction. */
  constructor(asked) {
    const language = asked.toLowerCase().split("-")[0];
    const table = TABLES[language];
    this.table = table ?? en;
    /** The language of the texts. */
    this.language = table ? language : "en";
    /** @type {"rtl"|"ltr"} */
    this.direction = RIGHT_TO_LEFT.has(language) ? "rtl" : "ltr";
    /** The direction of its texts, which may be English. */
    this.own = table ? this.direction : "ltr";
    const locale = table && valid(asked) ? [asked, this.language] : [this.language];
    this.clock = new Intl.DateTimeFormat(locale, {hour: "numeric", minute: "2-digit"});
    this.date = new Intl.DateTimeFormat(locale, {day: "2-digit", month: "2-digit", year: "2-digit"});
    this.longDate = new Intl.DateTimeFormat(locale, {weekday: "long", day: "numeric", month: "long", year: "numeric"});
    /** What was formatted last: that takes time, and messages stand close together. @type {Map<number, string>} */
    this.minutes = new Map();
    this.lastDay = {begin: 0, end: 0};
    this.number = new Intl.NumberFormat(locale, {maximumFractionDigits: 1});
  }

  /**
   * @param {Key} key
   * @param {Record<string, string|number>} [values]
   */
  say(key, values) {
    const text = this.table[key];
    return values ? text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole)) : text;
  }

  /**
   * Why something was not done that the server was asked for.
   *
   * @param {unknown} error  A `Refused` of the module, or what it throws without an answer.
   * @param {"join"|"change"|"block"} what
   */
  why(error, what) {
    const {code} = /** @type {{problem?: {code?: string}}} */ (error).problem ?? {};
    if (!code) return this.say("noAnswer");
    const known = [`${what} ${code}`, `asked ${code}`, `problem ${code}`].find((key) => Object.hasOwn(this.table, key));
    return this.say(/** @type {Key} */ (known ?? "problem unknown"));
  }

  /** The time of day. @param {number} time */
  time(time) {
    const minute = Math.floor(time / 60_000);
    const known = this.minutes.get(minute);
    if (known) return known;
    const words = this.clock.format(time);
    if (this.minutes.size >= MINUTES) this.minutes.clear();
    this.minutes.set(minute, words);
    return words;
  }

  /** By this device's calendar. @param {number} one @param {number} other */
  isSameDay(one, other) {
    const {begin, end} = this.lastDay;
    if (one >= begin && one < end) return other >= begin && other < end;
    const day = new Date(one);
    this.lastDay = {begin: day.setHours(0, 0, 0, 0), end: day.setHours(24, 0, 0, 0)};
    return other >= this.lastDay.begin && other < this.lastDay.end;
  }

  /** "Today", "Yesterday", or the date. @param {number} time @param {boolean} [short] */
  day(time, short = false) {
    const days = daysAgo(time);
    if (days === 0) return this.say("today");
    if (days === 1) return this.say("yesterday");
    return (short ? this.date : this.longDate).format(time);
  }

  /** When a list says something happened: the time today, else the day. @param {number} time */
  when(time) { return daysAgo(time) === 0 ? this.time(time) : this.day(time, true); }

  /** @param {number} bytes */
  size(bytes) {
    if (bytes < 1000) return this.say("bytes", {n: bytes});
    if (bytes < 1_000_000) return `${this.number.format(bytes / 1000)} kB`;
    return `${this.number.format(bytes / 1_000_000)} MB`;
  }
}

/** @param {number} time  Whole days between that day and today, by this device's calendar. */
function daysAgo(time) {
  const then = new Date(time), now = new Date();
  const midnight = (/** @type {Date} */ date) => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((midnight(now) - midnight(then)) / 86_400_000);
}

/** @param {string} tag */
function valid(tag) {
  try {
    return Intl.getCanonicalLocales(tag).length > 0;
  } catch {
    return false;
  }
}

// Elements

/**
 * The element with that id; the template has it.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @returns {E}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) {
    sayOutdated();
    throw new Error(`The template has no element #${id}.`);
  }
  return /** @type {E} */ (element);
}

/** Says that the page and its scripts come from different releases, as during an upgrade, instead of staying at "Connecting". */
function sayOutdated() {
  const words = new Texts(readSettings().language || navigator.language).say("outdated");
  const status = document.getElementById("status");
  if (status) status.dataset.state = "refused";
  const place = document.getElementById("status-words") ?? status ?? document.body.appendChild(make("p", "notice"));
  place.textContent = words;
}

/**
 * A new element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {string|Node|null} [content]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (typeof content === "string") {
    element.textContent = content;
    if (document.dir === "rtl") element.dir = "auto"; // its texts may be English
  } else if (content) {
    element.append(content);
  }
  return element;
}

/**
 * A button; `icon` names a symbol of the template and then `label` is for screen readers and the tooltip.
 *
 * @param {string} label
 * @param {{className?: string, icon?: string, action?: string}} [look]
 */
export function button(label, {className = "", icon, action} = {}) {
  const element = make("button", className, icon ? null : label);
  element.type = "button";
  if (action) element.dataset.do = action;
  if (icon) {
    element.append(drawing(icon));
    element.title = label;
    element.setAttribute("aria-label", label);
  }
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of the template. @param {string} name */
export function drawing(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

const COLOURS = 10; // classes c0 to c9 of the style sheet

/** @param {string} id  A number that is the same for an id on every device. */
function hash(id) {
  let value = 7;
  for (let index = 0; index < id.length; index++) value = (value * 31 + id.charCodeAt(index)) >>> 0;
  return value;
}

/** The class of an id's colour. @param {string} id */
export function colour(id) { return `c${hash(id) % COLOURS}`; }

const segments = typeof Intl.Segmenter === "function" ? new Intl.Segmenter() : null;

/** The first character as people count them. @param {string} word */
function first(word) {
  for (const {segment} of segments?.segment(word) ?? []) return segment;
  return [...word][0] ?? "";
}

/** A round picture of one or two letters. @param {string} id @param {string} name */
export function avatar(id, name) {
  const element = make("span", "avatar");
  paint(element, id, name);
  return element;
}

/** @param {HTMLElement} element @param {string} id @param {string} name */
export function paint(element, id, name) {
  const words = name.replace(/^#/, "").split(/[\s._-]+/u).filter(Boolean);
  element.className = `avatar ${colour(id)}`;
  element.ariaHidden = "true";
  element.textContent = id.startsWith("#") ? "#" : words.slice(0, 2).map(first).join("").toUpperCase() || first(name);
}

/**
 * Runs `work` once before the next frame, however often it is asked to. In a hidden page, where no frames come, soon.
 *
 * @param {() => void} work
 */
export function onceAFrame(work) {
  let asked = false;
  const run = () => {
    if (!asked) return;
    asked = false;
    work();
  };
  return () => {
    if (asked) return;
    asked = true;
    if (document.hidden) {
      setTimeout(run, 50);
    } else {
      requestAnimationFrame(run);
      setTimeout(run, 200); // a window that is covered draws no frames, and says that it is seen
    }
  };
}

// Messages

const LINES = 18; // lines, and characters, of a message that are shown before "Show more"
const CHARACTERS = 1500;
const LONG = 20_000; // characters beyond which a text has one direction as a whole
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"]);
const LINK = /\b(?:https?:\/\/|www\.)[^\s<>"'`]+/giu;
const CODE = /```(?:[\w+-]*\n)?([\s\S]+?)```|`([^`\n]+)`/gu;
const REACTIONS = 12; // different reactions that are shown, and users that one of them names
const ONLY_EMOJI = /^(?:\s|\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|\u200d|\ufe0f|\u20e3)+$/u;

const TICKS = /** @type {const} */ ({
  waiting: "stateWaiting", sending: "stateSending", sent: "stateSent", delivered: "stateDelivered", read: "stateRead", failed: "stateFailed",
});

/**
 * What stands around a message, so that one that has not changed is left alone.
 *
 * @typedef {object} Place
 * @property {boolean} day  Whether it is the first of its day.
 * @property {boolean} head  Whether it is the first of a row of messages by one person.
 * @property {boolean} divider  Whether the unread ones begin with it.
 */

/**
 * What an element shows: its words, and what changes while a message is on its way. If these differ from the message, it is drawn again.
 *
 * @typedef {object} Known
 * @property {Message} message
 * @property {string} url  Of its picture or file.
 * @property {number} place  What stands around it, as bits.
 * @property {string|null} text
 * @property {boolean} deleted
 * @property {boolean} edited
 * @property {Message["reactions"]|null} reactions
 * @property {ArrayBuffer|null|undefined} data
 * @property {string|undefined} reply
 * @property {boolean} expanded
 * @property {string} state
 * @property {number} time
 * @property {Message["problem"]} problem
 */

/** Makes and updates the elements of one conversation, and frees their pictures. */
export class Messages {
  /** @type {WeakMap<HTMLElement, Known>} */
  #known = new WeakMap();
  #expanded = new Set();

  /**
   * @param {Texts} texts
   * @param {string} user  Whose page it is.
   * @param {(id: string) => string} name
   * @param {(type: string) => string} safeType  As what a received file may be opened.
   */
  constructor(texts, user, name, safeType) {
    this.texts = texts;
    this.user = user;
    this.name = name;
    this.safeType = safeType;
  }

  /** @param {Message} message @param {Place} place */
  make(message, place) {
    const element = make("li");
    element.tabIndex = -1;
    element.dataset.key = message.key;
    this.#known.set(element, {
      message, url: "", place: -1, text: null, deleted: false, edited: false, reactions: null, data: null, reply: "", expanded: false, state: "", time: 0, problem: null,
    });
    this.update(element, place);
    return element;
  }

  /** @param {HTMLElement} element */
  messageOf(element) { return this.#known.get(element)?.message ?? null; }

  /** Draws again what is different. @param {HTMLElement} element @param {Place} place */
  update(element, place) {
    const known = this.#known.get(element);
    if (!known) return;
    const {message} = known;
    const {text, deleted, edited, reactions, state, time, problem} = message;
    const data = message.file?.data, reply = message.reply?.text, expanded = this.#expanded.has(message.key);
    const words = known.text !== text || known.deleted !== deleted || known.data !== data || known.reply !== reply || known.expanded !== expanded;
    const foot = known.state !== state || known.time !== time || known.problem !== problem || known.edited !== edited;
    const under = known.reactions !== reactions;
    if (words || foot || under) Object.assign(known, {text, deleted, edited, reactions, data, reply, expanded, state, time, problem});
    if (words) this.#fill(element, message);
    else if (foot) this.#foot(element, message);
    if (under) this.#under(element, message);
    const around = Number(place.day) + 2 * Number(place.head) + 4 * Number(place.divider);
    if (around === known.place) return;
    known.place = around;
    element.classList.toggle("head", place.head);
    element.querySelectorAll(":scope > .day, :scope > .divider").forEach((old) => old.remove());
    if (place.divider) element.prepend(make("p", "divider", make("span", "", this.texts.say("newMessages"))));
    if (place.day) element.prepend(make("p", "day", make("span", "", this.texts.day(message.time))));
  }

  /** Gives back what an element that leaves the document holds. @param {HTMLElement} element */
  free(element) {
    const known = this.#known.get(element);
    if (known?.url) URL.revokeObjectURL(known.url);
    if (known) known.url = "";
  }

  /** @param {HTMLElement} element @param {Message} message */
  #fill(element, message) {
    const {texts} = this;
    this.free(element);
    const bubble = make("div", "bubble");
    const by = make("bdi", message.own ? "unseen" : `from ${colour(message.from)}`);
    by.textContent = message.own ? texts.say("from", {name: texts.say("you")}) : this.name(message.from);
    bubble.append(by);
    if (message.reply) {
      const quote = make("blockquote", "quote", message.reply.text);
      quote.dir = "auto";
      if (message.reply.mid) quote.dataset.mid = message.reply.mid;
      bubble.append(quote);
    }
    if (message.file) bubble.append(this.#file(element, message, message.file));
    if (message.deleted) bubble.append(make("div", "text", make("em", "", texts.say("deleted"))));
    else if (message.text) bubble.append(...this.#words(message));
    bubble.append(make("span", "meta"));
    const old = element.querySelector(":scope > .bubble");
    const focused = old?.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
    const acts = old?.querySelector("#acts");
    if (acts && !message.deleted) bubble.append(acts);
    if (old) old.replaceWith(bubble);
    else element.append(bubble);
    if (focused) (focused.isConnected ? focused : element).focus({preventScroll: true});
    this.#foot(element, message);
  }

  /** The time, the tick, and what to do about a refused one. @param {HTMLElement} element @param {Message} message */
  #foot(element, message) {
    const {texts} = this;
    element.className = `${message.own ? "own" : "other"}${element.classList.contains("head") ? " head" : ""}`;
    element.dataset.state = message.state;
    const meta = element.querySelector(".meta");
    if (!meta) return;
    const time = make("time", "", texts.time(message.time));
    time.dateTime = new Date(message.time).toISOString();
    meta.replaceChildren(time);
    if (message.edited) meta.prepend(make("span", "edited", texts.say("edited")));
    if (message.own && message.state !== "received") {
      const tick = make("span", "tick");
      tick.setAttribute("role", "img");
      tick.setAttribute("aria-label", texts.say(TICKS[message.state]));
      meta.append(tick);
    }
    element.querySelector(".why")?.remove();
    if (message.state === "failed") {
      const code = message.problem?.code ?? "unknown";
      const why = make("p", "why", make("span", "", `${texts.say("stateFailed")}: ${texts.say(`problem ${code}`)} `));
      if (message.problem?.again !== false) why.append(button(texts.say("retry"), {className: "small", action: "retry"}));
      if (!message.file) why.append(button(texts.say("edit"), {className: "small", action: "edit"}));
      why.append(button(texts.say("discard"), {className: "small", action: "discard"}));
      element.append(why);
    }
  }

  /** The reactions. One that is pressed is the user's own. @param {HTMLElement} element @param {Message} message */
  #under(element, message) {
    const {texts} = this;
    const all = Object.entries(message.reactions);
    const old = element.querySelector(":scope > .reactions");
    if (!all.length) return old?.remove();
    const focused = old?.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.emoji : undefined;
    const row = make("div", "reactions");
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", texts.say("reactions"));
    for (const [emoji, users] of all.slice(0, REACTIONS)) {
      const chip = button("", {className: "reaction", action: "emoji"});
      chip.append(make("bdi", "", emoji), ` ${texts.number.format(users.length)}`);
      chip.dataset.emoji = emoji;
      chip.ariaPressed = String(users.includes(this.user));
      const some = users.slice(0, REACTIONS).map((id) => (id === this.user ? texts.say("you") : this.name(id))).join(", ");
      const more = users.length - REACTIONS;
      chip.title = texts.say("reaction", {emoji, n: users.length, names: more > 0 ? texts.say("andMore", {names: some, n: more}) : some});
      chip.setAttribute("aria-label", chip.title);
      row.append(chip);
    }
    if (old) old.replaceWith(row);
    else element.querySelector(":scope > .bubble")?.after(row);
    if (focused === undefined) return;
    const again = /** @type {HTMLElement[]} */ ([...row.children]).find(({dataset}) => dataset.emoji === focused);
    (again ?? element).focus();
  }

  /** @param {Message} message @returns {HTMLElement[]} */
  #words(message) {
    const {text} = message;
    const shown = this.#expanded.has(message.key) ? text : cut(text);
    const body = make("div", "text");
    body.dir = "auto";
    if (shown.length > LONG) body.style.unicodeBidi = "isolate"; // the style sheet's plaintext takes Chromium seconds in a long line
    body.append(...rich(shown));
    if (text.length < 40 && ONLY_EMOJI.test(text)) body.classList.add("emoji");
    if (cut(text) === text) return [body];
    const more = button(this.texts.say(shown === text ? "showLess" : "showMore"), {className: "more link", action: "more"});
    more.ariaExpanded = String(shown === text);
    if (shown !== text) body.append("…");
    return [body, more];
  }

  /** "Show more" and back. @param {HTMLElement} element */
  toggle(element) {
    const known = this.#known.get(element);
    if (!known) return;
    const {key} = known.message;
    if (!this.#expanded.delete(key)) this.#expanded.add(key);
    known.text = null;
    const place = {day: Boolean(element.querySelector(".day")), head: element.classList.contains("head"), divider: Boolean(element.querySelector(".divider"))};
    this.update(element, place);
  }

  /** @param {HTMLElement} element @param {Message} message @param {FilePart} file */
  #file(element, message, file) {
    const {texts} = this;
    const known = this.#known.get(element);
    const size = texts.size(file.size);
    if (!file.data || !known) {
      const load = button(`${file.name} · ${size} · ${texts.say("fetchFile")}`, {className: "file", action: "load"});
      return load;
    }
    const picture = PICTURES.has(file.type);
    const label = [make("bdi", "file-name", file.name), make("span", "file-size", size)];
    const url = known.url = URL.createObjectURL(new Blob([file.data], {type: picture ? file.type : this.safeType(file.type)}));
    const link = make("a", picture ? "frame" : "file");
    link.href = url;
    link.download = file.name || "file";
    link.title = texts.say("download", {name: file.name, size});
    if (picture) {
      const image = make("img", "picture");
      image.alt = texts.say("pictureFrom", {name: file.name});
      image.decoding = "async";
      if (file.width && file.height) {
        image.width = file.width;
        image.height = file.height;
      }
      image.src = url;
      // One that says it is a picture, and is none.
      image.addEventListener("error", () => {
        if (known.url !== url) return; // it was given back
        link.className = "file";
        link.replaceChildren(...label);
      });
      link.append(image);
    } else {
      link.append(...label);
    }
    return link;
  }
}

/** The beginning of a long text. @param {string} text */
function cut(text) {
  let end = text.length > CHARACTERS * 1.2 ? CHARACTERS : text.length;
  let at = -1;
  for (let lines = 0; lines < LINES; lines++) {
    at = text.indexOf("\n", at + 1);
    if (at < 0 || at >= end) return end === text.length ? text : whole(text, end);
  }
  end = Math.min(end, at);
  // A line or two more are not worth a button.
  return text.length - end < 120 && text.slice(end).split("\n").length < 4 ? text : whole(text, end);
}

/** Never half of a character. @param {string} text @param {number} end */
function whole(text, end) {
  const code = text.charCodeAt(end - 1);
  return text.slice(0, code >= 0xd800 && code <= 0xdbff ? end - 1 : end);
}

/** A text's nodes: `code` and links, the rest as it is. @param {string} text @returns {(Node|string)[]} */
function rich(text) {
  if (!text.includes("`")) return links(text);
  /** @type {(Node|string)[]} */
  const nodes = [];
  let done = 0;
  for (const match of text.matchAll(CODE)) {
    nodes.push(...links(text.slice(done, match.index)));
    nodes.push(match[1] === undefined ? make("code", "", match[2]) : make("pre", "", make("code", "", match[1].replace(/\n$/, ""))));
    done = match.index + match[0].length;
    if (match[1] !== undefined && text[done] === "\n") done += 1; // a block ends its line by itself
  }
  nodes.push(...links(text.slice(done)));
  return nodes;
}

/** @param {string} text @returns {(Node|string)[]} */
function links(text) {
  if (!/https?:\/\/|www\./i.test(text)) return text ? [text] : [];
  /** @type {(Node|string)[]} */
  const nodes = [];
  let done = 0;
  for (const match of text.matchAll(LINK)) {
    const address = trimmed(match[0]);
    const bare = /^www\./i.test(address);
    // A name of a site alone, not the end of a word, of a path or of an address for mail.
    if (bare && (!/^www\.[^.@]+\.[^.@]/i.test(address) || /[\w.@/-]/.test(text[match.index - 1] ?? ""))) continue;
    const href = bare ? `https://${address}` : address;
    if (!isWeb(href)) continue;
    nodes.push(text.slice(done, match.index));
    const link = make("a", "", address);
    link.href = href;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    nodes.push(link);
    done = match.index + address.length;
  }
  nodes.push(text.slice(done));
  return nodes;
}

/** Without the sentence's punctuation, nor a bracket that was opened before it. @param {string} address */
function trimmed(address) {
  let text = address.replace(/[.,;:!?…’”»]+$/u, "");
  while (/[)\]}]$/.test(text)) {
    const last = text[text.length - 1];
    const opening = last === ")" ? "(" : last === "]" ? "[" : "{";
    if (text.split(opening).length >= text.split(last).length) break;
    text = text.slice(0, -1);
  }
  return text;
}

/** @param {string} address */
function isWeb(address) {
  try {
    return /^https?:$/.test(new URL(address).protocol);
  } catch {
    return false;
  }
}
