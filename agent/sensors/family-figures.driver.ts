import { existsSync, readdirSync, statSync } from "node:fs";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { ProcessFile } from "../limits/process-file.driver.ts";
import type { Figures } from "../triggers/observation.ts";
import { KernelFile, kernelText, pageBytes } from "./proc-read.driver.ts";
import { parseCgroupCache, parseCgroupCpu, parseProcessIo } from "./proc-text.ts";

/** Linux counts CPU time of processes in hundredths of a second on every machine (USER_HZ). */
const tickMs = 10;
/** Of a larger family so many are looked at, and the figures are scaled up: a family that explodes must not cost us the CPU. */
const lookedAtMax = 256;
/** Without a cgroup so many are asked for their children, 10 µs each: by how much to scale up takes the true number. */
const askedMax = 2000;
/** Counting open files is dearer than everything else. */
const filesEveryMs = 30_000;
/** Since Linux 6.2 the size of this folder is the number of open files. */
const sizeIsCount = sizeOf("/proc/self/fd") > 0;

/** What was read of one workload's family. */
export interface FamilySeen {
  /** process_cpu_ratio, process_memory_bytes, process_tasks, process_open_files, io_bytes_per_second: what is known of them. */
  readonly figures: Figures;
  readonly pids: readonly number[];
  /** Bytes that moved since the last look; 0 at the first. */
  readonly ioBytes: number;
}

/** As it was at the last look. Changed in place: what is made anew at each look lives just long enough to be dear. */
interface Member {
  readonly files: MemberFiles;
  startTicks: number;
  cpuTicks: number;
  ioBytes: number;
}

interface MemberFiles {
  readonly stat: ProcessFile;
  readonly io: KernelFile;
  readonly children: KernelFile;
}

/** The workload's cgroup; `memory` is absent where there is no memory controller. */
interface Cgroup {
  readonly folder: string;
  readonly procs: KernelFile;
  readonly cpu: KernelFile;
  readonly memory?: { readonly current: KernelFile; readonly stat: KernelFile };
}

interface Family {
  cgroup: Cgroup | undefined;
  ms: number;
  readonly members: Map<number, Member>;
  cgroupUsec: number | undefined;
  files: number | undefined;
  filesMs: number;
}

/** Figures of workloads over their whole families. Remembers the last look of each workload until it is forgotten. */
export class FamilyFigures {
  readonly #clock: Clock;
  readonly #cgroupOf: (workload: string) => string | undefined;
  readonly #families = new Map<string, Family>();

  /** `cgroupOf` names the folder of the workload's own cgroup, where it has one; without it the family is followed by its parents. */
  constructor(clock: Clock, cgroupOf: (workload: string) => string | undefined) {
    this.#clock = clock;
    this.#cgroupOf = cgroupOf;
  }

