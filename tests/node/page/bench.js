"use strict";
// What `make bench-page` measures, in one browser beside a daemon; see bench/page.py, which prints it.

const fs = require("node:fs");
const { at } = require("./hooks.js");
const { Person } = require("./person.js");
const { Writer } = require("./writer.js");

/** A quantile of numbers, by rank. */
function quantile(numbers, q) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] : 0;
}

/** Bytes over the network, requests and the milliseconds until the first paint and until it is connected. */
async function firstPaint(stage, url) {
  const context = await stage.device();
  const page = await context.newPage();
  const client = await context.newCDPSession(page);
  await client.send("Network.enable");
  const requests = new Map();
  client.on("Network.requestWillBeSent", ({ requestId, request, timestamp }) => requests.set(requestId, { url: request.url, begin: timestamp, bytes: 0 }));
  client.on("Network.loadingFinished", ({ requestId, encodedDataLength, timestamp }) => {
    const one = requests.get(requestId);
    if (one) Object.assign(one, { end: timestamp, bytes: encodedDataLength });
  });
  await page.goto(url);
  await new Person(stage, page, "").connected();
  await page.waitForLoadState("load");
  const ready = await page.evaluate(() => performance.now());
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0);
  const all = [...requests.values()].filter((one) => /^https?:/.test(one.url));
  await context.close();
  return {
    paint, ready, requests: all.length, bytes: all.reduce((sum, one) => sum + one.bytes, 0),
    urls: all.map((one) => `${new URL(one.url).pathname} ${one.bytes}`),
  };
}

/** Types letters through the browser's own input, one each `every` milliseconds, until `done` is settled; each key's milliseconds to the next paint. */
async function typing(page, client, done, every = 60) {
  await page.locator(at.text).focus();
  await page.evaluate(() => {
    window.keyTimes = [];
    window.keyObserver = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (entry.name === "keydown") window.keyTimes.push(entry.duration);
    });
    // Quicker ones are not reported.
    window.keyObserver.observe({ type: "event", durationThreshold: 16 });
  });
  let going = true;
  done.finally(() => { going = false; }).catch(() => {});
  let keys = 0;
  while (going) {
    const key = "abcdefgh "[keys % 9];
    await client.send("Input.dispatchKeyEvent", { type: "keyDown", text: key, key, unmodifiedText: key });
    await client.send("Input.dispatchKeyEvent", { type: "keyUp", key });
    keys += 1;
    await new Promise((next) => { setTimeout(next, every); });
  }
  await done;
  await page.waitForTimeout(300);
  const slow = await page.evaluate(() => { window.keyObserver.disconnect(); return window.keyTimes; });
  const typed = (await page.locator(at.text).inputValue()).length;
  return { keys, typed, times: [...slow, ...Array(Math.max(0, keys - slow.length)).fill(16)] };
}

/** In the page: milliseconds (of its own clock) at which the last message says this. */
function shownAt(page, words) {
  return page.evaluate(([selector, wanted]) => new Promise((done) => {
    const look = () => {
      const all = document.querySelectorAll(selector);
      if (all.length && all[all.length - 1].innerText.includes(wanted)) requestAnimationFrame(() => done(performance.timeOrigin + performance.now()));
      else requestAnimationFrame(look);
    };
    look();
  }), [at.message, words]);
}

/** The main thread's work a frame, of a trace. */
function frames(events) {
  const fired = events.filter((event) => event.ph === "X" && event.name === "FireAnimationFrame");
  if (!fired.length) return [];
  const { pid, tid } = fired[fired.length - 1];
  const mine = events.filter((event) => event.ph === "X" && event.pid === pid && event.tid === tid);
  const marks = mine.filter((event) => event.name === "FireAnimationFrame").map((event) => event.ts).sort((one, other) => one - other);
  const begins = marks.filter((ts, index) => index === 0 || ts - marks[index - 1] > 4000);
  const work = begins.map(() => 0);
  for (const task of mine) {
    if (!/RunTask$/.test(task.name)) continue;
    const frame = begins.findLastIndex((ts) => ts <= task.ts + task.dur);
    if (frame >= 0) work[frame] += task.dur / 1000;
  }
  return work.slice(1, -1);
}

