import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GuardRig } from "../../test/support/guard-rig.ts";
import { agentPolicy } from "./policy.ts";

const runs = Number(process.env.RUNS ?? 300);
const ofInit = { ...agentPolicy, stays: true };

function guarded(): GuardRig {
  const rig = new GuardRig(ofInit, { leaveMs: 600 });
  rig.pass(ofInit.wellAfterMs + 2000);
  rig.did.length = 0;
  return rig;
}
const deeds = (rig: GuardRig) => rig.did.map((line) => line.split(" ").slice(1).join(" "));
const up = (rig: GuardRig) => rig.runner.post({ is: "ordered", to: "run" });
/** What `down` does when no agent answers. */
const downUnheard = (rig: GuardRig) => {
  rig.kept = "down";
  rig.runner.post({ is: "ordered", to: "rest" });
};

describe("GRC-7 `up` while the last agent still leaves was lost, and the node rested for ever", () => {
  test("kill PID, then `up` at once: the next one is started when that one is gone, and finds no word that forbids it", () => {
    const rig = guarded();
    rig.terminate();
    rig.pass(100);
    up(rig); // before the agent has written down that it was stopped
    rig.pass(3_600_000);
    expect([rig.at, deeds(rig), rig.kept]).toEqual(["guarded", ["spawn current"], undefined]);
  });

  test("`down`, then `up` while it stops its workloads, also when it is killed in the middle", () => {
    for (const ends of ["as it said", "killed"]) {
      const rig = guarded();
      rig.goesDown();
      rig.pass(3000);
      up(rig);
      rig.pass(3000);
      expect(deeds(rig)).toEqual([]);
      if (ends === "killed") rig.crash();
      else rig.leave("down");
      rig.pass(3_600_000);
      expect([rig.at, deeds(rig)]).toEqual(["guarded", ["spawn current"]]);
    }
  });

  test("... and one that is stopped once more while it leaves is followed by nobody: that is the newest word", () => {
    const rig = guarded();
    rig.terminate();
    up(rig);
    rig.terminate();
    rig.pass(3_600_000);
    expect([rig.at, deeds(rig)]).toEqual(["resting", []]);
  });
});

describe("GRC-7 `down` that no agent answered was not heard while one was about to come", () => {
  test.each(["wakes", "mute"] as const)("one that is started and %s is asked to end, and nobody follows", (how) => {
    const rig = guarded();
    rig.starts = [how];
    rig.crash();
    rig.pass(5000);
    downUnheard(rig);
    rig.pass(120_000);
    expect([rig.at, rig.alive]).toEqual(["resting", 0]);
    up(rig);
    rig.pass(5000);
    expect(rig.at).toBe("guarded");
  });

  test("one that guards and hears nobody goes on, and is the last", () => {
    const rig = guarded();
    downUnheard(rig);
    rig.pass(60_000);
    expect([rig.at, rig.alive]).toEqual(["guarded", 1]);
    rig.crash();
    rig.pass(3_600_000);
    expect([rig.at, deeds(rig)]).toEqual(["resting", []]);
  });

  test("one that restarts itself meanwhile is followed by nobody", () => {
    const rig = guarded();
    rig.leave("agent_restart");
    downUnheard(rig);
    rig.pass(3_600_000);
    expect([rig.at, deeds(rig)]).toEqual(["resting", []]);
  });
});

test("a person mends the program that could not start and says `up`: the mended one is started, and a crash of it is healed at once", () => {
  const rig = guarded();
  rig.starts = Array.from({ length: 9 }, () => "dies" as const); // a bad upgrade, and its good copy is bad as well
  rig.emergencies = [false];
  rig.crash();
  rig.pass(700_000);
  rig.starts = []; // the person installs one that works …
  rig.did.length = 0;
  up(rig); // … and says `up`
  rig.pass(30_000);
  rig.crash(); // kill -9 half a minute later
  rig.pass(10_000);
  expect(deeds(rig)).toEqual(["spawn current", "spawn current"]);
});

/** What a person says, what befalls the two, and time between them: short enough to meet each phase, long enough to leave it. */
const moment = fc.oneof(
  fc.constantFrom("up", "down", "kill").map((is) => ({ is, ms: 0 })),
  fc.constantFrom("crash", "freeze", "restart", "guard killed", "reboot").map((is) => ({ is, ms: 0 })),
  fc.integer({ min: 1, max: 3000 }).map((ms) => ({ is: "pass", ms })),
  fc.integer({ min: 1, max: 400_000 }).map((ms) => ({ is: "pass", ms })),
);

