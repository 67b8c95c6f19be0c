/**
 * DOLPHIN's meta-health service on real processes, by the figures of `examples/dolphin.yaml`: what is published, what is waited
 * for, what is limited, what delays nobody, and the order in which a DEAD node is brought back.
 */
import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { allPids, environOf } from "@blueflame/agent/supervise/proc.driver.ts";
import { signalIfThere } from "../../deploy/running.ts";
import { at, example, feel, figuresOf, type Patient, SystemRig, Ward } from "./systems-rig.ts";
import { Score } from "./systems-score.ts";
import type { Trial } from "./trial.ts";

/** DOL-7. */
const actsMs = 10;
const foundMs = 5000;
/** DOL-5: restarted 5 s later; and then it has to start. */
const delayMs = 5000;
const startMs = 5000;
/** A runaway never gets beyond its limit of 50; who goes on forking is ended when that has lasted. */
const tasks = 50;
const runawayMs = 15_000;
/** DOL-8 as GRC-11: a condition is known in ten seconds. */
const lateMs = 10_000;
/** GRC-1: proactive recovery; DOL has no figure for a DEAD node. */
const deadMs = 60_000;
/** Those of the example: a source is stale after 30 s, the meta-health is computed every 5, a worker waits for 10. */
const figures = { metaEvery: "5s", stale: "30s", staleMs: 30_000, quietMs: 6000, crashes: 5, workerDelay: "10s" };
/** What is waited for in the suite; what is promised stays. */
const quickFigures: typeof figures = {
  metaEvery: "1s",
  stale: "4s",
  staleMs: 4000,
  quietMs: 2000,
  crashes: 1,
  workerDelay: "1s",
};
const staleAtMostMs = 10_000;

function trial(short: boolean): Trial {
  return {
    name: "dol",
    about: "DOLPHIN: meta-health, external data, limits and delays, late jobs, and the order of a DEAD node",
    async run({ rounds, say }) {
      const score = new Score(say);
      for (let round = 0; round < rounds; round++) {
        const ward = new DolphinWard(short);
        try {
          await node(ward, score);
        } finally {
          ward.remove();
        }
      }
      return score.rows();
    },
  };
}

export const dol = trial(false);
/** Without the DEAD node, which `../e2e/recovery-order.test.ts` has, and with less time for each wait. */
export const dolQuick = trial(true);

/** It is asked a question that is never answered, at the same time as everything else. */
const unanswered = {
  name: "archive",
  command: ["/bin/sleep", "1000"],
  start_grace: "1s",
  probes: [{ name: "hangs", use: "readiness", every: "9s", timeout: "8s", exec: { command: ["/bin/sleep", "60"] } }],
};

class DolphinWard {
  readonly #ward = new Ward();
  readonly #dolphin = example("dolphin");
  readonly figures: typeof figures;
  plane!: Patient;
  trader!: Patient;
  feed!: Patient;
  worker!: Patient;
  /** Of a node that is to be DEAD. */
  relay: Patient | undefined;

  constructor(readonly short: boolean) {
    this.figures = short ? quickFigures : figures;
  }

