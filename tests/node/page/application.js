"use strict";
// An application of another origin that shows kschat's page in a frame, and gives it tokens.

const http = require("node:http");

/** In the application's page: it answers when it is asked for a token, and gives names. */
const GIVES = `window.asked = 0;
addEventListener("message", async (event) => {
  if (event.source !== frames[0]) return;
  if (event.data?.kschat === "ready") event.source.postMessage({kschat: "names", names: {bob: "Robert of the application"}}, event.origin);
  if (event.data?.kschat !== "token") return;
  window.asked += 1;
  event.source.postMessage({kschat: "token", token: await window.freshToken(event.data.user)}, event.origin);
});`;

/**
 * Serves it on that port of this machine; `shows(page)` is its address.
 *
 * As `localhost` it is of another site than the daemon at 127.0.0.1, and the browser then gives the frame no storage that lasts and no locks:
 * Playwright's are private windows. As 127.0.0.1 it is of the same site, though of another origin.
 */
async function application(port, host) {
  const server = http.createServer((request, response) => {
    const page = new URL(request.url, "http://localhost").searchParams.get("page") ?? "";
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>An application</title>
<link rel="icon" href="data:,"><style>html, body, iframe { display: block; width: 100%; height: 100%; margin: 0; border: 0; overflow: hidden }</style>
<iframe title="Chat" allow="clipboard-write" src="${page.replaceAll("&", "&amp;").replaceAll('"', "&quot;")}"></iframe><script>${GIVES}</script></html>`);
  });
  await new Promise((done) => { server.listen(port, host, done); });
  return {
    shows: (page) => `http://${host}:${port}/?${new URLSearchParams({ page })}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

module.exports = { application };
