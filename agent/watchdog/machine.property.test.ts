import fc from "fast-check";
import { expect, test } from "vitest";
import { GuardRig } from "../../test/support/guard-rig.ts";
import { agentPolicy, type GuardPolicy, watchdogPolicy } from "./policy.ts";

const runs = Number(process.env.RUNS ?? 150);

/** What may befall the pair, in any order and at any moment. */
const fault = fc.oneof(
  fc.record({ is: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 400_000 }) }),
  fc.record({ is: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 3000 }) }),
  fc.record({ is: fc.constant("stall" as const), ms: fc.integer({ min: 1, max: 60_000 }) }),
  fc.constantFrom(
    { is: "crash" as const },
    { is: "unseen" as const },
    { is: "hang" as const },
    { is: "stop" as const },
    { is: "starve" as const },
    { is: "restart" as const },
    { is: "damaged" as const },
  ),
);
const start = fc.constantFrom("well", "fails", "dies", "quiet", "mute", "wakes");
const policy = fc.constantFrom<GuardPolicy>(
  agentPolicy,
  { ...agentPolicy, stays: true },
  watchdogPolicy,
  { ...watchdogPolicy, firstWaitMs: 3000 },
  { ...agentPolicy, checkEveryMs: 30_000, silentMs: 90_000, wakingMs: 90_000 },
);
type Fault = typeof fault extends fc.Arbitrary<infer T> ? T : never;

function befall(rig: GuardRig, what: Fault): void {
  if (what.is === "pass") rig.pass(what.ms);
  else if (what.is === "stall") rig.clock.stall(what.ms);
  else if (what.is === "damaged") rig.runner.post({ is: "damaged" });
  else if (rig.lives.has(rig.pid)) befallOne(rig, what.is);
}

function befallOne(rig: GuardRig, what: Exclude<Fault["is"], "pass" | "stall" | "damaged">): void {
  const life = rig.life();
  const { pid } = life.process;
  if (what === "hang") life.beatEveryMs = 0;
  else if (what === "stop") life.sight = "stopped";
  else if (what === "starve") life.starved = 1;
  else if (what === "unseen") rig.lives.delete(pid);
  else {
    if (what === "restart") {
      rig.says("agent_restart");
      rig.pass(300);
    }
    if (rig.lives.has(pid)) rig.crash(pid);
  }
}

const drawn = (seed: number) => {
  let at = seed;
  return () => {
    at = (at * 1_103_515_245 + 12_345) % 2_147_483_648;
    return at / 2_147_483_648;
  };
};

test("SYN-2 GRC-1 whatever befalls it in any order: never two of a kind by our doing, and once faults end, all is well again", () => {
  fc.assert(
    fc.property(
      policy,
      fc.array(fault, { maxLength: 25 }),
      fc.array(start, { maxLength: 20 }),
      fc.array(fc.boolean(), { maxLength: 2 }),
      fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      (by, faults, starts, emergencies, seed) => {
        const rig = new GuardRig(by, { beatEveryMs: by.silentMs < 20_000 ? 1000 : 20_000, chance: drawn(seed) });
        rig.starts = [...starts];
        rig.emergencies = [...emergencies];
        let most = 0;
        const perhaps = () => {
          most = Math.max(most, rig.alive);
        };
        for (const one of faults) {
          befall(rig, one);
          perhaps();
        }
        // Faults end. Whoever hangs is found, a cooldown ends, slow retries come.
        rig.starts = [];
        for (let n = 0; n < 50; n++) {
          rig.pass(30_000);
          perhaps();
        }
        expect(most).toBeLessThanOrEqual(1);
        expect(rig.at).toBe("guarded");
        expect(rig.alive).toBe(1);
        expect(rig.runner.state).toMatchObject({ restarts: 0, failedStarts: 0, program: "current" });
      },
    ),
    { numRuns: runs },
  );
}, 600_000);