async function traced(stage, name, run) {
  const client = await stage.browser.newBrowserCDPSession();
  const events = [];
  client.on("Tracing.dataCollected", ({ value }) => { for (const one of value) events.push(one); });
  await client.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: ["toplevel", "devtools.timeline", "blink.user_timing"] } });
  const result = await run();
  const ended = new Promise((done) => { client.once("Tracing.tracingComplete", done); });
  await client.send("Tracing.end");
  await ended;
  await client.detach();
  if (stage.config.profiles) fs.writeFileSync(`${stage.config.profiles}/${name}.trace.json`, JSON.stringify({ traceEvents: events }));
  return { result, events };
}

/** Runs it under the CPU profiler; the functions that took most of it, in milliseconds. */
async function profiled(stage, client, name, run) {
  await client.send("Profiler.enable");
  await client.send("Profiler.setSamplingInterval", { interval: 500 });
  await client.send("Profiler.start");
  const result = await run();
  const { profile } = await client.send("Profiler.stop");
  if (stage.config.profiles) fs.writeFileSync(`${stage.config.profiles}/${name}.cpuprofile`, JSON.stringify(profile));
  const own = new Map();
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  profile.samples.forEach((id, index) => {
    const { functionName, url, lineNumber } = nodes.get(id).callFrame;
    const key = `${functionName || "(anonymous)"} ${url.replace(/^.*static\//, "")}:${lineNumber + 1}`;
    own.set(key, (own.get(key) ?? 0) + (profile.timeDeltas[index] ?? 0) / 1000);
  });
  const top = [...own].filter(([key]) => !/^\((idle|program|root)\)/.test(key)).sort((a, b) => b[1] - a[1]).slice(0, 8)
    .map(([key, ms]) => `${ms.toFixed(0)} ms ${key}`);
  return { result, top };
}

/** Megabytes: of the page's JavaScript after a collection, and what its process has for itself alone. */
async function memory(stage, client, page) {
  await client.send("HeapProfiler.enable");
  await client.send("HeapProfiler.collectGarbage");
  await client.send("HeapProfiler.collectGarbage");
  const { usedSize } = await client.send("Runtime.getHeapUsage");
  const browser = await stage.browser.newBrowserCDPSession();
  const { processInfo } = await browser.send("SystemInfo.getProcessInfo");
  await browser.detach();
  const sizes = processInfo.filter((one) => one.type === "renderer").map(({ id }) => {
    try {
      const text = fs.readFileSync(`/proc/${id}/smaps_rollup`, "utf8");
      return ["Private_Clean", "Private_Dirty"].reduce((sum, name) => sum + Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)[1]), 0) / 1024;
    } catch { return 0; }
  });
  return { heap: usedSize / 2 ** 20, process: Math.max(...sizes) };
}