  file(name: string): string {
    return join(this.#ward.dir, name);
  }
  names(): string[] {
    return this.#ward.patients.map(({ name }) => name);
  }
  remove(): void {
    this.#ward.remove();
  }

  async rig(): Promise<SystemRig> {
    const admit = (name: string, more: Record<string, unknown> = {}) => {
      const figures = {
        ...figuresOf(this.#dolphin, name === "relay" ? "worker" : name),
        depends_on: undefined,
        probation: "1s",
      };
      return this.#ward.admit(name, { ...figures, ...more });
    };
    this.plane = await admit("control-plane");
    // It is killed more often than its figures allow: what is measured is how soon each is acted upon.
    this.trader = await admit("trader", { backoff: {}, starts: { max: 1000, within: "60s" } });
    this.feed = await admit("feed");
    this.worker = await admit("worker", { backoff: { delay: this.figures.workerDelay } });
    // Left to itself it would be down for a minute: the order of a DEAD node starts it before.
    if (!this.short) this.relay = await admit("relay", { backoff: { delay: "60s" } });
    writeFileSync(this.file("trader.json"), '{"exposure": 0.2, "posture": "APEX"}');
    writeFileSync(this.file("exchange.json"), "{}");
    return new SystemRig({
      sensors: { every: "1s" },
      meta: this.#meta(),
      jobs: [
        { name: "scan", every: "2s", grace: "1s", file: this.file("scan.done"), command: ["/bin/sh", this.#job()] },
      ],
      pools: this.#dolphin.pools,
      workloads: [...this.#ward.patients.map(({ config }) => config), unanswered],
    });
  }

  /** A job that takes its time. */
  #job(): string {
    writeFileSync(this.file("scan.sh"), `sleep 3\ntouch ${this.file("scan.done")}\n`);
    return this.file("scan.sh");
  }

  /** The example's, with the files and ports of this node. */
  #meta(): Record<string, unknown> {
    const meta = this.#dolphin.meta as { sources: Record<string, unknown>[]; coherence: Record<string, unknown>[] };
    const fileOf: Record<string, string> = {
      "trader-state": this.trader.file("beat"),
      feed: this.feed.file("beat"),
      exchange: this.file("exchange.json"),
    };
    return {
      ...meta,
      every: this.figures.metaEvery,
      // The others are killed for reasons of their own.
      critical: [this.plane.name, ...(this.relay ? [this.relay.name] : [])],
      sources: meta.sources.map((one) => ({
        ...one,
        ...(one.external === true && { stale: this.figures.stale }),
        file: fileOf[String(one.name)],
      })),
      ports: [`127.0.0.1:${this.plane.port}`],
      coherence: meta.coherence.map((one) => ({ ...one, file: this.file("trader.json") })),
    };
  }
}

async function node(ward: DolphinWard, score: Score): Promise<void> {
  const rig = await ward.rig();
  const runAway = () => score.run("DOL-5 tasks", () => runaway(rig, ward, score));
  const keep = setInterval(() => utimesSync(ward.file("exchange.json"), new Date(), new Date()), 200);
  try {
    await rig.start();
    await Promise.all(ward.names().map((name) => rig.calm(name, 120_000)));
    await rig.until("the node is GREEN", async () => (await rig.node()).metaStatus === "GREEN");
    await score.run("DOL-2 meta-health", () => published(rig, score));
    await Promise.all([
      score.run("DOL-8 late job", () => lateJob(rig, ward, score)),
      score.run("DOL-7 speeds", () => speeds(rig, ward, score)),
      score.run("DOL-5 delay", () => delayed(rig, ward, score)),
      ward.short ? runAway() : undefined,
    ]);
    if (!ward.short) await runAway();
    clearInterval(keep);
    await score.run("DOL-4 external source", () => external(rig, ward, score));
    const { relay } = ward;
    if (relay) await score.run("DOL-3 dead node", () => dead(rig, ward, relay, score));
  } finally {
    clearInterval(keep);
    await rig.close();
  }
}

async function published(rig: SystemRig, score: Score): Promise<void> {
  const path = join(rig.dataDir, "meta_health.json");
  await rig.until("it is published", async () => existsSync(path));
  const keys = Object.keys(JSON.parse(readFileSync(path, "utf8")) as object);
  const wanted =
    "rm_meta,status,m1_proc,m2_heartbeat,m3_data_freshness,m4_control_plane,m5_coherence,subsystem_health,timestamp";
  score.holds(
    "DOL-2 meta-health",
    "each field is there",
    wanted.split(",").every((key) => keys.includes(key)),
    keys,
  );
}

/** Nobody picks the job up: it is found late, and started. */
async function lateJob(rig: SystemRig, ward: DolphinWard, score: Score): Promise<void> {
  const told = async () => (await rig.audit()).find(({ action }) => action === "job.trigger");
  await rig.until("the job is triggered", async () => (await told()) !== undefined);
  const dueMs = at((await rig.node()).startedAt) + 3000; // it runs every 2 s, and has a grace of one
  score.took("DOL-8 late job", "triggered after it was late", lateMs, at((await told())?.at) - dueMs);
  await rig.until("it has run", async () => existsSync(ward.file("scan.done")));
}

/** A probe hangs, a job is at work: a crash is acted upon in the same moment all the same. */
async function speeds(rig: SystemRig, { trader, figures: { crashes } }: DolphinWard, score: Score): Promise<void> {
  const tookMs: number[] = [];
  for (let time = 0; time < crashes; time++) {
    await rig.calm(trader.name);
    const sinceMs = Date.now();
    signalIfThere(rig.seen(trader.name)?.pid ?? 0, "SIGKILL");
    const incident = await rig.recovered(trader.name, sinceMs);
    score.took("DOL-7 speeds", "crash found while a probe and a job hang", foundMs, at(incident.detectedAt) - sinceMs);
    tookMs.push(at(incident.actedAt) - at(incident.detectedAt));
    await rig.closed(incident.id);
  }
  tookMs.sort((a, b) => a - b);
  score.took(
    "DOL-7 speeds",
    `from the event to the action, the middle of ${crashes}`,
    actsMs,
    tookMs[Math.floor(crashes / 2)] ?? Number.POSITIVE_INFINITY,
  );
}

/** Restart always, five seconds later. */
async function delayed(rig: SystemRig, { feed }: DolphinWard, score: Score): Promise<void> {
  const before = rig.seen(feed.name)?.pid;
  const sinceMs = Date.now();
  process.kill(before ?? 0, "SIGKILL");
  const incident = await rig.recovered(feed.name, sinceMs);
  const tookMs = at(incident.recoveredAt) - sinceMs;
  score.took("DOL-5 delay", "back after five seconds and a start", delayMs + startMs, tookMs);
  score.holds("DOL-5 delay", "and not before them", tookMs >= delayMs, tookMs);
  await rig.closed(incident.id);
}

/** A task explosion is stopped before it harms the node, and the unit starts anew. */
async function runaway(rig: SystemRig, { worker }: DolphinWard, score: Score): Promise<void> {
  const row = "DOL-5 tasks";
  await rig.calm(worker.name);
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, tasksOf(rig, worker.name));
  }, 100);
  try {
    const sinceMs = await feel(worker, "forks?n=10");
    const incident = await rig.opened(worker.name, sinceMs);
    score.took(row, "a runaway is ended", runawayMs, at(incident.detectedAt) - sinceMs);
    await rig.recovered(worker.name, sinceMs);
    await rig.closed(incident.id);
  } finally {
    clearInterval(watch);
  }
  // Four looks a second, and ten forks in each fifth of one.
  score.count(row, "tasks at its worst", 2 * tasks, most);
  score.count(row, "of it that live on", tasks, tasksOf(rig, worker.name));
}