test("GRC-7 SYN-2 a person's word holds whatever befalls: nobody is started, until somebody starts one", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("stop" as const, "down" as const),
      fc.boolean(),
      fc.array(fault, { maxLength: 25 }),
      fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      (word, stays, faults, seed) => {
        const rig = new GuardRig({ ...agentPolicy, stays }, { chance: drawn(seed) });
        rig.pass(5000);
        rig.says(word);
        const { process } = rig.life();
        rig.did.length = 0;
        for (const one of faults) if (one.is !== "restart") befall(rig, one);
        if (rig.lives.has(process.pid)) rig.crash(process.pid);
        rig.pass(3_600_000);
        expect(rig.did.filter((line) => /spawn|emergency/.test(line))).toEqual([]);
        expect(rig.at).toBe(stays ? "resting" : "left");
      },
    ),
    { numRuns: runs },
  );
});

test("SYN-2 however starts fail, there are no more than six in five minutes before the emergency, and one in 150 s after it", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("fails", "dies", "mute"), { minLength: 60, maxLength: 60 }),
      fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      (starts, seed) => {
        const rig = new GuardRig(agentPolicy, { chance: drawn(seed) });
        rig.starts = starts as GuardRig["starts"];
        rig.emergencies = [false];
        rig.pass(3_600_000);
        const at = (word: string) =>
          rig.did.filter((line) => line.includes(word)).map((line) => Number(line.split(" ")[0]));
        const [emergency = 0, ...more] = at("emergency");
        expect(more).toEqual([]);
        expect(at("spawn").filter((second) => second < emergency).length).toBeLessThanOrEqual(6);
        expect(emergency).toBeGreaterThan(300);
        const slow = at("spawn").filter((second) => second > emergency + 5);
        for (const [n, second] of slow.entries()) {
          const before = slow[n - 1];
          if (before !== undefined) expect(second - before).toBeGreaterThanOrEqual(149);
        }
        expect(slow.length).toBeGreaterThan(5);
      },
    ),
    { numRuns: Math.min(runs, 200) },
  );
});

test("however it beats, looks are never further apart than the policy says, and hardly closer: no beat puts one off, and none brings too many", () => {
  fc.assert(
    fc.property(
      fc.constantFrom<GuardPolicy>(agentPolicy, watchdogPolicy),
      fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 2400 })), {
        minLength: 1,
        maxLength: 100,
      }),
      fc.boolean(),
      (by, gapsMs, guards) => {
        const rig = new GuardRig(by);
        const { process } = rig.arrives(0);
        const beatsMs = [rig.clock.monotonicMs()];
        for (const [n, gapMs] of [...gapsMs, ...gapsMs, ...gapsMs].entries()) {
          rig.pass(gapMs);
          rig.runner.post({ is: "seen", process, guards: guards || n > 2 });
          beatsMs.push(rig.clock.monotonicMs());
        }
        const { checkEveryMs, withBeatMs, silentMs } = by;
        const silentForMs = (atMs: number) => atMs - (beatsMs.findLast((beatMs) => beatMs <= atMs) ?? 0);
        let [lastMs = 0] = beatsMs;
        for (const [n, lookMs] of [...rig.looksMs, rig.clock.monotonicMs()].entries()) {
          expect(lookMs - lastMs).toBeLessThanOrEqual(checkEveryMs + withBeatMs);
          // One that will soon have been silent for too long is looked at when it has, whenever that is.
          // A beat of the very moment of a look may have come after it.
          const hushed = silentForMs(lastMs - 1) >= silentMs - checkEveryMs - withBeatMs - 1;
          if (!hushed && n > 0 && n < rig.looksMs.length)
            expect(lookMs - lastMs).toBeGreaterThanOrEqual(checkEveryMs - withBeatMs);
          lastMs = lookMs;
        }
        expect(rig.did).toEqual([]);
      },
    ),
    { numRuns: runs },
  );
});
