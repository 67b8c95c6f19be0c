import { describe, expect, test } from "vitest";
import { GuardRig } from "../../test/support/guard-rig.ts";
import { agentPolicy, type GuardPolicy, watchdogPolicy } from "./policy.ts";

/** SYN-2's figures for a launcher: it beats every 20 s, is checked every 30 s, and has 90 s. */
const launcher: GuardPolicy = {
  ...agentPolicy,
  checkEveryMs: 30_000,
  withBeatMs: 0,
  silentMs: 90_000,
  wakingMs: 90_000,
  restartsMax: 5,
  cooldownMs: 300_000,
};
/** GRC-1's inner layer: three attempts, and ten seconds of cooldown. */
const unit: GuardPolicy = {
  ...agentPolicy,
  backoff: { baseMs: 1000, capMs: 2000 },
  restartsMax: 3,
  cooldownMs: 10_000,
};

/** An agent that lives, and everything before it forgotten. */
function guarded(policy: GuardPolicy = agentPolicy, beatEveryMs = 1000): GuardRig {
  const rig = new GuardRig(policy, { beatEveryMs });
  rig.pass(policy.wellAfterMs + 2 * beatEveryMs);
  expect(rig.at).toBe("guarded");
  rig.did.length = 0;
  return rig;
}

describe("crash, hang and stop are told apart", () => {
  test("SYN-2 a watchdog that finds nobody starts its agent, and leaves one alone that is there", () => {
    const rig = new GuardRig(agentPolicy);
    rig.pass(1);
    expect(rig.did).toEqual(["0.0 spawn current"]);
    const other = new GuardRig(agentPolicy);
    other.arrives();
    other.pass(60_000);
    expect(other.did).toEqual([]);
  });

  test("SYN-6 the mender dies: the watchdog revives it in the same moment", () => {
    const rig = guarded();
    const before = rig.pid;
    rig.crash();
    expect(rig.did).toEqual(["62.0 spawn current"]);
    rig.pass(1000);
    expect(rig.at).toBe("guarded");
    expect(rig.pid).not.toBe(before);
  });

  test("while it beats, looks come with its beats: who guards is woken by nothing else", () => {
    for (const policy of [agentPolicy, watchdogPolicy]) {
      const rig = guarded(policy);
      [rig.looksMs.length, rig.wakes] = [0, 0];
      rig.pass(60_000);
      expect(rig.looksMs.length).toBeGreaterThanOrEqual(59);
      expect(rig.wakes).toBe(0);
    }
  });

  test("one that hangs is noticed within 3 s, ended, and followed by another", () => {
    const rig = guarded();
    const pid = rig.pid;
    rig.life().beatEveryMs = 0;
    rig.pass(2000);
    expect(rig.did).toEqual([]);
    rig.pass(1000);
    expect(rig.did).toEqual([`64.5 SIGKILL ${pid}`, "64.5 spawn current"]);
  });

  test("one that was stopped by a signal is noticed within 3 s too", () => {
    const rig = guarded();
    rig.life().sight = "stopped";
    rig.pass(3000);
    expect(rig.did[0]).toMatch(/^64\.5 SIGKILL/);
    expect(rig.alive).toBe(1);
  });

  test("one that waits for a processor is given time, and only so much", () => {
    const rig = guarded();
    rig.life().starved = 1;
    rig.pass(12_000);
    expect(rig.did).toEqual([]);
    rig.pass(4000);
    expect(rig.did[0]).toMatch(/^7\d\.\d SIGKILL/);
    const other = guarded();
    other.life().starved = 1;
    other.pass(8000);
    other.life().starved = 0;
    other.pass(60_000);
    expect(other.did).toEqual([]);
  });

  test("one that gets a quarter of a processor while it starts fifty workloads was ended as hung: its silence counts a quarter", () => {
    const rig = guarded();
    Object.assign(rig.life(), { starved: 0.75, beatEveryMs: 0 });
    rig.pass(9000);
    expect(rig.did).toEqual([]);
    // A busy loop is found all the same, once it has had its time.
    rig.pass(3000);
    expect(rig.did[0]).toMatch(/^7[1-3]\.\d SIGKILL/);
  });

  test("one that hung was found only after 3.5 s: what it had waited for a processor before its last beat was counted", () => {
    for (const policy of [agentPolicy, watchdogPolicy]) {
      const rig = guarded(policy);
      rig.life().starved = 0.75;
      rig.pass(10_000);
      Object.assign(rig.life(), { starved: 0, beatEveryMs: 0 });
      rig.pass(3000);
      expect(rig.did[0]).toMatch(/^74\.5 SIGKILL/);
    }
  });

  test("one that opens its store says that it still starts, and is given 30 s of silence", () => {
    const rig = guarded();
    rig.starts = ["wakes"];
    rig.crash();
    rig.pass(1500);
    expect(rig.at).toBe("guarded");
    rig.life().beatEveryMs = 0;
    rig.pass(29_000);
    expect(rig.did).toHaveLength(1);
    rig.pass(3000);
    expect(rig.did).toHaveLength(3);
  });

  test("one that never gets done with starting is ended", () => {
    const rig = new GuardRig(agentPolicy);
    rig.pass(10);
    rig.life().guards = false;
    rig.pass(890_000);
    expect(rig.did).toHaveLength(1);
    rig.pass(20_000);
    expect(rig.did.slice(1).map((line) => line.split(" ")[1])).toEqual(["SIGKILL", "examine", "spawn"]);
  });

  test("a process that survives SIGKILL is not followed by a second one", () => {
    const rig = guarded();
    rig.immortal.add(rig.pid);
    rig.life().beatEveryMs = 0;
    rig.pass(600_000);
    expect(rig.at).toBe("ending");
    expect(rig.did.filter((line) => line.includes("spawn"))).toEqual([]);
    rig.lives.clear();
    rig.pass(2000);
    expect(rig.did.filter((line) => line.includes("spawn"))).toHaveLength(1);
  });

  test("a late tick of our own blames nobody", () => {
    const rig = guarded();
    rig.clock.stall(10_000);
    rig.pass(5000);
    expect(rig.did).toEqual([]);
  });

  test("a watchdog that answers each beat was ended as silent: the agent itself had been stopped between two beats", () => {
    for (const policy of [agentPolicy, watchdogPolicy]) {
      for (let stoppedMs = 60_010; stoppedMs < 62_000; stoppedMs += 40) {
        const rig = new GuardRig(policy);
        const { process } = rig.arrives(0);
        const hear = () => rig.runner.post({ is: "seen", process, guards: true });
        for (let beatMs = 1000; beatMs < stoppedMs; beatMs += 1000, hear()) rig.pass(1000);
        rig.pass(stoppedMs % 1000);
        rig.clock.stall(10_000);
        // The whole machine may have been away: the answer to the next beat takes its time.
        rig.pass(1000);
        hear();
        rig.pass(2000);
        expect(rig.did, `stopped after ${stoppedMs} ms`).toEqual([]);
      }
    }
  });
});