function tasksOf(rig: SystemRig, workload: string): number {
  const socket = join(rig.dataDir, "agent.sock");
  const pids = allPids().filter(
    (pid) => environOf(pid, "BLUEFLAME_SOCKET") === socket && environOf(pid, "BLUEFLAME_WORKLOAD") === workload,
  );
  return pids.reduce((sum, pid) => {
    try {
      return sum + readdirSync(`/proc/${pid}/task`).length;
    } catch {
      return sum;
    }
  }, 0);
}

/** Somebody else's data is stale: the node says so, waits, and does nothing. */
async function external(rig: SystemRig, ward: DolphinWard, score: Score): Promise<void> {
  const row = "DOL-4 external source";
  const { staleMs, quietMs } = ward.figures;
  const [before, moved] = [rig.allIncidents().length, (await moves(rig)).length];
  const beganMs = performance.now();
  await rig.until("it is DEGRADED", async () => (await rig.node()).metaStatus === "DEGRADED", staleMs + staleAtMostMs);
  score.took(row, "DEGRADED after it is stale", staleMs + staleAtMostMs, performance.now() - beganMs);
  await pause(quietMs);
  score.count(row, "incidents for it", 0, rig.allIncidents().length - before);
  score.count(row, "actions for it", 0, (await moves(rig)).length - moved);
  utimesSync(ward.file("exchange.json"), new Date(), new Date());
  const { meta } = await rig.health();
  score.holds(row, "it counts as one in the product", (meta?.rmMeta ?? 0) === 1, meta?.rmMeta);
}

/** What was ordered because the node was DEAD. */
async function moves(rig: SystemRig): Promise<string[]> {
  return (await rig.audit()).map(({ action }) => action).filter((action) => action.startsWith("meta."));
}

/** The control plane's port refuses, a process is missing and a job waits: in this order they come back. */
async function dead(rig: SystemRig, ward: DolphinWard, relay: Patient, score: Score): Promise<void> {
  const row = "DOL-3 dead node";
  utimesSync(ward.file("exchange.json"), new Date(), new Date());
  await feel(ward.plane, "shut");
  signalIfThere(rig.seen(relay.name)?.pid ?? 0, "SIGKILL");
  const beganMs = performance.now();
  await rig.until("the job's turn has come", async () => (await moves(rig)).includes("meta.job"), deadMs);
  await rig.until(
    "no part is missing",
    async () => {
      const { meta } = await rig.health();
      return meta?.m1Proc === 1 && meta.m4ControlPlane === 1;
    },
    deadMs,
  );
  score.took(row, "until it is whole again", deadMs, performance.now() - beganMs);
  const order = await moves(rig);
  const place = (action: string) => order.indexOf(action);
  const ordered = place("meta.control_plane") === 0 && place("meta.job") > place("meta.process");
  score.holds(row, "control plane, then processes, then jobs", ordered, order);
}
