// Every text that the page shows, in each of its languages. `{name}` is replaced by a value.
// Another language: a table with the same keys here, and its name in NAMES.

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
  offline: "No network. Messages are sent when it is back.",
  waiting: "Connection lost.",
  waitingDrain: "The server is restarting.",
  waitingSlow: "This connection was too slow.",
  waitingRate: "Too much at once: the server asks for a pause.",
  waitingLarge: "A message was too large for the server.",
  inSeconds: "Next try in {n} s",
  nextTry: "Trying again…",
  refused: "The server refuses this page.",
  refusedToken: "The server does not accept this page’s token. It may have expired, or belong to another user: open the page again from your application.",
  refusedRevoked: "Your access was withdrawn. Open the page again from your application.",
  refusedReplaced: "You are connected in too many places. This page was the oldest.",
  ended: "Logged out.",
  notConnected: "Not connected",
  reload: "Reload",
  // The list
  noConversations: "No conversations yet",
  noConversationsHint: "Start one with the + button: type the name of a person, or # and the name of a room.",
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
  unreadMany: "1000 and more unread",
  yesterday: "Yesterday",
  today: "Today",
  // The conversation
  online: "online",
  isOffline: "offline",
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
  jump: "Jump to the newest message",
  jumpCount: "{n} new",
  showMore: "Show more",
  showLess: "Show less",
  dropHere: "Drop to attach",
  pickConversation: "Choose a conversation",
  pickHint: "Or start a new one: messages arrive even when the other is away.",
  demoHint: "This is a demo, so you can be both sides: open a second window as somebody else, and write to yourself.",
  openAs: "Open a window as {name}",
  details: "Details",
  // Messages
  stateWaiting: "Waiting to be sent",
  stateSending: "Sending",
  stateSent: "Sent",
  stateDelivered: "Delivered",
  stateRead: "Read",
  stateFailed: "Not sent",
  from: "{name}: ",
  reply: "Reply",
  replyTo: "Reply to {name}",
  copy: "Copy",
  copied: "Copied.",
  copyFailed: "The browser did not allow to copy.",
  retry: "Try again",
  edit: "Edit",
  discard: "Discard",
  cancel: "Cancel",
  editing: "Editing what was not sent",
  remove: "Remove {name}",
  download: "Download {name}, {size}",
  fetchFile: "Load",
  pictureFrom: "Picture {name}",
  bytes: "{n} bytes",
  // Problems
  tooLarge: "“{name}” is too large: {size}. This server takes at most {limit} in a message.",
  tooLong: "Too long for this server, which takes at most {limit} in a message. Make it shorter.",
  unreadable: "“{name}” cannot be read.",
  "problem too large": "Too large for this server.",
  "problem invalid": "The server does not accept this message.",
  "problem not allowed": "You are not allowed to write here.",
  "problem slow down": "Too many messages at once. Try again in a moment.",
  "problem not available": "The server could not store it. Try again in a moment.",
  "problem connection": "The connection was lost each time.",
  "problem full": "Too many messages wait to be sent.",
  "problem quota": "This browser has no room left to keep unsent messages: they are lost when you close the page.",
  "problem storage": "This browser keeps nothing for this page: unsent messages are lost when you close it.",
  "problem unknown": "Something went wrong.",
  badName: "A name has 1 to 128 characters.",
  // Dialogs
  startTitle: "New conversation",
  startLabel: "Name of a person, or # and the name of a room",
  open: "Open",
  theme: "Look",
  themeAuto: "As the device",
  themeLight: "Light",
  themeDark: "Dark",
  language: "Language",
  languageAuto: "As the browser",
  nextVisit: "The page shows it when it is loaded again.",
  sound: "Play a sound for new messages",
  notify: "Show notifications while this page is in the background",
  notifyDenied: "This browser blocks notifications for this page. Allow them in its settings.",
  notifyText: "New message",
  logout: "Log out",
  logoutAll: "Log out on all devices",
  blocked: "Blocked people",
  nobodyBlocked: "You block nobody.",
  block: "Block {name}",
  unblock: "Unblock {name}",
  blockHint: "Their messages no longer reach you, and they see you offline.",
  leave: "Leave the room",
  done: "Done.",
  // Keys
  keySend: "Send the message",
  keyLine: "Start a new line",
  keyMove: "Move in the list of conversations, or among messages",
  keyReply: "Reply to, or copy, the message that has the focus",
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
  waitingRate: "Zu viel auf einmal: der Server bittet um eine Pause.",
  waitingLarge: "Eine Nachricht war zu groß für den Server.",
  inSeconds: "Nächster Versuch in {n} s",
  nextTry: "Neuer Versuch…",
  refused: "Der Server lehnt diese Seite ab.",
  refusedToken: "Der Server nimmt den Token dieser Seite nicht an. Er ist vielleicht abgelaufen oder gehört jemand anderem: öffne die Seite noch einmal aus deiner Anwendung.",
  refusedRevoked: "Dein Zugang wurde zurückgezogen. Öffne die Seite noch einmal aus deiner Anwendung.",
  refusedReplaced: "Du bist an zu vielen Stellen verbunden. Diese Seite war die älteste.",
  ended: "Abgemeldet.",
  notConnected: "Nicht verbunden",
  reload: "Neu laden",
  noConversations: "Noch keine Unterhaltungen",
  noConversationsHint: "Beginne eine mit der Taste +: der Name einer Person, oder # und der Name eines Raums.",
  nothingFound: "Nichts gefunden zu „{words}“.",
  startWith: "An {name} schreiben",
  joinRoom: "Den Raum {name} öffnen",
  foundMessages: "Nachrichten",
  foundLoaded: "Gesucht wird in den Nachrichten, die diese Seite geladen hat.",
  draft: "Entwurf",
  typing: "schreibt…",
  picture: "Bild",
  file: "Datei",
  unread: "{n} ungelesen",
  unreadMany: "1000 und mehr ungelesen",
  yesterday: "Gestern",
  today: "Heute",
  online: "online",
  isOffline: "offline",
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
  jump: "Zur neuesten Nachricht springen",
  jumpCount: "{n} neue",
  showMore: "Mehr anzeigen",
  showLess: "Weniger anzeigen",
  dropHere: "Zum Anhängen loslassen",
  pickConversation: "Wähle eine Unterhaltung",
  pickHint: "Oder beginne eine neue: Nachrichten kommen an, auch wenn der andere gerade nicht da ist.",
  demoHint: "Dies ist eine Demo, also kannst du beide Seiten sein: öffne ein zweites Fenster als jemand anders und schreib dir selbst.",
  openAs: "Ein Fenster als {name} öffnen",
  details: "Einzelheiten",
  stateWaiting: "Wartet auf das Senden",
  stateSending: "Wird gesendet",
  stateSent: "Gesendet",
  stateDelivered: "Zugestellt",
  stateRead: "Gelesen",
  stateFailed: "Nicht gesendet",
  from: "{name}: ",
  reply: "Antworten",
  replyTo: "Antwort an {name}",
  copy: "Kopieren",
  copied: "Kopiert.",
  copyFailed: "Der Browser hat das Kopieren nicht erlaubt.",
  retry: "Erneut versuchen",
  edit: "Bearbeiten",
  discard: "Verwerfen",
  cancel: "Abbrechen",
  editing: "Nicht Gesendetes bearbeiten",
  remove: "{name} entfernen",
  download: "{name} herunterladen, {size}",
  fetchFile: "Laden",
  pictureFrom: "Bild {name}",
  bytes: "{n} Bytes",
  tooLarge: "„{name}“ ist zu groß: {size}. Dieser Server nimmt höchstens {limit} je Nachricht an.",
  tooLong: "Zu lang für diesen Server, der höchstens {limit} je Nachricht annimmt. Bitte kürzen.",
  unreadable: "„{name}“ kann nicht gelesen werden.",
  "problem too large": "Zu groß für diesen Server.",
  "problem invalid": "Der Server nimmt diese Nachricht nicht an.",
  "problem not allowed": "Du darfst hier nicht schreiben.",
  "problem slow down": "Zu viele Nachrichten auf einmal. Versuche es gleich noch einmal.",
  "problem not available": "Der Server konnte sie nicht speichern. Versuche es gleich noch einmal.",
  "problem connection": "Die Verbindung ging jedes Mal verloren.",
  "problem full": "Zu viele Nachrichten warten auf das Senden.",
  "problem quota": "Dieser Browser hat keinen Platz mehr für nicht Gesendetes: es geht verloren, wenn du die Seite schließt.",
  "problem storage": "Dieser Browser bewahrt für diese Seite nichts auf: nicht Gesendetes geht verloren, wenn du sie schließt.",
  "problem unknown": "Etwas ist schiefgegangen.",
  badName: "Ein Name hat 1 bis 128 Zeichen.",
  startTitle: "Neue Unterhaltung",
  startLabel: "Name einer Person, oder # und der Name eines Raums",
  open: "Öffnen",
  theme: "Aussehen",
  themeAuto: "Wie das Gerät",
  themeLight: "Hell",
  themeDark: "Dunkel",
  language: "Sprache",
  languageAuto: "Wie der Browser",
  nextVisit: "Die Seite zeigt sie, wenn sie neu geladen wird.",
  sound: "Ton bei neuen Nachrichten",
  notify: "Mitteilungen zeigen, während diese Seite im Hintergrund ist",
  notifyDenied: "Dieser Browser sperrt Mitteilungen für diese Seite. Erlaube sie in seinen Einstellungen.",
  notifyText: "Neue Nachricht",
  logout: "Abmelden",
  logoutAll: "Auf allen Geräten abmelden",
  blocked: "Blockierte Personen",
  nobodyBlocked: "Du blockierst niemanden.",
  block: "{name} blockieren",
  unblock: "{name} nicht mehr blockieren",
  blockHint: "Deren Nachrichten erreichen dich nicht mehr, und sie sehen dich offline.",
  leave: "Den Raum verlassen",
  done: "Erledigt.",
  keySend: "Nachricht senden",
  keyLine: "Neue Zeile beginnen",
  keyMove: "In der Liste der Unterhaltungen oder unter den Nachrichten gehen",
  keyReply: "Auf die Nachricht mit dem Fokus antworten, oder sie kopieren",
  keySearch: "Suchen",
  keyNext: "Nächste oder vorige Unterhaltung",
  keyEscape: "Abbrechen, schließen oder zurück",
  keyKeys: "Diese Liste zeigen",
  oneNew: "{name}: {text}",
  manyNew: "{n} neue Nachrichten von {name}",
  manyNewMany: "{n} neue Nachrichten in {m} Unterhaltungen",
};

/** @typedef {keyof typeof en} Key */

/** @type {Record<string, Record<Key, string>>} */
const TABLES = {en, de};

/** The languages by their own names, for the settings. */
export const NAMES = {en: "English", de: "Deutsch"};

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
    const locale = valid(asked) ? [asked, this.language] : [this.language];
    this.clock = new Intl.DateTimeFormat(locale, {hour: "2-digit", minute: "2-digit"});
    this.date = new Intl.DateTimeFormat(locale, {day: "2-digit", month: "2-digit", year: "2-digit"});
    this.longDate = new Intl.DateTimeFormat(locale, {weekday: "long", day: "numeric", month: "long", year: "numeric"});
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

  /** The time of day. @param {number} time */
  time(time) { return this.clock.format(time); }

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