describe("what a person has said", () => {
  test.each(["stop", "down"] as const)(
    "SYN-2 GRC-7 '%s' is not undone, and ends a watchdog that no init has started",
    (word) => {
      const rig = guarded();
      rig.says(word);
      rig.pass(200);
      rig.crash();
      expect(rig.did).toEqual(["62.2 leave"]);
      const ofInit = guarded({ ...agentPolicy, stays: true });
      ofInit.says(word);
      ofInit.crash();
      ofInit.pass(86_400_000);
      expect(ofInit.did).toEqual([]);
      expect(ofInit.at).toBe("resting");
      ofInit.arrives();
      ofInit.crash();
      expect(ofInit.did).toHaveLength(1);
    },
  );

  test("GRC-7 an agent that is killed on its way down is not revived: a person wanted it down", () => {
    const rig = guarded({ ...agentPolicy, stays: true });
    rig.runner.post({ is: "word", process: rig.life().process });
    rig.pass(20_000);
    expect(rig.did).toEqual([]);
    rig.crash();
    rig.pass(600_000);
    expect(rig.did).toEqual([]);
  });

  test("a restart that was ordered is followed at once, and counts as no failure", () => {
    const rig = guarded();
    for (let n = 0; n < 20; n++) {
      rig.says("agent_restart");
      rig.pass(300);
      rig.crash();
      rig.pass(1000);
    }
    expect(rig.did).toHaveLength(20);
    expect(rig.runner.state.restarts).toBe(0);
  });

  test("one that says that it leaves and does not is ended, and what it said holds", () => {
    const rig = guarded();
    rig.says("agent_restart");
    rig.pass(19_000);
    expect(rig.did).toEqual([]);
    rig.pass(2000);
    expect(rig.did.map((line) => line.slice(5, 12))).toEqual(["SIGKILL", "spawn c"]);
  });

  test("init's order to leave reaches the agent first", () => {
    const rig = guarded({ ...agentPolicy, stays: true });
    rig.runner.post({ is: "ordered", to: "leave" });
    rig.pass(100);
    expect(rig.did.map((line) => line.slice(5, 12))).toEqual(["SIGTERM", "leave"]);
  });

  test("a watchdog that begins with a person's word starts nobody until a person does", () => {
    const rig = new GuardRig({ ...agentPolicy, stays: true }, { rests: "down" });
    rig.pass(86_400_000);
    expect(rig.did).toEqual([]);
    rig.runner.post({ is: "ordered", to: "run" });
    expect(rig.did).toEqual(["86400.0 spawn current"]);
  });
});

