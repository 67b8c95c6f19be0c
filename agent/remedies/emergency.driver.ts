import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "@blueflame/shared/errors/code.ts";
import { procStat } from "../supervise/proc.driver.ts";
import type { Around } from "./around.ts";
import { replaceFile } from "./files.driver.ts";
import { pause } from "./patience.driver.ts";
import { done, failed, type Outcome, type StepContext } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";

/** The full bootstrap runs by itself once, and not again on this node within this time (design.md, section 7, rule 11). */
const notAgainMs = 3_600_000;
/** A process whose end nobody is told of is looked at this often. */
const lookEveryMs = 500;

interface Mark {
  readonly bootId: string;
  readonly bootMs: number;
  readonly wallMs: number;
}

/** The emergency bootstrap as a remedy: rung 6. */
export class Emergency {
  readonly #around: Around;
  readonly #permission: Permission;
  readonly #markPath: string;
  #last: Mark | undefined;

  constructor(around: Around, permission: Permission) {
    this.#around = around;
    this.#permission = permission;
    this.#markPath = join(around.dataDir, "runs", "bootstrap-mark.json");
  }

  async begin(): Promise<void> {
    this.#last = markOf(await readFile(this.#markPath, "utf8").catch(() => ""));
  }

  /** It has not run on this node within the last hour. */
  allowed(): boolean {
    const { bootId, clock } = this.#around;
    if (!this.#last) return this.#around.emergency !== undefined;
    const sinceMs =
      this.#last.bootId === bootId
        ? clock.bootMs() - this.#last.bootMs
        : // Another boot: at least as long ago as this one lasts, whatever somebody did to the clock.
          Math.max(clock.bootMs(), clock.wallMs() - this.#last.wallMs);
    return this.#around.emergency !== undefined && sinceMs >= notAgainMs;
  }

  /**
   * Runs it, as a process that outlives the agent: it may have to end the agent itself. Asked again after that, it waits for the
   * one that was started; how that ended is then unknown, and the workload's verification decides.
   */
  async run(context: StepContext): Promise<Outcome> {
    const command = this.#around.emergency;
    if (!command) return failed("this node has no emergency bootstrap");
    await this.#permission.deed("bootstrap", context.workload, { does: "run", command: [...command] });
    const { pid, startTicks } = context.intent;
    if (typeof pid === "number" && typeof startTicks === "number") return this.#await(pid, startTicks, context);
    if (context.intent.begun === true) return done("the emergency bootstrap had begun before; nobody saw how it ended");
    if (!this.allowed()) return failed("the emergency bootstrap has run on this node within the last hour");
    await this.#remember();
    await context.intend({ begun: true });
    return this.#start([...command], context);
  }

  async #start([file = "", ...args]: readonly string[], context: StepContext): Promise<Outcome> {
    const output = this.#output();
    try {
      const child = spawn(file, args, { cwd: "/", detached: true, stdio: ["ignore", output, output] });
      const ended = new Promise<Outcome>((resolve) => {
        child.on("error", (error) => resolve(failed(`it cannot be started: ${codeOf(error)}`)));
        child.on("exit", (code, signal) => {
          const how = signal ? `ended by ${signal}` : `exit code ${code}`;
          resolve(
            code === 0 ? done(`the emergency bootstrap is through: ${how}`) : failed(`the emergency bootstrap: ${how}`),
          );
        });
      });
      child.unref();
      if (child.pid !== undefined) {
        await context.intend({ pid: child.pid, startTicks: procStat(child.pid)?.startTicks ?? 0 });
      }
      const left = new Promise<Outcome>((resolve) => {
        // It is not ended: half of a bootstrap is worse than a late one.
        context.signal.addEventListener(
          "abort",
          () => resolve(failed("the emergency bootstrap was not through in time; it goes on")),
          { once: true },
        );
      });
      return await Promise.race([ended, left]);
    } finally {
      if (typeof output === "number") closeSync(output);
    }
  }

  async #await(pid: number, startTicks: number, { signal }: StepContext): Promise<Outcome> {
    for (;;) {
      const stat = procStat(pid);
      if (!stat || stat.startTicks !== startTicks || stat.state === "Z") {
        return done("the emergency bootstrap has ended while no agent watched it");
      }
      if (!(await pause(this.#around.clock, lookEveryMs, signal)))
        return failed("the emergency bootstrap was not through in time; it goes on");
    }
  }

  async #remember(): Promise<void> {
    const { bootId, clock, dataDir } = this.#around;
    const mark: Mark = { bootId, bootMs: clock.bootMs(), wallMs: clock.wallMs() };
    this.#last = mark;
    // A disk that refuses: this life of the agent knows it all the same.
    await mkdir(join(dataDir, "runs"), { recursive: true, mode: 0o700 }).catch(() => undefined);
    await replaceFile(this.#markPath, Buffer.from(JSON.stringify(mark))).catch(() => undefined);
  }

  #output(): number | "ignore" {
    try {
      mkdirSync(join(this.#around.dataDir, "logs"), { recursive: true, mode: 0o700 });
      return openSync(join(this.#around.dataDir, "logs", "emergency-output.log"), "a", 0o600);
    } catch {
      return "ignore";
    }
  }
}

function markOf(text: string): Mark | undefined {
  try {
    const { bootId, bootMs, wallMs } = JSON.parse(text) as Partial<Mark>;
    return typeof bootId === "string" && typeof bootMs === "number" && typeof wallMs === "number"
      ? { bootId, bootMs, wallMs }
      : undefined;
  } catch {
    return undefined;
  }
}
