import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Loss, memoryAgent } from "../../test/support/memory-agent.ts";
import { MemorySpace } from "../../test/support/memory-space.ts";
import { type Bar, parseBars } from "./bars.ts";
import { begin, decode, defaultRules, encode, type Happening, type State, step, verify } from "./firewall.ts";
import { memoryAt } from "./memory.ts";

const file = new URL("../data/sp500-2000.csv", import.meta.resolve("vega-datasets"));
const bars = parseBars(readFileSync(fileURLToPath(file), "utf8"));

function stateAt(next: number): State {
  let state = begin(1);
  while (state.next < next) state = step(defaultRules, bars, state).state;
  return state;
}

/** An agent that, as told, loses an answer before or after the commit was written. */
function flakyAgent(losses: readonly Loss[]) {
  let commits = 0;
  const space = new MemorySpace("firewall");
  return { space, agent: memoryAgent(space, () => losses[commits++ % losses.length] ?? "no") };
}

test("PHX-9 crashed at any bar, before or after its write, the firewall ends with the same ledger as one that never crashed", async () => {
  const loss = fc.constantFrom("before" as const, "after" as const, "no" as const);
  const losses = fc.array(loss, { minLength: 1, maxLength: 40 }).filter((all) => all.some((one) => one !== "before"));
  await fc.assert(
    fc.asyncProperty(losses, fc.integer({ min: 1, max: 400 }), async (planned, last) => {
      const { agent, space } = flakyAgent(planned);
      const told: Happening[] = [];
      // Each turn of the outer loop is a life of the program: all it knows is what it can recall.
      for (let life = 0; (await memoryAt(agent, "x").recall()).state.next < last; life += 1) {
        const memory = memoryAt(agent, `life ${life}`);
        let now = await memory.recall();
        try {
          while (now.state.next < last) {
            const { state, happened } = step(defaultRules, bars, now.state);
            now = await memory.keep(state, now, happened);
            told.push(...happened);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(Fault);
        }
      }
      const { state } = await memoryAt(agent, "x").recall();
      expect(encode(state)).toBe(encode(stateAt(last)));
      expect(verify(defaultRules, bars, state)).toEqual({ ok: true });
      const numbers = told.flatMap((happening) => (happening.is === "trade" ? [happening.trade.n] : []));
      expect(new Set(numbers).size, "no trade is told twice").toBe(numbers.length);
      expect(space.risk().risk.trades, "the agent has booked each trade once").toBe(state.ledger.trades);
    }),
    { numRuns: 12 },
  );
});

test("two instances that both trade, one of them thawed from long ago, book each trade once", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { minLength: 20, maxLength: 300 }), async (turns) => {
      const { agent } = flakyAgent(["no"]);
      const instances = ["old", "new"].map((name) => memoryAt(agent, name));
      const nows = await Promise.all(instances.map((memory) => memory.recall()));
      for (const turn of turns) {
        const at = turn ? 1 : 0;
        const [memory, now] = [instances[at], nows[at]];
        if (memory === undefined || now === undefined) throw new Error("two instances");
        const { state, happened } = step(defaultRules, bars, now.state);
        nows[at] = await memory.keep(state, now, happened).catch(() => memory.recall());
      }
      const { state } = await memoryAt(agent, "x").recall();
      expect(verify(defaultRules, bars, state)).toEqual({ ok: true });
    }),
    { numRuns: 30 },
  );
});

test("PHX-9 a locked session stays locked over any crash, and nothing is traded until the next session", () => {
  let state = begin(1);
  let locks = 0;
  while (state.next < bars.length) {
    const before = state;
    const after = step(defaultRules, bars, decode(encode(before)));
    const sameSession = after.state.session.name === before.session.name;
    if (before.session.lock !== null && sameSession) {
      expect(after.state.session.lock).toEqual(before.session.lock);
      expect(after.happened).toEqual([]);
      expect(after.state.exposureCents).toBe(0);
    }
    locks += after.happened.filter((happening) => happening.is === "lock").length;
    state = after.state;
  }
  expect(locks).toBe(state.locks);
  expect(locks).toBeGreaterThan(10);
});

