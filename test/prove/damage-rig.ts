import { spawn } from "node:child_process";
import {
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Ended, run } from "@blueflame/agent/bootstrap/child.ts";
import { type GoodFile, writeGoodCopy } from "@blueflame/agent/bootstrap/good-copy.ts";
import { ask, type Desk } from "@blueflame/agent/cli/ask.driver.ts";
import { startStore } from "@blueflame/agent/store/deferred-store.ts";
import { startSnapshots } from "@blueflame/agent/store/snapshot.ts";
import { snapshotNumbers } from "@blueflame/agent/store/snapshot-file.ts";
import { markVariable } from "@blueflame/agent/supervise/family.driver.ts";
import { allPids, bootId, environOf, procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import { rests } from "@blueflame/agent/supervise/rest.ts";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { version } from "@blueflame/shared/version.ts";
import { inRoot } from "../../deploy/root.ts";
import { processesOf, signalIfThere, sweep } from "../../deploy/running.ts";
import { looks } from "../support/looks.ts";

const workloads = ["one", "two"] as const;
/** A person has stopped it; whatever breaks, it must stay down. */
const halted = "halted";
const waitMs = 60_000;
const commandMs = 180_000;

/** Somebody of this machine. */
export interface User {
  readonly uid: number;
  readonly gid: number;
}
/** Who types the emergency's command, and which. */
export interface Operator {
  readonly good?: boolean | undefined;
  readonly as?: User | undefined;
}

/**
 * An installed node in a folder of its own: program, config, data directory with a good copy, a store of several lives and a
 * snapshot of one of them, two workloads that run and one that a person has stopped. It is made once; `reset` brings it back to
 * how it lay after everything was killed at once. Whoever made it closes it.
 */
export class DamageRig {
  readonly dir = mkdtempSync(join(tmpdir(), "bf-damage-"));
  readonly dataDir = join(this.dir, "d");
  readonly opt = join(this.dir, "opt");
  readonly config = join(this.dir, "etc", "agent.yaml");
  readonly hubKey = join(this.dir, "etc", "hub.key");
  readonly program = [process.execPath, join(this.opt, "blueflame-agent.cjs")] as const;
  readonly #helpers: number[] = [];

  /** `as`: whose node it is; without it ours. */
  async make(as?: User): Promise<void> {
    this.#install();
    if (as) for (const path of [this.dir, join(this.dir, "etc"), this.opt]) chownSync(path, as.uid, as.gid);
    if (as) chownSync(this.hubKey, as.uid, as.gid);
    await this.#live(as);
    await this.#agentSays("stop", halted);
    await this.killAll();
    await this.#snapshot(as);
    await this.#live(as);
    await this.killAll();
    this.#installGoodCopy(as);
    cpSync(this.dir, `${this.dir}.golden`, { recursive: true, preserveTimestamps: true });
    if (as) giveAll(`${this.dir}.golden`, as);
  }

  #install(): void {
    mkdirSync(join(this.dir, "etc"), { mode: 0o755 });
    mkdirSync(join(this.opt, "native"), { recursive: true });
    for (const [from, to] of this.#programFiles()) copyFileSync(from, to);
    const sleeping = (name: string) => ({
      name,
      command: ["/bin/sh", "-c", "while :; do sleep 1; done"],
      probation: "1s",
    });
    // JSON is YAML. No hub answers there: the node works alone all the same.
    const hub = { addresses: ["127.0.0.1:1"], ca: "hub.ca", cert: "hub.cert", key: "hub.key" };
    const config = { node: { id: "damage" }, hub, workloads: [...workloads, halted].map(sleeping) };
    writeFileSync(this.config, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o644 });
    for (const name of ["hub.ca", "hub.cert"]) writeFileSync(join(this.dir, "etc", name), "a certificate\n");
    writeFileSync(this.hubKey, "a key\n", { mode: 0o600 });
  }

  #programFiles(): [from: string, to: string][] {
    const names = ["blueflame-agent.cjs", "blueflame-watchdog.cjs", "blueflame-emergency.cjs"];
    const native = readdirSync(inRoot("dist", "native")).filter((name) => name.endsWith(".node"));
    return [...names, ...native.map((name) => join("native", name))].map((name) => [
      inRoot("dist", name),
      join(this.opt, name),
    ]);
  }

  #installGoodCopy(as: User | undefined): void {
    const program = this.#programFiles().map(
      ([, target]): GoodFile => ({ source: target, target, name: target.slice(this.opt.length + 1) }),
    );
    writeGoodCopy(
      this.dataDir,
      [...program, { source: this.config, target: this.config, name: "agent.yaml" }],
      version,
    );
    if (as) giveAll(join(this.dataDir, "good"), as);
  }

  /** Starts the agent as a person would; resolves when both workloads run. */
  async #live(as: User | undefined): Promise<void> {
    const [node, script] = this.program;
    const child = spawn(node, [script, "up", "--config", "agent.yaml", "--data-dir", this.dataDir], {
      cwd: join(this.dir, "etc"),
      stdio: "ignore",
      detached: true,
      ...as,
    });
    child.unref();
    await this.until("the node lives", () => this.isBack());
    // What it must know of itself in an emergency is written right after it answers.
    await this.until("it has written down how it was started", async () =>
      existsSync(join(this.dataDir, "start.json")),
    );
  }

  /** The node lives on after it was reset: agent, watchdog and workloads. */
  async live(): Promise<void> {
    await this.#live(undefined);
    await this.until("its watchdog lives", async () => this.pidsLike("watchdog").length > 0);
  }

  async #snapshot(as: User | undefined): Promise<void> {
    const clock = realClock();
    const options = { clock, random: Math.random, nodeId: undefined, bootId: bootId(), onOpened: () => undefined };
    const store = await startStore(this.dataDir, { ...options, ...rests });
    const snapshots = startSnapshots({ store, clock, dataDir: this.dataDir, everyMs: 10, keep: 1 });
    await this.until("there is a snapshot", async () => snapshotNumbers(join(this.dataDir, "snapshots")).length > 0);
    await snapshots.close();
    await store.close();
    if (as) giveAll(this.dataDir, as);
  }

  /** Everything is as it was after the kill. */
  async reset(as?: User): Promise<void> {
    await this.killAll();
    for (const pid of this.#helpers.splice(0)) signalIfThere(pid, "SIGKILL");
    for (const name of readdirSync(this.dir)) rmSync(join(this.dir, name), { recursive: true, force: true });
    cpSync(`${this.dir}.golden`, this.dir, { recursive: true, preserveTimestamps: true });
    if (as) giveAll(this.dir, as);
  }

  /** A process that holds something of the node without being one of it. */
  async hold(source: string): Promise<number> {
    const child = spawn(
      process.execPath,
      ["--input-type=module", "-e", `${source}; console.log("held"); setInterval(() => {}, 1000);`],
      {
        cwd: inRoot("shared"), // where `level` is found
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    await new Promise((resolve) => child.stdout.once("data", resolve));
    this.#helpers.push(child.pid ?? 0);
    return child.pid ?? 0;
  }

  /** Agent, watchdog and workloads, with SIGKILL. */
  async killAll(): Promise<void> {
    const left = await sweep(this.dir, 0);
    if (left.length > 0) throw new Error(`processes ${left.join(", ")} survive SIGKILL`);
  }
  /** Agent and watchdog; either would start the other again, and the workloads live on. */
  async killGuards(): Promise<void> {
    for (let guards = this.pidsLike(".cjs"); guards.length > 0; guards = this.pidsLike(".cjs")) {
      for (const pid of guards) signalIfThere(pid, "SIGKILL");
      await pause(20);
    }
  }
  /** Processes of ours whose command line has this in it. */
  pidsLike(part: string): number[] {
    return processesOf(this.dir).filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(part);
      } catch {
        return false; // it has ended meanwhile
      }
    });
  }

  /** The operator's one command; `good`: that of the good copy. */
  emergency({ good = false, as }: Operator, ...flags: string[]): Promise<Ended> {
    const own = good
      ? ["/bin/sh", join(this.dataDir, "good", "emergency")]
      : [...this.program, "emergency", "--data-dir", this.dataDir];
    return this.run([...own, ...flags], as);
  }

  /** Starts what outlives the call. */
  async launch([file = "", ...args]: readonly string[]): Promise<void> {
    const child = spawn(file, args, { cwd: this.dir, stdio: "ignore", detached: true });
    await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
    child.unref();
  }

  run(command: readonly string[], as?: User): Promise<Ended> {
    return run(command, { timeoutMs: commandMs, cwd: this.dir, as });
  }

  async #agentSays(...words: string[]): Promise<void> {
    const said = await this.run([...this.program, ...words, "--data-dir", this.dataDir]);
    if (said.code !== 0) throw new Error(said.err);
  }

  /** The agent answers, both workloads run once, and what a person stopped is down. */
  async isBack(): Promise<boolean> {
    const status = await ask(this.dataDir, (desk: Desk) => desk.getStatus({}, { timeoutMs: 3000 })).catch(
      () => undefined,
    );
    if (!status) return false;
    const running = status.workloads.filter(({ phase }) => phase === WorkloadPhase.RUNNING).map(({ name }) => name);
    return workloads.every((name) => running.includes(name) && this.leads(name).length === 1);
  }
  get haltedRuns(): boolean {
    return this.leads(halted).length > 0;
  }
  /** Main processes of a workload. */
  leads(workload: string): number[] {
    return allPids().filter((pid) => {
      if (environOf(pid, "BLUEFLAME_SOCKET") !== join(this.dataDir, "agent.sock")) return false;
      const stat = procStat(pid);
      return stat?.session === pid && stat.state !== "Z" && environOf(pid, markVariable)?.split(":")[1] === workload;
    });
  }

  async until(what: string, holds: () => Promise<boolean>): Promise<void> {
    for await (const _ of looks(waitMs)) if (await holds()) return;
    throw new Error(`waited ${waitMs} ms in vain until ${what}`);
  }

  async close(): Promise<void> {
    for (const pid of this.#helpers.splice(0)) signalIfThere(pid, "SIGKILL");
    await this.killAll();
    for (const dir of [this.dir, `${this.dir}.golden`]) rmSync(dir, { recursive: true, force: true });
  }
}

export function giveAll(top: string, { uid, gid }: User): void {
  chownSync(top, uid, gid);
  for (const entry of readdirSync(top, { withFileTypes: true, recursive: true })) {
    if (!entry.isSymbolicLink()) chownSync(join(entry.parentPath, entry.name), uid, gid);
  }
}
