import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { admit, admittedWithinMs, openAdmission } from "./admission.ts";
import { calm, contested } from "./clones.ts";
import { type Claim, clip, credibleEpoch, greet, type OpenSession, outOfTurn, recordsWindow, take } from "./session.ts";

const claim: Claim = {
  nodeId: "edge-1",
  incarnation: 2n,
  storeEpoch: 7n,
  session: 7n,
  bootId: "boot",
  generation: "g1",
  lastSeq: 10n,
};
const fresh = { incarnation: 0n, durableThrough: 0n, storeEpoch: 0n };

function opened(durableThrough = 0n): OpenSession {
  const verdict = greet("edge-1", claim, { incarnation: 2n, durableThrough, storeEpoch: 0n });
  if (verdict.is !== "open") throw new Error(verdict.saw);
  return verdict.session;
}
const seqs = (...numbers: number[]) => numbers.map((number) => ({ seq: BigInt(number) }));

test("a node is greeted under the name in its certificate, and under no other", () => {
  expect(greet("edge-1", claim, fresh)).toMatchObject({ is: "open", session: { nodeId: "edge-1", takenThrough: 0n } });
  expect(greet("edge-2", claim, fresh)).toMatchObject({ is: "refused", code: "NODE_ID_MISMATCH" });
});

test("an older life of a node is refused, the same and a newer one are not", () => {
  expect(greet("edge-1", claim, { ...fresh, incarnation: 3n })).toMatchObject({ code: "INCARNATION_OLD" });
  expect(greet("edge-1", claim, { ...fresh, incarnation: 2n })).toMatchObject({ is: "open" });
  expect(greet("edge-1", claim, { ...fresh, incarnation: 1n })).toMatchObject({ is: "open" });
});

test.each(["", "a/b", "a b", "x".repeat(65)])(
  "a store generation that cannot be a key (%j) is refused",
  (generation) => {
    expect(greet("edge-1", { ...claim, generation }, fresh)).toMatchObject({ code: "LINK_PROTOCOL" });
  },
);

test("PHX-9 a store whose epoch went backwards within its generation is told apart, one that does not tell its epoch is not", () => {
  const known = { ...fresh, incarnation: 2n };
  expect(greet("edge-1", { ...claim, storeEpoch: 7n }, { ...known, storeEpoch: 7n })).toMatchObject({
    storeBehind: false,
  });
  expect(greet("edge-1", { ...claim, storeEpoch: 6n }, { ...known, storeEpoch: 7n })).toMatchObject({
    storeBehind: true,
  });
  expect(greet("edge-1", { ...claim, storeEpoch: 0n }, { ...known, storeEpoch: 7n })).toMatchObject({
    storeBehind: false,
  });
});

test("a store that knows less than it once sent is told apart", () => {
  expect(greet("edge-1", claim, { ...fresh, incarnation: 2n, durableThrough: 10n })).toMatchObject({
    storeBehind: false,
  });
  expect(greet("edge-1", claim, { ...fresh, incarnation: 2n, durableThrough: 11n })).toMatchObject({
    storeBehind: true,
  });
});

test("records above the durable ones are fresh, the others are duplicates, and gaps are allowed", () => {
  expect(take(opened(5n), seqs(4, 5, 6, 9), 0)).toMatchObject({
    is: "taken",
    fresh: seqs(6, 9),
    duplicates: 2,
    session: { takenThrough: 9n },
  });
  expect(take(opened(5n), seqs(1, 2), 0)).toMatchObject({ fresh: [], duplicates: 2, session: { takenThrough: 5n } });
  expect(take(opened(5n), [], 0)).toMatchObject({ is: "taken", session: { takenThrough: 5n } });
});

test("records that do not ascend, or have no number, end the stream", () => {
  expect(take(opened(), seqs(3, 3), 0)).toMatchObject({ code: "LINK_PROTOCOL" });
  expect(take(opened(), seqs(4, 3), 0)).toMatchObject({ code: "LINK_PROTOCOL" });
  expect(take(opened(), seqs(0), 0)).toMatchObject({ code: "LINK_PROTOCOL" });
});

