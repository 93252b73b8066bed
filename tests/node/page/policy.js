"use strict";
// What the page may do in a browser, and who may show it: its headers as Chromium heeds them.

const http = require("node:http");
const { at } = require("./hooks.js");
const { Person } = require("./person.js");
const { equal, ok } = require("./stage.js");

/** An application that shows the page in a frame; its URL. */
async function application(port, page) {
  const seen = [];
  const server = http.createServer((request, response) => {
    seen.push(request.url);
    response.setHeader("access-control-allow-origin", "*");
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(`<!doctype html><title>An application</title><iframe width="900" height="700" src="${page.replaceAll("&", "&amp;")}"></iframe>`);
  });
  await new Promise((done) => { server.listen(port, "127.0.0.1", done); });
  return { server, seen, url: `http://127.0.0.1:${server.address().port}` };
}

module.exports = async (stage) => {
  const { urls, tokens, port } = stage.config;
  const [guarded, demo] = urls;
  const address = (uid, rid) => `${guarded}/?uid=${uid}&rid=${rid}&token=${tokens[uid]}`;
  const context = await stage.device();
  const bob = await Person.open(stage, context, address("bob", "alice"), "bob");
  const allowed = await application(port, address("alice", "bob"));
  const other = await application(0, address("alice", "bob"));

  await stage.step("an application that is named shows the page in a frame", async () => {
    const page = await (await stage.device()).newPage();
    await page.goto(allowed.url);
    const frame = page.frameLocator("iframe");
    await frame.locator(`${at.status}[data-state=connected]`).waitFor();
    await frame.locator(at.text).fill("From a frame");
    await frame.locator(at.text).press("Enter");
    await bob.sees("From a frame");
    await page.context().close();
  });

  await stage.step("another one does not", async () => {
    const page = await (await stage.device()).newPage();
    const complaints = [];
    page.on("console", (message) => complaints.push(message.text()));
    await page.goto(other.url);
    await stage.until(() => complaints.some((text) => text.includes("frame-ancestors")), "the frame to be refused");
    equal(await page.frames().at(-1).locator(at.status).count(), 0, "the page in a frame");
    await page.context().close();
  });

  await stage.step("a script that got in would reach no other server", async () => {
    const found = await bob.page.evaluate(async (elsewhere) => {
      const violations = [];
      document.addEventListener("securitypolicyviolation", (event) => violations.push(event.effectiveDirective));
      const tried = {};
      tried.fetch = await fetch(elsewhere).then(() => "done", () => "refused");
      tried.beacon = navigator.sendBeacon(elsewhere, "x");
      try { new WebSocket(elsewhere.replace("http:", "ws:")); } catch { tried.socket = "refused"; }
      const picture = new Image();
      tried.picture = await new Promise((done) => {
        picture.onload = () => done("done");
        picture.onerror = () => done("refused");
        picture.src = `${elsewhere}/picture.png`;
      });
      for (const [name, text] of [["script", "window.inline = 1"], ["style", "body { --inline: 1 }"]]) {
        const element = document.createElement(name);
        element.textContent = text;
        document.head.append(element);
      }
      const button = document.createElement("button");
      button.setAttribute("onclick", "window.handler = 1");
      document.body.append(button);
      button.click();
      button.remove();
      await new Promise((done) => { setTimeout(done, 50); });
      const inline = [window.inline, window.handler, getComputedStyle(document.body).getPropertyValue("--inline")];
      return { tried, inline, violations: [...new Set(violations)].sort() };
    }, other.url);
    equal([found.tried.fetch, found.tried.picture], ["refused", "refused"], "what it tried");
    equal(found.inline.map((one) => one || null), [null, null, null], "what is inline");
    for (const directive of ["connect-src", "img-src", "script-src-attr", "script-src-elem", "style-src-elem"]) {
      ok(found.violations.includes(directive), `${directive} is not among ${found.violations}`);
    }
    equal(other.seen.filter((url) => url !== "/" && url !== "/favicon.ico"), [], "requests elsewhere");
    // These were wanted; everywhere else a violation is a failure.
    bob.complaints.length = 0;
  });

  await stage.step("a page that is loaded again uses the scripts that it has: their release is in their URLs", async () => {
    const before = (await stage.ask("log")).length;
    const again = await Person.open(stage, context, address("bob", "alice"), "bob again");
    const asked = (await stage.ask("log")).slice(before).match(/GET \/static\/\S+\.(js|css) \d+/g) ?? [];
    equal(asked.filter((line) => !/304$/.test(line)), [], "files that were sent again");
    const urls = await again.page.evaluate(() => [...document.querySelectorAll("script, link")].map((one) => one.src || one.href).filter((url) => /\.(js|css)$/.test(url)));
    equal(new Set(urls.map((url) => /\/static\/(v-\w+)\//.exec(url)?.[1])).size, 1, `releases of ${urls}`);
    await again.close();
  });

  await stage.step("in the demo a page gets another token, and no other page does", async () => {
    const page = await (await stage.device()).newPage();
    await page.goto(`${demo}/?uid=alice&rid=bob`);
    const [status, answer] = await page.evaluate(async () => {
      const response = await fetch(new URL("demo/token?uid=alice", document.baseURI));
      return [response.status, await response.json()];
    });
    equal(status, 200, "the status");
    ok(/^eyJ[\w-]+\.[\w-]+\.[\w-]+$/.test(answer.token) && answer.in > 0, JSON.stringify(Object.keys(answer)));
    await page.goto(allowed.url.replace("127.0.0.1", "localhost"));
    const elsewhere = await page.evaluate((url) => fetch(`${url}/demo/token?uid=alice`).then((response) => response.text(), () => "refused"), demo);
    equal(elsewhere, "refused", "a token for another page");
    equal(await page.evaluate((url) => fetch(`${url}/demo/token?uid=alice`).then(() => "answered", () => "refused"), guarded), "refused", "a token outside of the demo");
    await page.context().close();
  });

  for (const { server } of [allowed, other]) { server.close(); server.closeAllConnections(); }
};
