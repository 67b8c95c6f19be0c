import { existsSync, readdirSync, statSync } from "node:fs";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { parseProcessLine } from "../limits/process-line.ts";
import type { Figures } from "../triggers/observation.ts";
import { KernelFile, kernelText, pageBytes } from "./proc-read.driver.ts";
import { parseCgroupCache, parseCgroupCpu, parseProcessIo } from "./proc-text.ts";

/** Linux counts CPU time of processes in hundredths of a second on every machine (USER_HZ). */
const tickMs = 10;
/** Of a larger family so many are looked at, and the figures are scaled up: a family that explodes must not cost us the CPU. */
const lookedAtMax = 256;
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

interface Member {
  readonly files: MemberFiles;
  readonly startTicks: number;
  readonly cpuTicks: number;
  readonly ioBytes: number | undefined;
}

interface MemberFiles {
  readonly stat: KernelFile;
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
  readonly cgroup: Cgroup | undefined;
  readonly ms: number;
  readonly members: ReadonlyMap<number, Member>;
  readonly cgroupUsec: number | undefined;
  readonly files: number | undefined;
  readonly filesMs: number;
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
   * when the main process is gone. Costs about 20 µs per process.
   */
  read(workload: string, pid: number): FamilySeen | undefined {
    const before = this.#families.get(workload);
    const cgroup = cgroupAt(this.#cgroupOf(workload), before?.cgroup);
    const all = familyPids(pid, cgroup, before?.members);
    const looked = readMembers(all.slice(0, lookedAtMax), before?.members);
    const ms = this.#clock.monotonicMs();
    const cgroupUsec = cgroup && parseCgroupCpu(cgroup.cpu.text() ?? "");
    const filesDue = !before || ms >= before.filesMs + filesEveryMs;
    const now: Family = {
      cgroup,
      ms,
      members: looked.members,
      cgroupUsec,
      files: filesDue ? openFiles([...looked.members.keys()]) : before.files,
      filesMs: filesDue ? ms : before.filesMs,
    };
    this.#families.set(workload, now);
    if (!looked.members.has(pid)) {
      this.forget(workload);
      return undefined;
    }
    const scale = Math.max(1, all.length / lookedAtMax);
    const moved = before && ms > before.ms ? between(before, now) : undefined;
    const figures: Record<string, number> = {
      process_memory_bytes: memoryOf(cgroup) ?? looked.pages * pageBytes * scale,
      process_tasks: Math.round(looked.threads * scale),
    };
    if (now.files !== undefined) figures.process_open_files = Math.round(now.files * scale);
    if (moved) figures.process_cpu_ratio = (moved.cpuMs / (ms - (before?.ms ?? 0))) * (moved.exact ? 1 : scale);
    if (moved && looked.ioKnown)
      figures.io_bytes_per_second = (moved.ioBytes * scale * 1000) / (ms - (before?.ms ?? 0));
    return { figures, pids: all, ioBytes: moved?.ioBytes ?? 0 };
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
function familyPids(
  pid: number,
  cgroup: Cgroup | undefined,
  before: ReadonlyMap<number, Member> | undefined,
): number[] {
  const inside = cgroup?.procs.text();
  if (inside !== undefined && inside !== "") {
    const pids = inside.split("\n").filter(Boolean).map(Number);
    return [pid, ...pids.filter((one) => one !== pid)];
  }
  const found = [pid];
  for (let at = 0; at < found.length && found.length < lookedAtMax; at += 1) {
    const parent = found[at] ?? 0;
    const children = before?.get(parent)?.files.children.text() ?? kernelText(childrenPath(parent));
    for (const child of children?.split(" ") ?? []) if (child !== "") found.push(Number(child));
  }
  return found;
}

/** Takes over the open files of members that are still there, and closes those of members that are not. */
function readMembers(pids: readonly number[], before: ReadonlyMap<number, Member> = new Map()) {
  const members = new Map<number, Member>();
  let [pages, threads, ioKnown] = [0, 0, false];
  for (const pid of pids) {
    const files = before.get(pid)?.files ?? filesOf(pid);
    const line = parseProcessLine(pid, files.stat.text() ?? "");
    if (!line || line.state === "Z") {
      if (!before.has(pid)) closeFiles(files);
      continue;
    }
    const io = files.io.text();
    ioKnown ||= io !== undefined;
    pages += line.residentPages;
    threads += line.threads;
    const { startTicks, cpuTicks } = line;
    members.set(pid, { files, startTicks, cpuTicks, ioBytes: io === undefined ? undefined : parseProcessIo(io) });
  }
  for (const [pid, { files }] of before) if (!members.has(pid)) closeFiles(files);
  return { members, pages, threads, ioKnown };
}

function filesOf(pid: number): MemberFiles {
  return {
    stat: new KernelFile(`/proc/${pid}/stat`),
    io: new KernelFile(`/proc/${pid}/io`),
    children: new KernelFile(childrenPath(pid)),
  };
}

/** Those of its first thread, which is the one that forks in all but rare programs. */
function childrenPath(pid: number): string {
  return `/proc/${pid}/task/${pid}/children`;
}

/** What the family has used between two looks. Who came in between counts whole, who left is in the cgroup's account only. */
function between(before: Family, now: Family) {
  let [ticks, ioBytes] = [0, 0];
  for (const [pid, member] of now.members) {
    const known = before.members.get(pid);
    // The same PID with another start is another process.
    const last = known?.startTicks === member.startTicks ? known : undefined;
    ticks += member.cpuTicks - (last?.cpuTicks ?? 0);
    ioBytes += Math.max(0, (member.ioBytes ?? 0) - (last?.ioBytes ?? 0));
  }
  const exact = before.cgroupUsec !== undefined && now.cgroupUsec !== undefined && now.cgroupUsec >= before.cgroupUsec;
  const cpuMs = exact ? ((now.cgroupUsec ?? 0) - (before.cgroupUsec ?? 0)) / 1000 : ticks * tickMs;
  return { cpuMs, ioBytes, exact };
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