/** A node, what is said at it, and what must come of that. */
class Told {
  readonly rig: GuardRig;
  readonly #init: boolean;
  readonly #downMs: number;
  /** By a person's newest word. `lasting`: over a reboot, too. */
  rests = false;
  #lasting = false;

  constructor(init: boolean, times: { leaveMs: number; downMs: number }) {
    this.rig = new GuardRig({ ...agentPolicy, stays: init }, { leaveMs: times.leaveMs });
    this.#init = init;
    this.#downMs = times.downMs;
  }

  meet({ is, ms }: { is: string; ms: number }): void {
    const { rig } = this;
    const life = rig.lives.get(rig.pid);
    const answers = life?.guards && !life.leaves && life.sight === "running" && life.beatEveryMs > 0;
    if (is === "pass") rig.pass(ms);
    else if (is === "up") this.#up();
    else if (is === "down") this.#down(answers ?? false);
    else if (is === "kill" && life?.sight === "running") {
      rig.terminate();
      this.rests = true;
    } else if (is === "crash" && life) rig.crash();
    else if (is === "freeze" && life && !life.leaves) life.sight = "stopped";
    else if (is === "restart" && answers) rig.leave("agent_restart");
    else if (this.#init) this.#anew(is);
  }

  #up(): void {
    const { rig } = this;
    if (this.#init) up(rig);
    else {
      rig.pass(10); // a command takes longer to start than a death to be seen
      if (rig.alive > 0) return; // STORE_LOCKED: it was told that it was not heard
      rig.kept = undefined;
      if (rig.at === "left") rig.guardedAnew();
      else rig.arrives();
    }
    [this.rests, this.#lasting] = [false, false];
  }

  #down(answers: boolean): void {
    const { rig } = this;
    [this.rests, this.#lasting] = [true, true];
    if (!answers) {
      downUnheard(rig);
      return;
    }
    rig.kept = "down";
    const { process } = rig.life();
    rig.goesDown();
    rig.clock.wakeAt(rig.clock.monotonicMs() + this.#downMs, () => {
      const one = rig.lives.get(process.pid);
      if (one?.sight === "running" && !one.leaves) rig.leave("down", process.pid);
    });
  }

  #anew(is: string): void {
    const { rig } = this;
    // A `stop` that is not written down yet, or never will be as it came too early, is known to this watchdog alone.
    const unwritten = (this.rests && !rig.kept) || rig.lives.get(rig.pid)?.writes;
    if (is === "guard killed" && !unwritten) rig.guardedAnew();
    if (is !== "reboot") return;
    this.rests = this.#lasting;
    rig.lives.clear();
    if (rig.kept === "stop") rig.kept = undefined;
    rig.guardedAnew();
  }
}

test("GRC-7 SYN-2 whatever a person says in whichever phase, with init and without, the newest word is what holds in the end", () => {
  const phases = new Set<string>();
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.record({ leaveMs: fc.integer({ min: 2, max: 15_000 }), downMs: fc.integer({ min: 1, max: 30_000 }) }),
      fc.array(fc.constantFrom("well", "fails", "dies", "quiet", "mute", "wakes"), { maxLength: 20 }),
      fc.array(fc.boolean(), { maxLength: 2 }),
      fc.array(moment, { maxLength: 25 }),
      (init, times, starts, emergencies, moments) => {
        const told = new Told(init, times);
        const { rig } = told;
        [rig.starts, rig.emergencies] = [[...starts] as GuardRig["starts"], [...emergencies]];
        for (const one of moments) {
          phases.add(`${one.is} ${rig.at}`);
          told.meet(one);
          expect(rig.alive).toBeLessThanOrEqual(1);
        }
        rig.starts = [];
        for (let n = 0; n < 50; n++) rig.pass(60_000);
        const rested = init ? "resting" : "left";
        expect([rig.at, rig.alive]).toEqual(told.rests ? [rested, 0] : ["guarded", 1]);
      },
    ),
    { numRuns: runs },
  );
  // Each word has met each phase that a watchdog of init can be in for more than a moment.
  for (const word of ["up", "down"])
    for (const phase of ["waiting", "starting", "guarded", "leaving", "resting"])
      expect(phases).toContain(`${word} ${phase}`);
}, 600_000);