test("PHX-9 while the agent holds the risk lock the position is closed out and none opened, and the ledger still verifies", async () => {
  const { agent, space } = flakyAgent(["no"]);
  const memory = memoryAt(agent, "x");
  let now = await memory.recall();
  const to = async (next: number) => {
    while (now.state.next < next) {
      const { state, happened } = step(defaultRules, bars, now.state, now.locked !== undefined);
      now = await memory.keep(state, now, happened);
    }
  };
  await to(60);
  while (now.state.units === 0) await to(now.state.next + 1);
  await agent.commit([{ lock: "a person asked" }]);
  now = await memory.recall();
  expect(now.locked).toBe("a person asked");
  const { trades } = now.state.ledger;
  await to(now.state.next + 200);
  expect(now.state).toMatchObject({ units: 0, ledger: { trades: trades + 1 } });
  expect(verify(defaultRules, bars, now.state)).toEqual({ ok: true });
  await space.release();
  now = await memory.recall();
  await to(now.state.next + 200);
  expect(now.state.ledger.trades).toBeGreaterThan(trades + 1);
  expect(verify(defaultRules, bars, (await memory.recall()).state)).toEqual({ ok: true });
});

test("losses in a row make the next position smaller, down to one unit", () => {
  let state = begin(1);
  while (state.next < bars.length) {
    const { lossStreak } = state;
    const after = step(defaultRules, bars, state);
    for (const happening of after.happened) {
      if (happening.is !== "trade" || happening.trade.side !== "buy") continue;
      expect(happening.trade.units).toBe(Math.max(1, defaultRules.unitsMax - lossStreak));
    }
    state = after.state;
  }
  expect(state.worstLossStreak).toBeGreaterThan(3);
});

test("at the end of the bars the next run begins and gives the same trades under another head", () => {
  const end = stateAt(bars.length);
  const next = step(defaultRules, bars, end);
  expect(next.happened).toEqual([{ is: "end", run: 1 }]);
  expect(next.state).toEqual(begin(2, end));
  let second = next.state;
  while (second.next < bars.length) second = step(defaultRules, bars, second).state;
  expect(second.next).toBe(end.next);
  expect(second.ledger.head).not.toBe(end.ledger.head);
  expect(verify(defaultRules, bars, second)).toEqual({ ok: true });
});

test("PHX-9 a ledger with a trade twice, a trade lost, or a lock taken off does not verify", () => {
  const state = stateAt(100);
  const locked = stateAt(81);
  expect(locked.session.lock).not.toBeNull();
  const twice = { ...state, ledger: { ...state.ledger, trades: state.ledger.trades + 1 } };
  const forged = { ...state, ledger: { ...state.ledger, head: begin(1).ledger.head } };
  const loosened = { ...locked, session: { ...locked.session, lock: null } };
  const bolder = { ...state, lossStreak: 0 };
  for (const wrong of [twice, forged, loosened, bolder, { ...state, next: bars.length + 1 }]) {
    expect(verify(defaultRules, bars, wrong)).toMatchObject({ ok: false });
  }
});

test("the stored state stays far below the agent's bound of 256 KiB a key", () => {
  let state = begin(1);
  let longest = 0;
  while (state.next < bars.length) {
    state = step(defaultRules, bars, state).state;
    longest = Math.max(longest, encode(state).length);
  }
  expect(longest).toBeLessThan(8 * 1024);
});

test("bars that are not bars are refused with their line", () => {
  const header = "date,open,high,low,close,adjclose,volume\n";
  const good = "2000-01-03,1,1,1,1455.22,1,1\n";
  expect(parseBars(header + good)).toEqual([
    { date: "2000-01-03", session: "2000-01", closeCents: 145_522 } satisfies Bar,
  ]);
  expect(() => parseBars("")).toThrow("line 1");
  expect(() => parseBars(header)).toThrow("no bars");
  expect(() => parseBars(`${header}${good}2000-01-04,1,1,1,NaN,1,1\n`)).toThrow("line 3");
  expect(() => parseBars(`${header}${good}${good}`)).toThrow("does not follow");
  expect(() => parseBars(`${header}soon,1,1,1,1,1,1\n`)).toThrow("no date");
});

test("text that is no state is refused instead of traded on", () => {
  for (const text of ["", "null", "{}", '{"run":1,"next":0}', "[1]"]) expect(() => decode(text)).toThrow();
});