module.exports = async (stage) => {
  const { url, tokens, scale = 1 } = stage.config;
  const address = (uid, rid) => `${url}/?uid=${uid}&rid=${rid}&token=${tokens[uid]}`;
  const figures = {};
  const failures = [];
  // A part that fails does not take the others with it.
  const part = (name, run) => stage.step(name, run).catch(async (error) => {
    failures.push(`${name}: ${error.message.split("\n")[0]}`);
    await Promise.all(stage.browser.contexts().map((context) => context.close()));
  });

  await part("first paint", async () => { figures.paint = await firstPaint(stage, address("alice", "bob")); });

  const writer = new Writer(url, "bob", tokens.bob);
  await writer.connected();

  await part("1,000 messages in a second", async () => {
    const context = await stage.device();
    const alice = await Person.open(stage, context, address("alice", "bob"), "alice");
    const client = await context.newCDPSession(alice.page);
    await writer.send("alice", "warm");
    await alice.sees("warm");
    const count = Math.round(1000 * scale);
    const { result, top } = await profiled(stage, client, "burst", async () => {
      const begin = Date.now();
      const shown = shownAt(alice.page, `burst ${count - 1}.`);
      const sending = (async () => {
        for (let sent = 0; sent < count;) {
          const due = Math.min(count, Math.ceil(((Date.now() - begin) / 1000) * 1000 * scale) + 1);
          while (sent < due) { writer.send("alice", `burst ${sent}. It has some words, as messages do.`); sent += 1; }
          await new Promise((next) => { setTimeout(next, 5); });
        }
      })();
      const keys = await typing(alice.page, client, Promise.all([shown, sending]));
      return { seconds: ((await shown) - begin) / 1000, keys };
    });
    const { seconds, keys } = result;
    figures.burst = { count, seconds, keys: keys.keys, typed: keys.typed, p50: quantile(keys.times, 0.5), p95: quantile(keys.times, 0.95), max: quantile(keys.times, 1), top };
    await context.close();
  });

  await part("10,000 missed messages", async () => {
    const count = Math.round(10000 * scale);
    await writer.fill("alice", count, (number) => `missed ${number}. It has some words, as messages do.`);
    const context = await stage.device();
    const page = await context.newPage();
    const client = await context.newCDPSession(page);
    const { result, top } = await profiled(stage, client, "missed", async () => {
      const begin = Date.now();
      await page.goto(address("alice", "bob"));
      const alice = new Person(stage, page, "alice");
      await alice.connected();
      const shown = (await shownAt(page, `missed ${count - 1}.`)) - begin;
      await page.locator(at.text).fill("x");
      const usable = Date.now() - begin;
      const keys = await typing(page, client, new Promise((done) => { setTimeout(done, 3000); }));
      return { shown, usable, keys };
    });
    figures.missed = { count, shown: result.shown / 1000, usable: result.usable / 1000, p95: quantile(result.keys.times, 0.95), top };
    await context.close();
  });

  await part("100,000 messages scrolled", async () => {
    const count = Math.round(100000 * scale);
    await writer.fill("carol", count, (number) => `history ${number}. ${"It has some words, as messages do. ".repeat(1 + (number % 3))}`, 1000);
    const context = await stage.device();
    const carol = await Person.open(stage, context, address("carol", "bob"), "carol");
    const { page } = carol;
    await carol.sees(`history ${count - 1}.`);
    const client = await context.newCDPSession(page);
    const box = await page.locator(at.messages).evaluate((element) => {
      let one = element;
      while (one && one.scrollHeight <= one.clientHeight + 1) one = one.parentElement;
      const { x, y, width, height } = (one ?? element).getBoundingClientRect();
      return { x: x + width / 2, y: y + height / 2 };
    });
    const scroll = async (seconds, step) => {
      const end = Date.now() + seconds * 1000;
      await page.evaluate(() => {
        window.frameTimes = [];
        window.framing = true;
        let last = performance.now();
        const tick = (now) => { window.frameTimes.push(now - last); last = now; if (window.framing) requestAnimationFrame(tick); };
        requestAnimationFrame(tick);
      });
      while (Date.now() < end) {
        await client.send("Input.dispatchMouseEvent", { type: "mouseWheel", ...box, deltaX: 0, deltaY: step });
        await new Promise((next) => { setTimeout(next, 16); });
      }
      return page.evaluate(() => { window.framing = false; return window.frameTimes; });
    };
    await scroll(1, -400);
    const seconds = stage.config.scroll ?? 15;
    const { result: times, events } = await traced(stage, "scroll", () => scroll(seconds, -400));
    const work = frames(events);
    const { top } = await profiled(stage, client, "scroll", () => scroll(5, -400));
    const first = Number(/history (\d+)\./.exec(await page.locator(at.message).first().innerText())?.[1]);
    const apart = times.reduce((sum, one) => sum + one, 0) / times.length;
    const elements = await page.evaluate(() => document.querySelectorAll("*").length);
    figures.scroll = {
      count, seconds, passed: count - first, elements, fps: 1000 / apart, apart,
      frames: work.length, p50: quantile(work, 0.5), p95: quantile(work, 0.95), max: quantile(work, 1), top,
    };
    figures.memory = await memory(stage, client, page);
    await context.close();
  });
  writer.end();
  return { figures, failures };
};
