"use strict";
// The admin page on three daemons: an operator who looks, acts on users, and sees daemons and services go and come back.

const http = require("node:http");
const { good } = require("./views.js");
const { PHONE, equal, ok } = require("./stage.js");

/** The page in a tab, as an operator has it before him. */
class Operator {
  constructor(stage, page) {
    Object.assign(this, { stage, page, name: "operator", complaints: [] });
    stage.people.push(this);
    page.on("console", (message) => { if (["error", "warning"].includes(message.type())) this.complaints.push(`${message.type()}: ${message.text()}`); });
    page.on("pageerror", (error) => this.complaints.push(`uncaught: ${error.message}`));
  }

  static async open(stage, url, look = {}) {
    const context = await stage.device(look);
    const operator = new Operator(stage, await context.newPage());
    await operator.page.goto(url);
    return operator;
  }

  async enter(key) {
    await this.page.getByLabel("Key of the API").fill(key);
    await this.page.getByRole("button", { name: "Open" }).click();
  }

  text(selector) { return this.page.locator(selector).innerText(); }

  /** Until the element says this. */
  sees(selector, words) {
    return this.stage.until(async () => (await this.text(selector).catch(() => "")).includes(words), `${words} in ${selector}`);
  }

  /** Until it no longer does. */
  misses(selector, words) {
    return this.stage.until(async () => !(await this.text(selector).catch(() => words)).includes(words), `${words} not in ${selector}`);
  }

  rows(id) { return this.page.locator(`#${id} tr`).allInnerTexts().then((rows) => rows.map((row) => row.split("\t"))); }

  /** The figure of a tile. */
  tile(name) { return this.page.locator("#tiles div").filter({ has: this.page.getByText(name, { exact: true }) }).locator("dd").innerText(); }

  async lookUp(user) {
    await this.page.getByLabel("User’s id").fill(user);
    await this.page.getByRole("button", { name: "Look up" }).click();
  }

  /** An action on the user that is shown; `agree` is whether it is confirmed. */
  async act(name, { text, agree = true } = {}) {
    await this.page.locator("#user-actions").getByRole("button", { name, exact: true }).click();
    const dialog = this.page.getByRole("dialog");
    await dialog.waitFor();
    if (text !== undefined) await dialog.getByLabel("Text").fill(text);
    await dialog.getByRole("button", { name: agree ? name : "Cancel", exact: true }).click();
    await dialog.waitFor({ state: "hidden" });
  }
}

