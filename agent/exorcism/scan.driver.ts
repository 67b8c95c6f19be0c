/** Reads the process table: one short file per process, and more only of those about which the judge has to know more. */
import { readlinkSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { setImmediate as giveWay } from "node:timers/promises";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { OwnedProcessSpec } from "../config/sections.ts";
import { ProcessFile } from "../limits/process-file.driver.ts";
import type { ProcessLine } from "../limits/process-line.ts";
import { pageBytes, processLine, processText } from "../limits/process-table.driver.ts";
import type { Families } from "../supervise/family.driver.ts";
import { allPids, kernelParent } from "../supervise/proc.driver.ts";
import { type Memory, wantsOutput, wantsProgram, wantsWait } from "./memory.ts";
import { attribute, isDead } from "./owners.ts";
import type { Identity, Policy, RawProcess, Scan, SeenProcess, WorkloadView } from "./sight.ts";

/** After so many the others get their turn: a scan may never hold up the answer to a crash. */
const sliceMax = 128;
/** Files that are kept open from scan to scan; of a machine with more processes the others are opened at each. */
const linesMax = 256;
/** A marker or a program that is read between fork and exec is the parent's: read again at the next scans. */
const readTimes = 2;
/** Kernel threads stay what they are: who is one is asked again only so often, for a number may be given to another. */
const kernelEveryScans = 12;

/** What does not change in the life of a process. */
interface Known {
  readonly startTicks: number;
  readonly name: string;
  readonly read: number;
  readonly mark: RawProcess["mark"];
  readonly declared: string | undefined;
  /** Filled in when somebody asks. */
  runs?: string;
}

export class Scanner {
  readonly #families: Families;
  readonly #clock: Clock;
  readonly #declared: readonly (OwnedProcessSpec & { readonly paths: Set<string> })[];
  #known = new Map<number, Known>();
  #kernel = new Set<number>();
  /** Of everybody who was there at the last scan: kept open, a look costs a third. */
  #lines = new Map<number, ProcessFile>();
  #scans = 0;

  constructor(families: Families, declared: readonly OwnedProcessSpec[], clock: Clock) {
    this.#families = families;
    this.#clock = clock;
    this.#declared = declared.map((one) => ({ ...one, paths: new Set([one.program]) }));
    void this.#resolve();
  }

  close(): void {
    for (const file of this.#lines.values()) file.close();
    this.#lines.clear();
  }

  /** Where the declared programs lead through links. One after the other: a disk that hangs may hold one thread. */
  async #resolve(): Promise<void> {
    for (const { program, paths } of this.#declared) paths.add(await realpath(program).catch(() => program));
  }

  /**
   * Everybody at one moment, and the CPU time that reading took. `spared` are never one of the declared processes:
   * the agent, who watches it, and whoever started it.
   */
  async scan(
    views: readonly WorkloadView[],
    policy: Policy,
    memory: Memory,
    spared: ReadonlySet<number>,
  ): Promise<{ readonly scan: Scan; readonly costMs: number }> {
    const atMs = this.#clock.monotonicMs();
    // CPU time: on a crowded machine the wall says how crowded it is.
    let costMs = -cpuMs();
    const rest = async () => {
      costMs += cpuMs();
      await giveWay();
      costMs -= cpuMs();
    };
    const cgroupOf = new Map<number, string>();
    for (const { name } of views) for (const pid of this.#families.inside(name)) cgroupOf.set(pid, name);
    const raw: RawProcess[] = [];
    const known = new Map<number, Known>();
    const lines = new Map<number, ProcessFile>();
    if (this.#scans++ % kernelEveryScans === 0)
      this.#kernel = new Set(kernelParent === undefined ? [] : [kernelParent]);
    let at = 0;
    for (const pid of allPids()) {
      if (++at % sliceMax === 0) await rest();
      if (this.#kernel.has(pid)) continue;
      const line = this.#lineOf(pid, lines);
      if (!line) continue;
      if (line.ppid === kernelParent) {
        this.#kernel.add(pid);
        continue;
      }
      const about = this.#about(line, spared.has(pid));
      known.set(pid, about);
      const cgroup = cgroupOf.get(pid) ?? (isDead(line) ? this.#cgroupOfDead(pid) : undefined);
      raw.push({
        ...line,
        ...(about.mark !== undefined && { mark: about.mark }),
        ...(about.declared !== undefined && { declared: about.declared }),
        ...(cgroup !== undefined && { cgroup }),
      });
    }
    this.#known = known;
    for (const [pid, file] of this.#lines) if (lines.get(pid) !== file) file.close();
    this.#lines = lines;
    const processes: SeenProcess[] = [];
    at = 0;
    for (const one of attribute(raw, views)) {
      if (++at % sliceMax === 0) await rest();
      processes.push(this.#more(one, views, policy, memory, atMs));
    }
    costMs += cpuMs();
    return { scan: { atMs, selfPid: process.pid, pageBytes, processes, views }, costMs };
  }

  #lineOf(pid: number, lines: Map<number, ProcessFile>): ProcessLine | undefined {
    if (lines.size >= linesMax) return processLine(pid);
    const file = this.#lines.get(pid) ?? new ProcessFile(pid);
    const line = file.line();
    if (line) lines.set(pid, file);
    else if (!this.#lines.has(pid)) file.close();
    return line;
  }

  #about({ pid, startTicks, name, state }: ProcessLine, spared: boolean): Known {
    const last = this.#known.get(pid);
    const before = last?.startTicks === startTicks ? last : undefined;
    // Another name is another program, which may carry another environment.
    const times = before?.name === name ? before.read : 0;
    if (before && times >= readTimes) return before;
    // Who waits for a dead disk may hold what the kernel needs to show its words and its environment.
    if (state === "D") return before ?? { startTicks, name, read: 0, mark: undefined, declared: undefined };
    return {
      startTicks,
      name,
      read: times + 1,
      // What it carried once stays true: programs write over it, and some start their own children without it.
      mark: this.#families.markOf(pid) ?? before?.mark,
      declared: spared ? undefined : this.#declaredAs(pid),
    };
  }

  #more(one: SeenProcess, views: readonly WorkloadView[], policy: Policy, memory: Memory, atMs: number): SeenProcess {
    if (wantsProgram(memory, policy, one, atMs)) return this.#alike(one, views);
    const waitedNs = wantsWait(memory, policy, one, atMs)
      ? processText(one.pid, "schedstat")?.split(" ")[1]
      : undefined;
    const seen = waitedNs === undefined ? one : { ...one, waitedMs: Number(waitedNs) / 1e6 };
    if (!wantsOutput(memory, policy, seen, atMs, pageBytes)) return seen;
    const text = /^wchar: (\d+)$/m.exec(processText(one.pid, "io") ?? "")?.[1];
    return text === undefined ? seen : { ...seen, writtenBytes: Number(text) };
  }

  /** Which workload runs the same program with the same first word? */
  #alike(one: SeenProcess, views: readonly WorkloadView[]): SeenProcess {
    const runs = this.#firstWords(one);
    const alike = views.find(({ main }) => main && this.#firstWords(main) === runs)?.name;
    return alike === undefined ? one : { ...one, alike };
  }

  /** Its program and the first word after it, which is the script where the program is an interpreter. Read once. */
  #firstWords({ pid, startTicks }: Identity): string {
    const known = this.#known.get(pid);
    if (known?.startTicks === startTicks && known.runs !== undefined) return known.runs;
    const runs = `${program(pid)} ${(processText(pid, "cmdline") ?? "").split("\0")[1]}`;
    if (known?.startTicks === startTicks) known.runs = runs;
    return runs;
  }

  #declaredAs(pid: number): string | undefined {
    if (this.#declared.length === 0) return undefined;
    const words = (processText(pid, "cmdline") ?? "").split("\0");
    // A script is the second word, after its interpreter.
    const programs = [program(pid), ...words.slice(0, 2)];
    return this.#declared.find(
      ({ paths, argument }) =>
        programs.some((path) => path !== undefined && paths.has(path)) &&
        (argument === "" || words.slice(1).some((word) => word.includes(argument))),
    )?.name;
  }

  /** A dead process is on no list of a cgroup, and still says in which it was. */
  #cgroupOfDead(pid: number): string | undefined {
    const [, path] = (processText(pid, "cgroup") ?? "").split(`/${this.#families.folder}/`);
    return path === undefined ? undefined : (/^[^/\s]+/.exec(path)?.[0] ?? undefined);
  }
}

/** Of this process until now. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** The path of a process's program; of one that was replaced meanwhile, the path that it had. */
export function program(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, "");
  } catch {
    return undefined;
  }
}
