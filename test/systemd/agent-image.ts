import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ask, type Desk } from "@blueflame/agent/cli/ask.driver.ts";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type { GetStatusResponse } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { inRoot } from "../../deploy/root.ts";
import { looks } from "../support/looks.ts";
import type { ImageMachine } from "./machine.ts";

/** Where a root's agent keeps its data when nothing else is said. */
const dataDir = "/var/lib/blueflame";
export const unit = "blueflame-agent.service";
/** What a person has brought to the node. */
const brought = "/srv/blueflame";
/** What a person has stopped. */
const resting = "resting";

/** What was up this long counts as stable again: the trials follow each other closely. */
const pace = { backoff: { reset_after: "500ms" }, starts: { max: 1000, within: "60s" }, probation: "1s" };

/** The node of the image: it speaks systemd's protocol where it says so, by systemd's own program. */
const workloads = [
  ...["one", "two", "three", "four", "five"].map((name) => ({
    name: `idle-${name}`,
    command: ["/bin/sleep", "infinity"],
  })),
  {
    name: "speaker",
    notify: true,
    beat: { timeout: "5s" },
    command: [
      "/bin/bash",
      "-c",
      // It cannot tell anything while no agent is there, and goes on.
      "systemd-notify --ready --status=speaking; while sleep 1; do systemd-notify WATCHDOG=1; done",
    ],
  },
  { name: "follower", command: ["/bin/sleep", "infinity"], depends_on: ["speaker"] },
  { name: resting, command: ["/bin/sleep", "infinity"] },
].map((workload) => ({ ...pace, cwd: "/", ...workload })); // not where the config lies: that folder goes

const idleWanted = workloads.filter(({ name, command }) => name !== resting && command[0] === "/bin/sleep").length;

const watchdog = /blueflame-(watchdog|agent\S* watchdog)/;

/** The processes that matter, by the numbers of the machine inside; 0 is none. */
export interface Lives {
  readonly watchdog: number;
  readonly agent: number;
  readonly workloads: ReadonlyMap<string, number>;
}

/** An image machine with the built agent on it, installed as a service. */
export class AgentImage {
  readonly machine: ImageMachine;

  /** The machine is off. */
  constructor(machine: ImageMachine) {
    this.machine = machine;
    const folder = join(machine.root, brought);
    mkdirSync(folder, { recursive: true });
    cpSync(process.execPath, join(folder, "node"));
    for (const file of ["blueflame-agent.cjs", "blueflame-watchdog.cjs", "blueflame-emergency.cjs", "native"])
      cpSync(inRoot("dist", file), join(folder, file), { recursive: true });
    writeFileSync(join(folder, "agent.yaml"), JSON.stringify({ node: { id: "image" }, workloads }));
  }

  /** As a person at the node does it, once. */
  async install(): Promise<void> {
    const command = [
      `${brought}/node`,
      `${brought}/blueflame-agent.cjs`,
      "install",
      "--config",
      `${brought}/agent.yaml`,
    ];
    await this.machine.must(...command);
    await this.machine.must("rm", "-r", brought); // what was installed needs it no more
  }

  async stopOne(): Promise<void> {
    await this.machine.must("blueflame-agent", "stop", resting);
  }

  /** Resolves when everything that should run does, is ready, and is there once; `before` are processes that are gone by then. */
  async allBack(before: Lives | undefined, withinMs: number): Promise<Lives> {
    let missing = "the agent does not answer";
    for await (const _ of looks(withinMs)) {
      const status = await this.#status();
      missing = status ? wanting(status) : "the agent does not answer";
      if (!status || missing !== "") continue;
      const lives = await this.#lives(status);
      const old = before && survivors(before, lives);
      missing =
        lives.watchdog === 0 ? "init knows of no main process" : old ? `still there: ${old}` : this.#handsOver();
      if (missing !== "") continue;
      this.#checkOnce();
      return lives;
    }
    throw new Error(`waited ${withinMs} ms in vain: ${missing}\n${await this.journal()}`);
  }

  /** As a person at the node does it. */
  async killSwitch(word: "on" | "off"): Promise<void> {
    await this.machine.must("blueflame-agent", "kill-switch", word, "--reason", "a trial");
  }