module.exports = async (stage) => {
  const { apis, keys, hostile } = stage.config;
  const page = `${apis[0]}/admin`;
  const operator = await Operator.open(stage, page);
  const clean = (name, who = operator) => good(who.page, name, { anything: true });

  await stage.step("a key that is not known, and one without the scope, are refused in words", async () => {
    await clean("the form");
    for (const wrong of ["no key of this file, and long enough to be one", "ключ"]) {
      await operator.enter(wrong);
      await operator.sees("#login-why", "does not know this key");
    }
    await operator.enter(keys.sender);
    await operator.sees("#login-why", "It needs the scope admin");
    await clean("the form with an error");
    ok(!await operator.page.locator("#board").isVisible(), "the board without a key");
  });

  await stage.step("a key with the scope shows three daemons and their figures", async () => {
    await operator.enter(keys.admin);
    await operator.page.locator("#board").waitFor();
    await stage.until(async () => await operator.tile("Sockets") === "4", "four sockets");
    equal([await operator.tile("Daemons"), await operator.tile("Users online")], ["3", "4"], "the tiles");
    const rows = await operator.rows("daemons");
    equal(rows.map((row) => row[9]), ["ok", "ok", "ok"], "the services");
    equal(rows.map((row) => row[4]).sort(), ["0", "2", "2"], "sockets of each daemon");
    await operator.sees("#problems", "No problems");
    await clean("the board");
  });

  await stage.step("the key is in no address, and in the storage of this tab alone", async () => {
    equal(await operator.page.evaluate(() => [location.href, localStorage.length, document.cookie]), [page, 0, ""], "where it could be");
    await operator.page.reload();
    await operator.page.locator("#board").waitFor();
    const other = await operator.page.context().newPage();
    await other.goto(page);
    ok(await other.locator("#login").isVisible(), "another tab has the key");
    await other.close();
  });

  await stage.step("messages and refusals move the charts, which say so in words", async () => {
    const chart = operator.page.getByRole("img", { name: /^Messages a second/ });
    await stage.until(async () => {
      await stage.ask("chat");
      return /acknowledged: now [\d,.]+, at most (?!0[;.])/.test(await chart.getAttribute("aria-label"));
    }, "messages in the chart");
    await stage.until(async () => /p99: now .*at most [\d,.]+\.$/.test(await operator.page.getByRole("img", { name: /^Time until/ }).getAttribute("aria-label")), "the latency");
    await operator.sees("#refusals", "Request");
    ok(await operator.page.locator(".chart path.l0[d^=M]").count() >= 4, "lines that are drawn");
    await clean("the charts");
  });

  await stage.step("a moment is chosen with the keyboard", async () => {
    const slider = operator.page.getByLabel("Moment whose values are shown");
    await stage.until(async () => Number(await slider.getAttribute("max")) > 2, "some points");
    await slider.focus();
    await slider.press("ArrowLeft");
    const said = await slider.getAttribute("aria-valuetext");
    ok(/^\d\d:\d\d:\d\d: Sockets/.test(said), said);
    ok(await operator.page.locator(".cursor[visibility=visible]").count() > 0, "the moment in the charts");
    await slider.press("End");
    await operator.sees("#moment-words", "now: ");
  });

  await stage.step("it pauses", async () => {
    await operator.page.getByRole("button", { name: "Pause" }).click();
    await operator.sees("#status", "Paused");
    await operator.page.getByRole("button", { name: "Pause" }).click();
    await operator.sees("#status", "Live");
  });

  await stage.step("whatever a user is called is shown as text", async () => {
    await operator.lookUp(hostile);
    await operator.sees("#user-state", "Online");
    equal(await operator.page.locator("#user-name").evaluate((one) => one.textContent), hostile, "the name");
    equal(await operator.page.locator("#user img, #user script, #user b").count(), 0, "elements of the name");
    equal((await operator.rows("user-sockets-rows")).length, 1, "the sockets");
    await operator.act("Disconnect", { agree: false });
    equal(await operator.text("#user-answer"), "", "what was not done");
    await clean("a user");
    await operator.page.locator("#online-list").click();
    await operator.sees("#online-words", "3 users are listed");
    ok((await operator.page.locator("#online li").allTextContents()).includes(hostile), "the list");
    await operator.page.locator("#online").getByRole("button", { name: "ann", exact: true }).click();
    await operator.sees("#user-state", "2 sockets");
    await operator.lookUp("#room");
    await operator.sees("#user-why", "does not begin with #");
    await operator.lookUp("nobody");
    await operator.sees("#user-state", "Offline · not seen yet · No sockets");
  });

  await stage.step("a notice is sent after it was confirmed, and not without a text", async () => {
    await operator.lookUp("ann");
    await operator.sees("#user-state", "2 sockets");
    await operator.page.locator("#user-actions").getByRole("button", { name: "Send notice" }).click();
    const dialog = operator.page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Send notice" }).click();
    await operator.sees("#confirm-why", "Write a text first");
    await clean("the dialog");
    await operator.page.keyboard.press("Escape");
    await operator.act("Send notice", { text: "<b>Closed</b> at six" });
    await operator.sees("#user-answer", "The notice is stored");
    equal(await stage.ask("noticed"), ["operator", "<b>Closed</b> at six"], "what ann got");
  });

  await stage.step("a user is disconnected, and tokens are revoked and accepted again", async () => {
    await operator.act("Disconnect");
    await operator.sees("#user-answer", "were disconnected");
    await operator.sees("#user-state", "No sockets");
    await stage.ask("ended");
    await operator.act("Revoke tokens");
    await operator.sees("#user-answer", "are revoked");
    await stage.ask("tries", { sees: "connect_error" });
    await operator.act("Lift revocation");
    await operator.sees("#user-answer", "is lifted");
    await stage.ask("tries", { sees: "connect" });
  });

  await stage.step("it fits a phone, and is dark there", async () => {
    const phone = await Operator.open(stage, page, { ...PHONE, viewport: { width: 320, height: 568 }, colorScheme: "dark", reducedMotion: "reduce" });
    await phone.enter(keys.admin);
    await phone.page.locator("#board").waitFor();
    await clean("a phone", phone);
    await phone.page.context().close();
  });

  await stage.step("no page of others may show it in a frame", async () => {
    const server = http.createServer((_, response) => {
      response.setHeader("content-type", "text/html; charset=utf-8");
      response.end(`<!doctype html><html lang="en"><title>Other</title><link rel="icon" href="data:,"><iframe src="${page}"></iframe>`);
    });
    await new Promise((done) => { server.listen(0, "127.0.0.1", done); });
    const other = await (await stage.device()).newPage();
    const complaints = [];
    other.on("console", (message) => complaints.push(message.text()));
    await other.goto(`http://127.0.0.1:${server.address().port}`);
    await stage.until(() => complaints.some((text) => text.includes("frame-ancestors")), "the frame to be refused");
    await other.context().close();
    server.close();
    server.closeAllConnections();
  });

  await stage.step("a daemon that is killed is named, until it is dismissed", async () => {
    await stage.ask("kill", { which: 2 });
    await operator.sees("#problems", "has not answered since");
    await operator.sees("#daemons", "no answer");
    await stage.until(async () => await operator.tile("Daemons") === "2", "two daemons");
    await clean("a lost daemon");
    await operator.page.locator("#problems").getByRole("button", { name: /^Dismiss/ }).click();
    await operator.misses("#problems", "has not answered since");
    await stage.ask("restart", { which: 2 });
    await stage.until(async () => await operator.tile("Daemons") === "3", "three daemons again");
  });

  await stage.step("the page's own daemon is away, and comes back", async () => {
    await stage.ask("kill");
    await operator.sees("#status", "Not live");
    await operator.sees("#problems", "The daemon that served this page does not answer");
    await clean("a daemon that is away");
    await operator.lookUp("ann");
    await operator.sees("#user-why", "The daemon does not answer");
    await stage.ask("restart");
    await operator.sees("#status", "Live");
    await operator.misses("#problems", "The daemon that served this page does not answer");
  });

  await stage.step("services that are down are named", async () => {
    await stage.ask("stop redis");
    await operator.sees("#problems", "cannot use its store");
    await operator.sees("#problems", "cannot reach Redis");
    await operator.sees("#problems", "Figures may be incomplete");
    await operator.sees("#daemons", "store, bus down");
    await clean("services that are down");
    await stage.ask("start redis");
    await operator.misses("#problems", "cannot use its store");
    await operator.misses("#problems", "cannot reach Redis");
  });

  await stage.step("the key is forgotten", async () => {
    await operator.page.getByRole("button", { name: "Forget the key" }).click();
    ok(await operator.page.locator("#login").isVisible(), "the form");
    equal(await operator.page.evaluate(() => sessionStorage.length), 0, "what the tab keeps");
    equal(await operator.page.getByLabel("Key of the API").inputValue(), "", "the field");
  });
};
