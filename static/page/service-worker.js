// Keeps the page's shell: scripts, styles and icons, and a page that says that there is no network. Never a message, never the page
// itself, whose address and text may hold a token.
//
// The network comes first and the copy is for when it fails, so that a new release is never mixed with an old one. A new version of this
// file takes over at once: it has no state that the old one would miss.

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
      const copy = response.clone();
      caches.open(CACHE).then((cache) => cache.put(request, copy)).catch(() => {}); // a full disk spoils nothing
    }
    return response;
  } catch {
    return (await caches.match(request)) ?? Response.error();
  }
}