  /**
   * Resolves when watchdog and agent are there, once, the kill switch is on, and no workload has a process; how often the workloads were
   * started in all their lives.
   */
  async guardsBack(before: Lives | undefined, withinMs: number): Promise<{ lives: Lives; starts: number }> {
    let missing = "";
    for await (const _ of looks(withinMs)) {
      const status = await this.#status();
      missing = status ? notDown(status) : "the agent does not answer";
      if (!status || missing !== "") continue;
      const lives = await this.#lives(status);
      const old = before && survivors(before, lives);
      missing =
        lives.watchdog === 0 ? "init knows of no main process" : old ? `still there: ${old}` : this.#handsOver();
      if (missing === "" && this.idle() > 0) missing = `${this.idle()} idle processes are alive`;
      if (missing !== "") continue;
      this.#checkOnce(0);
      return { lives, starts: status.workloads.reduce((sum, { starts }) => sum + Number(starts ?? 0), 0) };
    }
    throw new Error(`waited ${withinMs} ms in vain, the kill switch is on: ${missing}\n${await this.journal()}`);
  }

  /** So many of the idle workloads' processes are alive, whoever knows of them. */
  idle(): number {
    return this.machine.commands().filter((line) => line === "/bin/sleep infinity").length;
  }

  /** SIGKILL, SIGSTOP … to all of them in one moment. */
  async signal(signal: string, pids: readonly number[]): Promise<void> {
    await this.machine.must("/bin/bash", "-c", `kill -${signal} ${pids.join(" ")}`);
  }

  async journal(): Promise<string> {
    const { out } = await this.machine.run(
      "journalctl",
      "--boot",
      "--no-pager",
      "--lines=60",
      "--output=short-monotonic",
    );
    return out;
  }

  #status(): Promise<GetStatusResponse | undefined> {
    const question = (desk: Desk) => desk.getStatus({}, { timeoutMs: 2000 });
    return ask(this.machine.inside(dataDir), question).catch(() => undefined);
  }

  async #lives(status: GetStatusResponse): Promise<Lives> {
    const main = await this.machine.must("systemctl", "show", "--property=MainPID", "--value", unit);
    const running = status.workloads.filter(({ pid }) => pid !== 0);
    return {
      watchdog: Number(main),
      agent: status.pid,
      workloads: new Map(running.map(({ name, pid }) => [name, pid])),
    };
  }

  /** The agent may have been faster than init, whose watchdog then takes over from the agent's. Empty when none has to. */
  #handsOver(): string {
    const lines = this.machine.commands().filter((line) => watchdog.test(line));
    const spare = lines.filter((line) => line.includes(" --handover "));
    return spare.length === 1 && lines.length === 2 ? `it hands over to init's: ${spare.join("")}` : "";
  }

  /** Throws when two of a kind are alive, whoever knows of them. */
  #checkOnce(wanted = idleWanted): void {
    const sleeps = this.idle();
    if (sleeps !== wanted) throw new Error(`${sleeps} idle processes are alive, ${wanted} are wanted`);
    for (const [what, word] of [
      ["agent", /blueflame-agent\S* (\S+ )*up( |$)/],
      ["watchdog", watchdog],
    ] as const) {
      const alive = this.machine.commands().filter((line) => word.test(line));
      if (alive.length !== 1) throw new Error(`${alive.length} times ${what}: ${alive.join(" | ")}`);
    }
  }
}

function wanting({ workloads: all }: GetStatusResponse): string {
  const late = all.filter(
    ({ name, phase }) => phase !== (name === resting ? WorkloadPhase.STOPPED : WorkloadPhase.RUNNING),
  );
  if (all.length !== workloads.length) return `${all.length} workloads are known`;
  return late.map(({ name, because }) => `${name}: ${because}`).join("; ");
}

function notDown({ workloads: all, killSwitch }: GetStatusResponse): string {
  if (!killSwitch) return "the agent takes the kill switch for off";
  const up = all.filter(({ phase }) => phase !== WorkloadPhase.STOPPED);
  if (all.length !== workloads.length) return `${all.length} workloads are known`;
  return up.map(({ name, because }) => `${name}: ${because}`).join("; ");
}

function survivors(before: Lives, now: Lives): string {
  const names = [...now.workloads].filter(([name, pid]) => before.workloads.get(name) === pid).map(([name]) => name);
  if (before.agent === now.agent) names.push("agent");
  if (before.watchdog === now.watchdog) names.push("watchdog");
  return names.join(", ");
}
