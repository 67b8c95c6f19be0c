/**
 * The mender may die: the agent is killed with SIGKILL again and again while workloads crash at random. Nobody else may notice:
 * a healthy workload keeps its PID, no second copy is ever alive, and the sample firewall's state is what its bars say.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { connect } from "@blueflame/agent/client/client.driver.ts";
import { environOf } from "@blueflame/agent/supervise/proc.driver.ts";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { inRoot } from "../../deploy/root.ts";
import { signalIfThere } from "../../deploy/running.ts";
import { parseBars } from "../../examples/risk-firewall/bars.ts";
import { defaultRules, verify } from "../../examples/risk-firewall/firewall.ts";
import { memoryAt } from "../../examples/risk-firewall/memory.ts";
import { AgentRig, type Lead, type WorkloadConfig } from "./rig.ts";
import type { Trial } from "./trial.ts";

const calm = 10;
const crashing = 8;
const firewalls = 2;
const watchEveryMs = 15;
/** A firewall that has made fewer shows nothing. */
const stepsLeast = 5n;
/** A killed agent's successor must guard everything again within this time; the issue promises no figure, PHX-7 bounds it. */
const backPromiseMs = 10_000;

export const agentKills: Trial = {
  name: "agent-kills",
  about:
    "the agent killed again and again while 20 workloads crash at random: PIDs kept, no duplicate ever, state intact",
  async run({ rounds, seed, say }) {
    const chance = seeded(seed);
    const rig = new AgentRig({ workloads: workloads() });
    const backMs: number[] = [];
    let crashes = 0;
    try {
      await rig.start();
      for (const name of [...names("calm", calm), ...names("firewall", firewalls)]) await rig.well(name);
      const before = pidsOf(rig.leads(), "calm");
      const watch = watchForCopies(rig);
      for (let round = 0; round < rounds; round++) {
        crashes += await crashSome(rig, chance, 100 + chance() * 700);
        await rig.kill();
        crashes += await crashSome(rig, chance, chance() * 150);
        const beganMs = performance.now();
        await rig.start();
        backMs.push(performance.now() - beganMs);
      }
      await rig.until("all 20 workloads run", async () => rig.leads().length === calm + crashing + firewalls, 90_000);
      const copies = watch.stop();
      if (copies.length > 0) throw new Error(`two copies were alive at once: ${copies.join("; ")}`);
      const after = pidsOf(rig.leads(), "calm");
      if (JSON.stringify(after) !== JSON.stringify(before))
        throw new Error(`healthy workloads changed: ${JSON.stringify({ before, after })}`);
      const bars = await verifyFirewalls(rig);
      say(
        `${rounds} kills of the agent, ${crashes} crashes of workloads, ${watch.looks()} looks for copies; ${calm} healthy PIDs unchanged; firewalls at bars ${bars.join(", ")}, every trade once`,
      );
    } finally {
      await rig.close();
    }
    return [
      {
        name: "agent back and all adopted",
        measure: "after its start",
        promise: backPromiseMs,
        unit: "ms",
        values: backMs,
      },
    ];
  },
};

function names(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${kind}-${n}`);
}

function workloads(): WorkloadConfig[] {
  const pace = {
    backoff: { base: "20ms", cap: "500ms", reset_after: "200ms" },
    starts: { max: 1000, within: "60s" },
    probation: "1s",
  };
  const idle = (name: string) => ({ ...pace, name, command: ["/bin/sh", "-c", "while :; do sleep 1; done"] });
  const firewall = (name: string, n: number) => ({
    ...pace,
    name,
    command: [process.execPath, inRoot("dist", "risk-firewall.mjs")],
    env: { RISK_FIREWALL_PORT: "0", RISK_FIREWALL_STEP_MS: String(20 + n) },
    beat: { timeout: "5s" },
  });
  return [
    ...[...names("calm", calm), ...names("crashing", crashing)].map(idle),
    ...names("firewall", firewalls).map(firewall),
  ];
}

function pidsOf(leads: readonly Lead[], kind: string): Record<string, number> {
  return Object.fromEntries(
    leads
      .filter((lead) => lead.workload.startsWith(kind))
      .map((lead): [string, number] => [lead.workload, lead.pid])
      .sort(),
  );
}

/** Kills workloads that may crash, at random moments of `ms`. Returns how many. */
async function crashSome(rig: AgentRig, chance: Random, ms: number): Promise<number> {
  let crashes = 0;
  for (const untilMs = performance.now() + ms; performance.now() < untilMs; await pause(20 + chance() * 60)) {
    const mortal = rig.leads().filter((lead) => !lead.workload.startsWith("calm"));
    const victim = mortal[Math.floor(chance() * mortal.length)];
    if (!victim) continue;
    if (signalIfThere(victim.pid, "SIGKILL")) crashes += 1;
  }
  return crashes;
}

/** Looks all the time for a workload with two living main processes. */
function watchForCopies(rig: AgentRig): { stop(): string[]; looks(): number } {
  const copies = new Set<string>();
  let looks = 0;
  const timer = setInterval(() => {
    looks += 1;
    const seen = new Map<string, Lead>();
    for (const lead of rig.leads()) {
      const other = seen.get(lead.workload);
      if (other) copies.add(`${lead.workload}: ${other.pid} and ${lead.pid}`);
      seen.set(lead.workload, lead);
    }
  }, watchEveryMs);
  return {
    stop() {
      clearInterval(timer);
      return [...copies];
    },
    looks: () => looks,
  };
}

/** Waits until each firewall has made some steps, and recomputes each one's ledger from the bars. Returns where they stand. */
export async function verifyFirewalls(rig: AgentRig): Promise<number[]> {
  await rig.until(`${firewalls} firewalls have made ${stepsLeast} steps`, async () => {
    const memories = await memoriesOf(rig);
    return memories.length === firewalls && memories.every(({ revision }) => revision >= stepsLeast);
  });
  const entry = createRequire(inRoot("package.json")).resolve("vega-datasets");
  const bars = parseBars(readFileSync(fileURLToPath(new URL("../data/sp500-2000.csv", `file://${entry}`)), "utf8"));
  const memories = await memoriesOf(rig);
  for (const { workload, state } of memories) {
    const verdict = verify(defaultRules, bars, state);
    if (!verdict.ok) throw new Error(`${workload}: ${verdict.because}`);
  }
  if (memories.length !== firewalls) throw new Error(`${memories.length} firewalls answered, expected ${firewalls}`);
  return memories.map(({ revision }) => Number(revision));
}

/** What each firewall that lives has stored. */
async function memoriesOf(rig: AgentRig) {
  const memories = [];
  for (const lead of rig.leads().filter((one) => one.workload.startsWith("firewall"))) {
    const line = connect({
      socket: environOf(lead.pid, "BLUEFLAME_SOCKET") ?? "",
      token: environOf(lead.pid, "BLUEFLAME_TOKEN") ?? "",
    });
    try {
      memories.push({ workload: lead.workload, ...(await memoryAt(line, "prove").recall()) });
    } finally {
      line.close();
    }
  }
  return memories;
}
