// What the admin page computes: `node --test admin_test.mjs`.
import assert from "node:assert/strict";
import test from "node:test";
import { scaleEnd } from "../../admin/chart.js";
import { Lost, fresh, pointOf, quantile, refusalsOf } from "../../admin/figures.js";
import { age, number, size } from "../../admin/texts.js";

const BOUNDS = [0.001, 0.01, 0.1];

function daemon(name, more = {}) {
  return {
    name, version: "1", since: 100, connections: 2, sockets: 2, users: 1, counts: { sent: 0, delivered: 0, confirmed: 0 }, refused: {}, services: {},
    latency: { acknowledged: { bounds: BOUNDS, counts: [0, 0, 0, 0] } }, queues: {}, refusals: {}, ...more,
  };
}

const look = (time, ...daemons) => ({ time, daemons, complete: true });

test("rates are of the time between two looks, of all daemons together", () => {
  const before = look(1000, daemon("a", { counts: { sent: 10 } }), daemon("b", { counts: { sent: 5 } }));
  const now = look(1004, daemon("a", { counts: { sent: 30, delivered: 8 } }), daemon("b", { counts: { sent: 5 } }));
  const { figures } = pointOf(before, now);
  assert.equal(figures.acknowledged, 5);
  assert.equal(figures.written, 2);
  assert.equal(figures.sockets, 4);
  assert.equal(figures.users, 2);
});

test("without an earlier look, or of the same moment, rates are not known", () => {
  const now = look(1000, daemon("a", { counts: { sent: 10 } }));
  for (const before of [null, now]) {
    const { figures } = pointOf(before, now);
    assert.equal(figures.acknowledged, null);
    assert.equal(figures.p99, null);
    assert.equal(figures.refused, null);
    assert.equal(figures.sockets, 2);
  }
});

test("a daemon that was restarted, or is new, adds nothing to rates", () => {
  const before = look(1000, daemon("a", { counts: { sent: 10 } }), daemon("b", { counts: { sent: 50 } }));
  const now = look(1001, daemon("a", { counts: { sent: 13 } }), daemon("b", { since: 999, counts: { sent: 40 } }), daemon("c", { counts: { sent: 7 } }));
  assert.equal(pointOf(before, now).figures.acknowledged, 3);
  const all = look(1001, daemon("b", { since: 999, counts: { sent: 40 } }));
  assert.equal(pointOf(before, all).figures.acknowledged, null);
});

test("quantiles are of the messages between two looks, of all daemons", () => {
  const counts = (...found) => ({ latency: { acknowledged: { bounds: BOUNDS, counts: found } } });
  const before = look(1000, daemon("a", counts(0, 100, 0, 0)), daemon("b", counts(0, 0, 0, 0)));
  const now = look(1002, daemon("a", counts(98, 100, 0, 0)), daemon("b", counts(0, 0, 1, 1)));
  const { figures } = pointOf(before, now);
  assert.equal(figures.p50, 1);
  assert.equal(figures.p99, 100);
  assert.equal(pointOf(now, { ...now, time: 1004 }).figures.p50, null);
});

test("a daemon with other buckets is left out", () => {
  const old = daemon("a", { latency: { acknowledged: { bounds: [1], counts: [1, 0] } } });
  assert.equal(fresh(daemon("a"), old), null);
  assert.equal(fresh(daemon("a"), daemon("a", { latency: {} })), null);
  assert.equal(quantile([null], 0.5), null);
});

test("refusals are told apart by kind and reason", () => {
  const before = look(1000, daemon("a", { refused: { invalid: 1 }, refusals: { limited: { user_sends: 1 } } }));
  const after = daemon("a", { refused: { invalid: 3 }, refusals: { limited: { user_sends: 1, typing: 6 }, denied: {} } });
  assert.deepEqual(refusalsOf(after), { "refused/invalid": 3, "limited/user_sends": 1, "limited/typing": 6 });
  const { figures, refusals } = pointOf(before, look(1002, after));
  assert.deepEqual(refusals, { "refused/invalid": 2, "limited/user_sends": 0, "limited/typing": 6 });
  assert.equal(figures.refused, 1);
  assert.equal(figures.limited, 3);
  assert.equal(figures.denied, 0);
});

test("a daemon that does not answer any more is lost until it is back or dismissed", () => {
  const lost = new Lost(2);
  lost.look(look(1000, daemon("a"), daemon("b")));
  assert.deepEqual(lost.all, []);
  lost.look(look(1002, daemon("a")));
  lost.look(look(1004, daemon("a")));
  assert.deepEqual(lost.all, [["b", 1000]]);
  lost.look(look(1006, daemon("a"), daemon("b")));
  assert.deepEqual(lost.all, []);
  lost.look(look(1008, daemon("b")));
  lost.dismiss("a");
  assert.deepEqual(lost.all, []);
  for (const [index, name] of ["c", "d", "e", "f"].entries()) lost.look(look(1010 + index, daemon(name)));
  assert.equal(lost.all.length, 2);
});

test("the scale ends at a round number", () => {
  assert.deepEqual([0, NaN, 0.3, 1, 3, 7, 12, 20, 4999, 5001].map(scaleEnd), [1, 1, 0.5, 1, 5, 10, 20, 20, 5000, 10000]);
});

test("figures are written in short", () => {
  assert.deepEqual([null, undefined, 0, 1.26, 12345.6].map(number), ["–", "–", "0", "1.3", "12,346"]);
  assert.deepEqual([0, 59, 61, 3600, 90_000, -5].map(age), ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "1 d 1 h", "0 s"]);
  assert.deepEqual([999, 1500, 2_500_000].map(size), ["999 B", "1.5 kB", "2.5 MB"]);
});