  /**
   * Looks at the family of the process `pid`. Rates are of the time since the last look, and missing at the first. Undefined
   * when the main process is gone. Costs about 20 µs per process, of a larger family 10 µs for each beyond the 256 that are looked at.
   */
  read(workload: string, pid: number): FamilySeen | undefined {
    const family = this.#families.get(workload) ?? freshFamily();
    this.#families.set(workload, family);
    family.cgroup = cgroupAt(this.#cgroupOf(workload), family.cgroup);
    const { cgroup, members, ms: beforeMs, cgroupUsec: beforeUsec } = family;
    const all = familyPids(pid, cgroup, members);
    const seen = lookAt(all.length > lookedAtMax ? all.slice(0, lookedAtMax) : all, members);
    if (!members.has(pid)) {
      this.forget(workload);
      return undefined;
    }
    const ms = this.#clock.monotonicMs();
    const cgroupUsec = cgroup && parseCgroupCpu(cgroup.cpu.text() ?? "");
    if (ms >= family.filesMs + filesEveryMs) {
      family.files = openFiles([...members.keys()]);
      family.filesMs = ms;
    }
    family.ms = ms;
    family.cgroupUsec = cgroupUsec;
    const scale = Math.max(1, all.length / lookedAtMax);
    const figures: Record<string, number> = {
      process_memory_bytes: memoryOf(cgroup) ?? seen.pages * pageBytes * scale,
      process_tasks: Math.round(seen.threads * scale),
    };
    if (family.files !== undefined) figures.process_open_files = Math.round(family.files * scale);
    const passedMs = ms - beforeMs;
    // There is nothing to compare with at the first look.
    if (!(passedMs > 0 && Number.isFinite(passedMs))) return { figures, pids: all, ioBytes: 0 };
    const exact = beforeUsec !== undefined && cgroupUsec !== undefined && cgroupUsec >= beforeUsec;
    const cpuMs = exact ? (cgroupUsec - beforeUsec) / 1000 : seen.ticks * tickMs * scale;
    figures.process_cpu_ratio = cpuMs / passedMs;
    if (seen.ioKnown) figures.io_bytes_per_second = (seen.ioBytes * scale * 1000) / passedMs;
    return { figures, pids: all, ioBytes: seen.ioBytes };
  }

  /** The next look is the first again: another process lives under this name. */
  forget(workload: string): void {
    const family = this.#families.get(workload);
    if (!family) return;
    for (const { files } of family.members.values()) closeFiles(files);
    closeCgroup(family.cgroup);
    this.#families.delete(workload);
  }

  /** Forgets all. */
  close(): void {
    for (const workload of [...this.#families.keys()]) this.forget(workload);
  }
}

function cgroupAt(folder: string | undefined, before: Cgroup | undefined): Cgroup | undefined {
  if (before !== undefined && before.folder === folder) return before;
  closeCgroup(before);
  // It is made a moment after the process: until then the family is followed by its parents.
  if (folder === undefined || !existsSync(folder)) return undefined;
  const file = (name: string) => new KernelFile(`${folder}/${name}`);
  const counted = existsSync(`${folder}/memory.current`);
  return {
    folder,
    procs: file("cgroup.procs"),
    cpu: file("cpu.stat"),
    ...(counted && { memory: { current: file("memory.current"), stat: file("memory.stat") } }),
  };
}

function closeCgroup(cgroup: Cgroup | undefined): void {
  for (const file of [cgroup?.procs, cgroup?.cpu, cgroup?.memory?.current, cgroup?.memory?.stat]) file?.close();
}

function closeFiles(files: MemberFiles): void {
  for (const file of Object.values(files)) file.close();
}

/** The main process first. */
function familyPids(pid: number, cgroup: Cgroup | undefined, members: ReadonlyMap<number, Member>): number[] {
  const inside = cgroup?.procs.text();
  if (inside !== undefined && inside !== "") {
    const pids = inside.split("\n").filter(Boolean).map(Number);
    return [pid, ...pids.filter((one) => one !== pid)];
  }
  const found = [pid];
  for (let at = 0; at < found.length && at < askedMax; at += 1) {
    const parent = found[at] ?? 0;
    const children = members.get(parent)?.files.children.text() ?? kernelText(childrenPath(parent));
    for (const child of children?.split(" ") ?? []) if (child !== "") found.push(Number(child));
  }
  return found;
}

/**
 * Brings the members up to date, and sums what they hold, and what they have used since the last look. Who came in between
 * counts whole, who left is in the cgroup's account only. Whose files are closed is no member any more.
 */
function lookAt(pids: readonly number[], members: Map<number, Member>) {
  const sum = { pages: 0, threads: 0, ticks: 0, ioBytes: 0, ioKnown: false };
  let looked = 0;
  for (const pid of pids) {
    const member = members.get(pid) ?? { files: filesOf(pid), startTicks: -1, cpuTicks: 0, ioBytes: 0 };
    const line = member.files.stat.line();
    if (!line || line.state === "Z") {
      closeFiles(member.files);
      members.delete(pid);
      continue;
    }
    looked += 1;
    members.set(pid, member);
    const text = member.files.io.text();
    const ioBytes = text === undefined ? 0 : parseProcessIo(text);
    // The same PID with another start is another process.
    const same = member.startTicks === line.startTicks;
    sum.ioKnown ||= text !== undefined;
    sum.pages += line.residentPages;
    sum.threads += line.threads;
    sum.ticks += line.cpuTicks - (same ? member.cpuTicks : 0);
    sum.ioBytes += Math.max(0, ioBytes - (same ? member.ioBytes : 0));
    member.startTicks = line.startTicks;
    member.cpuTicks = line.cpuTicks;
    member.ioBytes = ioBytes;
  }
  if (members.size > looked) forgetOthers(pids, members);
  return sum;
}

function forgetOthers(pids: readonly number[], members: Map<number, Member>): void {
  const now = new Set(pids);
  for (const [pid, { files }] of members) {
    if (now.has(pid)) continue;
    closeFiles(files);
    members.delete(pid);
  }
}

function freshFamily(): Family {
  const never = Number.NEGATIVE_INFINITY;
  return { cgroup: undefined, ms: never, members: new Map(), cgroupUsec: undefined, files: undefined, filesMs: never };
}

function filesOf(pid: number): MemberFiles {
  return {
    stat: new ProcessFile(pid),
    io: new KernelFile(`/proc/${pid}/io`),
    children: new KernelFile(childrenPath(pid)),
  };
}

/** Those of its first thread, which is the one that forks in all but rare programs. */
function childrenPath(pid: number): string {
  return `/proc/${pid}/task/${pid}/children`;
}

/** What the cgroup's memory controller counts, less what the kernel could give back at once; undefined where there is none. */
function memoryOf(cgroup: Cgroup | undefined): number | undefined {
  const current = cgroup?.memory?.current.text();
  if (current === undefined) return undefined;
  return Math.max(0, Number(current) - parseCgroupCache(cgroup?.memory?.stat.text() ?? ""));
}

/** Undefined when not one of them is ours to look into. */
function openFiles(pids: readonly number[]): number | undefined {
  let [files, known] = [0, false];
  for (const pid of pids) {
    try {
      files += sizeIsCount ? statSync(`/proc/${pid}/fd`).size : readdirSync(`/proc/${pid}/fd`).length;
      known = true;
    } catch {
      // Another user's process, or one that has just ended.
    }
  }
  return known ? files : undefined;
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}