describe("who does not stay alive", () => {
  test("SYN-2 five restarts, then five minutes, then the emergency once, then slowly for ever", () => {
    const rig = guarded();
    rig.starts = Array.from({ length: 200 }, () => "dies" as const);
    rig.emergencies = [false];
    rig.crash();
    rig.pass(299_000);
    expect(rig.did.filter((line) => line.includes("spawn"))).toHaveLength(5);
    expect(rig.at).toBe("cooldown");
    rig.pass(60_000);
    expect(rig.did.filter((line) => line.includes("emergency"))).toHaveLength(1);
    rig.pass(24 * 3_600_000);
    expect(rig.did.filter((line) => line.includes("emergency"))).toHaveLength(1);
    const slow = rig.did.filter((line) => line.includes("spawn")).length;
    expect(slow).toBeGreaterThan(100); // every 150 to 300 s, and never given up
    rig.starts = [];
    rig.pass(600_000);
    expect(rig.at).toBe("guarded");
    expect(rig.runner.state).toMatchObject({ restarts: 0, failedStarts: 0, emergencyDone: false, program: "current" });
  });

  test("SYN-2 an emergency that had run within the hour already counted as done and never came again: nobody was paged", () => {
    const rig = guarded();
    rig.starts = Array.from({ length: 200 }, () => "dies" as const);
    rig.emergencies = [...Array.from({ length: 8 }, () => "later" as const), false];
    rig.crash();
    rig.pass(2 * 3_600_000);
    const at = (word: string) => rig.did.filter((line) => line.includes(word)).map((line) => Number.parseFloat(line));
    // Each after a cooldown of its own, and the ninth for good.
    expect(at("emergency")).toHaveLength(9);
    for (const [n, second] of at("emergency").entries())
      if (n > 0) expect(second - (at("emergency")[n - 1] ?? 0)).toBeGreaterThan(300);
    expect(rig.runner.state.emergencyDone).toBe(true);
  });

  test("GRC-1 the first restart is immediate, each further one waits, and three attempts lead to ten seconds of cooldown", () => {
    const rig = guarded(unit);
    rig.starts = ["dies", "dies", "dies"];
    rig.crash();
    rig.pass(5000);
    const starts = rig.did.filter((line) => line.includes("spawn"));
    expect(starts.map((line) => line.split(" ")[0])).toEqual(["62.0", "62.6", "63.7"]);
    expect(rig.at).toBe("cooldown");
    rig.pass(12_000);
    expect(rig.did).toContain("73.8 emergency good");
  });

  test("GRC-1 three layers: a unit's own within 10 s, the watchdog's within 30 s, by one machine with three policies", () => {
    for (const [policy, everyMs, withinMs] of [
      [unit, 1000, 10_000],
      [agentPolicy, 1000, 30_000],
      [watchdogPolicy, 1000, 30_000],
    ] as const) {
      const rig = guarded(policy, everyMs);
      rig.life().beatEveryMs = 0;
      rig.pass(withinMs);
      expect(rig.at).toBe("guarded");
      expect(rig.alive).toBe(1);
    }
  });

  test("SYN-1 SYN-2 a launcher that beats every 20 s: a crash is found by the check within 30 s, silence after 90 s", () => {
    const rig = guarded(launcher, 20_000);
    rig.pass(600_000);
    expect(rig.did).toEqual([]);
    rig.lives.clear(); // nobody tells: there is no line to it
    rig.pass(30_000);
    expect(rig.did.map((line) => line.slice(6))).toEqual(["spawn current"]);
    const hung = guarded(launcher, 20_000);
    hung.life().beatEveryMs = 0;
    hung.pass(69_000);
    expect(hung.did).toEqual([]);
    hung.pass(31_000);
    expect(hung.alive).toBe(1);
    expect(hung.did).toHaveLength(2);
  });

  test("SYN-1 SYN-6 what fails twice is run from the good copy, and at once when it is damaged", () => {
    const rig = guarded();
    rig.starts = ["fails", "dies", "well"];
    rig.crash();
    rig.pass(20_000);
    expect(rig.did.map((line) => line.slice(5))).toEqual([
      "spawn current",
      "examine",
      "spawn current",
      "examine",
      "spawn good",
    ]);
    const damaged = guarded();
    damaged.starts = ["fails"];
    damaged.crash();
    damaged.pass(1);
    damaged.runner.post({ is: "damaged" });
    damaged.pass(10_000);
    expect(damaged.did.at(-1)).toContain("spawn good");
    damaged.pass(120_000);
    expect(damaged.runner.state.program).toBe("current");
  });

  test("SYN-6 while no agent can be had, the critical workloads are tended every 5 s, and never while there is one", () => {
    const rig = guarded();
    rig.starts = ["dies", "dies", "dies", "dies", "dies"];
    rig.emergencies = [false];
    rig.crash();
    rig.pass(60_000);
    expect(rig.at).toBe("cooldown");
    const tends = rig.tends;
    expect(tends).toBeGreaterThan(5);
    rig.pass(10_000);
    expect(rig.tends - tends).toBe(2);
    rig.arrives();
    const then = rig.tends;
    rig.pass(60_000);
    expect(rig.tends).toBe(then);
  });

  test("one that leaves quietly has found another, whom we cannot hear: nothing is counted, and no emergency comes of it", () => {
    const rig = new GuardRig(agentPolicy);
    rig.starts = Array.from({ length: 1000 }, () => "quiet" as const);
    rig.pass(3_600_000);
    expect(rig.did.every((line) => line.includes("spawn"))).toBe(true);
    expect(rig.runner.state.restarts).toBe(0);
  });

  test("of two that live, the one that is guarded goes: the other takes its place, and no third is started", () => {
    const rig = guarded();
    const other = rig.arrives();
    rig.pass(3000);
    rig.crash();
    rig.pass(10_000);
    expect(rig.did).toEqual([]);
    expect(rig.pid).toBe(other.process.pid);
  });

  test("the agent gives init three seconds to bring back its own watchdog", () => {
    const rig = guarded({ ...watchdogPolicy, firstWaitMs: 3000 });
    rig.crash();
    rig.pass(500);
    rig.arrives();
    rig.pass(60_000);
    expect(rig.did).toEqual([]);
    rig.crash();
    rig.pass(4000);
    expect(rig.did.map((line) => line.slice(6))).toEqual(["spawn current"]);
  });
});
