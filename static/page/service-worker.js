// Keeps the page's shell: scripts, styles and icons, and a page that says that there is no network. Never a message, never the page
// itself, whose address and text may hold a token. And shows what the server pushes when no page is open: how many messages wait.
//
// The network comes first and the copy is for when it fails. Scripts and styles have their release in their URLs, so one is never mixed
// with another. A new version of this file takes over at once: it has no state that the old one would miss.

const CACHE = "kschat-shell-1";
const NO_NETWORK = "static/page/offline.html";

const worker = /** @type {any} */ (self);

/** @param {string} path */
const beside = (path) => new URL(path, worker.registration.scope).href;

worker.addEventListener("install", (/** @type {any} */ event) => {
  worker.skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll([beside(NO_NETWORK), beside("static/page/page.css")])));
});

worker.addEventListener("activate", (/** @type {any} */ event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith("kschat-shell-") && name !== CACHE) await caches.delete(name);
    await worker.clients.claim();
  })());
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const {request} = event;
  if (request.method !== "GET") return;
  if (request.mode === "navigate") event.respondWith(page(request));
  else if (request.url.startsWith(beside("static/")) && !request.headers.has("range")) event.respondWith(file(request));
});

/** @param {Request} request */
async function page(request) {
  try {
    return await fetch(request);
  } catch {
    return (await caches.match(beside(NO_NETWORK))) ?? Response.error();
  }
}

/** @param {Request} request */
async function file(request) {
  try {
    const response = await fetch(request);
    if (response.ok) {
      keep(request, response.clone()).catch(() => {}); // a full disk spoils nothing
    }
    return response;
  } catch {
    return (await caches.match(request)) ?? Response.error();
  }
}

/** Keeps a copy, and none of other releases. @param {Request} request @param {Response} response */
async function keep(request, response) {
  const cache = await caches.open(CACHE);
  await cache.put(request, response);
  const release = releaseOf(request.url);
  if (!release) return;
  for (const {url} of await cache.keys()) if (![undefined, release].includes(releaseOf(url))) await cache.delete(url);
}

/** @param {string} url */
function releaseOf(url) { return /\/static\/(v-\w+)\//.exec(url)?.[1]; }

// Pushes. The page has put the texts into a cache, in the user's language. A push has no text of a message.

const WORDS = "kschat-words";

/** @typedef {{user: string, count: number, more?: boolean, peer?: string, url?: string}} Push  What the server sends. */

worker.addEventListener("push", (/** @type {any} */ event) => { event.waitUntil(notify(pushOf(event.data))); });

worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
  event.notification.close();
  event.waitUntil(show(event.notification.data));
});

/** @param {any} data @returns {Push} */
function pushOf(data) {
  try {
    const found = data.json();
    if (typeof found.user === "string" && Number.isInteger(found.count)) return found;
  } catch {
    // A browser may push on its own, without any data.
  }
  return {user: "", count: 1};
}

/** @param {Push} push */
async function notify(push) {
  const words = {title: "kschat", one: "New message", many: "{n} new messages", lang: "en"};
  try {
    const kept = await (await caches.open(WORDS)).match("words");
    if (kept) Object.assign(words, await kept.json());
  } catch {
    // The English ones will do.
  }
  const body = push.count === 1 ? words.one : words.many.replace("{n}", `${push.count}${push.more ? "+" : ""}`);
  // A later push takes the place of an earlier one, and is heard again.
  await worker.registration.showNotification(words.title, {
    body, lang: words.lang, tag: `kschat push ${push.user}`, renotify: true, icon: beside("static/page/icon-192.png"), data: push,
  });
}

/** Opens the conversation, in a page of this user if there is one. @param {Push} push */
async function show({user, peer = "", url = ""}) {
  const pages = await worker.clients.matchAll({type: "window", includeUncontrolled: true});
  for (const page of pages) {
    const address = new URL(page.url);
    if (!page.url.startsWith(worker.registration.scope) || address.searchParams.get("uid") !== user) continue;
    page.postMessage({kschat: "open", peer});
    await page.focus().catch(() => {}); // only a click of the user allows it
    return;
  }
  const query = new URLSearchParams({...(user ? {uid: user} : {}), ...(peer ? {rid: peer} : {})});
  await worker.clients.openWindow(url || beside(`?${query}`)).catch(() => {});
}