test("the window counts what waits to be stored, and one more record than it ends the stream", () => {
  expect(take(opened(), seqs(1, 2), recordsWindow - 2)).toMatchObject({ is: "taken" });
  expect(take(opened(), seqs(1, 2), recordsWindow - 1)).toMatchObject({ code: "LINK_PROTOCOL" });
});

test("Hello comes first, and once", () => {
  expect(outOfTurn("edge-1", "heartbeat", false)).toMatchObject({
    code: "LINK_PROTOCOL",
    saw: expect.stringContaining("before Hello"),
  });
  expect(outOfTurn("edge-1", "hello", true).saw).toContain("twice");
});

test("two that take the session from each other four times within a minute are reported as a clone, once", () => {
  const clock = new VirtualClock();
  let contest = calm;
  const reports: number[] = [];
  for (let takeover = 1; takeover <= 8; takeover++) {
    clock.advance(10_000);
    const next = contested(contest, clock.monotonicMs());
    contest = next.contest;
    if (next.report) reports.push(takeover);
  }
  expect(reports).toEqual([4]);
});

test("a takeover every 25 s is no clone; after a quiet minute a clone is reported again", () => {
  const clock = new VirtualClock();
  let contest = calm;
  let reports = 0;
  const takeOver = (everyMs: number, times: number) => {
    for (let n = 0; n < times; n++) {
      clock.advance(everyMs);
      const next = contested(contest, clock.monotonicMs());
      contest = next.contest;
      if (next.report) reports += 1;
    }
  };
  takeOver(25_000, 20);
  expect(reports).toBe(0);
  takeOver(5_000, 10);
  expect(reports).toBe(1);
  clock.advance(61_000);
  takeOver(5_000, 10);
  expect(reports).toBe(2);
});

test("a thousand nodes at once are admitted at the rate, and the rest is spread over the time that this takes", () => {
  const clock = new VirtualClock();
  const rate = { perSecond: 100, burst: 50 };
  let admission = openAdmission(rate, clock.monotonicMs());
  const waits: number[] = [];
  let admitted = 0;
  for (let node = 0; node < 1000; node++) {
    const verdict = admit(admission, rate, clock.monotonicMs());
    admission = verdict.admission;
    if (verdict.admitted) admitted += 1;
    else waits.push(verdict.comeBackMs);
  }
  expect(admitted).toBe(50);
  expect(Math.min(...waits)).toBe(1_000);
  expect(Math.max(...waits)).toBe(9_500);
  clock.advance(100);
  expect(admit(admission, rate, clock.monotonicMs()).admitted).toBe(true);
  clock.advance(60_000);
  expect(admit(admission, rate, clock.monotonicMs()).admission.turnedAway).toBe(0);
});

test("a node that claims more lives than can be counted is refused: the order for it could not be written, and the hub died", () => {
  expect(greet("edge-1", { ...claim, incarnation: 2n ** 64n - 1n }, fresh)).toMatchObject({ code: "LINK_PROTOCOL" });
  expect(greet("edge-1", { ...claim, incarnation: 2n ** 53n - 1n }, fresh)).toMatchObject({ is: "open" });
});

test("a node that claims the last epoch there is does not drive the hub's over the end of the field", () => {
  expect(credibleEpoch(2n ** 64n - 1n)).toBe(0n);
  expect(credibleEpoch(41n)).toBe(41n);
});

test("a long site that is cut within a character can still be a key", () => {
  const cut = clip(`${"x".repeat(127)}\u{1f525}${"x".repeat(9)}`);
  expect([cut.isWellFormed(), cut.length]).toEqual([true, 129]);
  expect(clip("short")).toBe("short");
});

test("a restarted hub waits longer for a fleet that it cannot admit at once: it called late whom it had sent away", () => {
  const rate = { perSecond: 200, burst: 400 };
  expect([1, 400, 600, 10_400].map((nodes) => admittedWithinMs(rate, nodes))).toEqual([0, 0, 1_000, 50_000]);
});
