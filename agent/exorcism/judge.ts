/**
 * Who is a zombie? Pure: a scan and what is remembered of earlier ones go in, findings come out.
 *
 *   stuck       burns its share of CPU, or takes ever more memory, and has written nothing, while its workload has shown no
 *               output, beat or progress, all for `stuckAfterMs`
 *   orphaned    of an earlier life of its workload, or of one that should not run at all
 *   left over   a declared process that has lost the parent it had lived with
 *   defunct     dead, and its parent does not wait for it: asked by SIGCHLD, never killed
 *   unproven    burns, runs a program of ours, and nothing proves that it is ours: told, never touched
 *
 * Doubt comes first: two scans in a row must agree, a workload that starts, stops or is cleaned is not judged, nobody is for
 * a while after that, and nothing is after the agent was away. The main process of a living workload is never ended here.
 */
import { mebibytes, seconds, share } from "../limits/words.ts";
import { defunctFindings } from "./defunct.ts";
import { forgive, type Memory, noteFindings, type ProcessMemory, remember } from "./memory.ts";
import { identity, isDead, nameOf } from "./owners.ts";
import type { Finding, Owner, Policy, Scan, SeenProcess, WorkloadView } from "./sight.ts";

/** So many are ended at one scan; the others wait for the next one. */
const endsPerScanMax = 20;
/** More than this within ten minutes is a storm: whatever makes them is not mended by ending them. */
const stormMax = 100;
const stormMs = 600_000;
/** Told at one scan; the others wait. */
const reportsPerScanMax = 10;

/** What is thought of one process at one scan. */
export type Suspicion = Pick<Finding, "kind" | "act" | "because">;

/** Judges a scan. `away`: the agent did not run as it should since the last one. */
export function judge(
  policy: Policy,
  last: Memory,
  scan: Scan,
  away: boolean,
): { readonly memory: Memory; readonly findings: readonly Finding[] } {
  const before = away ? forgive(last) : last;
  const remembered = remember(before, policy, scan);
  const processes = remembered.processes;
  const found: Finding[] = [];
  for (const one of scan.processes) {
    const memory = processes.get(one.pid);
    if (!memory) continue;
    const { suspected, ...rest } = memory;
    const thought = suspect(policy, remembered, scan, one, memory);
    if (!thought) {
      if (suspected !== undefined) processes.set(one.pid, rest);
      continue;
    }
    processes.set(one.pid, { ...rest, suspected: thought.kind });
    const { kind, because } = thought;
    const act = policy.reportOnly ? "report" : thought.act;
    if (suspected === kind && scan.atMs >= (memory.quiet[`${kind} ${act}`] ?? 0))
      found.push({ kind, act, because, owner: nameOf(one.owner), who: identity(one), defunct: [] });
  }
  const dead = defunctFindings(policy, before, remembered, scan);
  return bounded(remembered, [...found, ...dead], scan.atMs);
}

/** Takes as many findings as one scan may act upon. */
function bounded(memory: Memory, all: readonly Finding[], atMs: number): { memory: Memory; findings: Finding[] } {
  const endedMs = memory.endedMs.filter((ms) => ms > atMs - stormMs);
  const ends = all.filter(({ act }) => act === "end");
  const room = Math.max(0, Math.min(endsPerScanMax, stormMax - endedMs.length));
  const findings = [
    ...ends.slice(0, room),
    ...all.filter(({ act }) => act !== "end" && act !== "report"),
    ...all.filter(({ act }) => act === "report").slice(0, reportsPerScanMax),
  ];
  const [first] = ends.slice(room);
  if (first && endedMs.length + room >= stormMax && atMs >= memory.pagedUntilMs)
    findings.push({
      ...first,
      kind: "storm",
      act: "page",
      because: `${endedMs.length + room} processes were ended in ${seconds(stormMs)} and there are ever more: whatever makes them must be found; no more are ended for now`,
    });
  return { memory: noteFindings({ ...memory, endedMs }, findings, atMs), findings };
}

function suspect(
  policy: Policy,
  memory: Memory,
  scan: Scan,
  one: SeenProcess,
  known: ProcessMemory,
): Suspicion | undefined {
  if (isDead(one) || one.pid === scan.selfPid) return undefined;
  if (!one.owner) return unproven(policy, scan, one, known);
  if (one.owner.is === "declared") return declared(policy, scan, one, known, one.owner.name);
  const { workload } = one.owner;
  const view = scan.views.find(({ name }) => name === workload);
  const settled = memory.settled.get(workload);
  // What is no longer in the config is supervision's to dismiss.
  if (!view || !settled || view.phase === "moving" || scan.atMs - settled.sinceMs < policy.settleMs) return undefined;
  return orphaned(view, one, one.owner) ?? stuck(policy, scan, view, settled.sinceMs, one, known);
}

// ── families ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function orphaned(view: WorkloadView, one: SeenProcess, owner: Owner & { is: "family" }): Suspicion | undefined {
  const parent = one.ppid === 1 ? "its parent is init now" : `its parent is pid ${one.ppid}`;
  if (view.phase === "down")
    return { kind: "orphaned", act: "end", because: `'${view.name}' does not run, and this is left of it; ${parent}` };
  const { main } = view;
  if (!main || one.pid === main.pid) return undefined;
  const life = lifeOf(one, owner, main);
  if (life === "same") return undefined;
  if (life === "earlier")
    return {
      kind: "orphaned",
      act: "end",
      because: `it is of an earlier life of '${view.name}', whose main process is pid ${main.pid} now; ${parent}`,
    };
  return {
    kind: "orphaned",
    act: "report",
    because: `it is of another life of '${view.name}' than pid ${main.pid}, and nothing proves that it is an earlier one; ${parent}`,
  };
}

/** In which life of its workload was it born? A session or a parent says nothing: those signs come from the main process. */
function lifeOf(
  one: SeenProcess,
  { by, instance }: Owner & { is: "family" },
  main: NonNullable<WorkloadView["main"]>,
): "same" | "earlier" | "unknown" {
  if ((by !== "cgroup" && by !== "marker") || instance === main.id) return "same";
  const older = one.startTicks < main.startTicks;
  // It has overwritten its marker. A main process that was adopted may be the wrong one of two.
  if (instance === "") return older && !main.adopted ? "earlier" : "same";
  // Ids are in the order of their making.
  return older || (main.id !== "" && instance < main.id) ? "earlier" : "unknown";
}

function stuck(
  policy: Policy,
  scan: Scan,
  view: WorkloadView,
  aliveSinceMs: number,
  one: SeenProcess,
  known: ProcessMemory,
): Suspicion | undefined {
  const wastes = view.signsKnown ? waste(policy, scan, one, known) : undefined;
  if (!wastes) return undefined;
  const silentMs = scan.atMs - Math.max(view.lastSignMs ?? 0, aliveSinceMs);
  if (silentMs < policy.stuckAfterMs) return undefined;
  const because = `it ${wastes.words}, and '${view.name}' has shown no output, beat or progress for ${seconds(silentMs)}`;
  if (one.pid !== view.main?.pid) return { kind: "stuck", act: "end", because };
  if (view.owesSigns) return { kind: "stuck", act: "tell", because };
  // One that never promised a sign may be computing.
  return {
    kind: "stuck",
    act: "report",
    because: `${because}; with a beat or \`progress\` in its config it would be judged`,
  };
}

/** What it wastes, and whether it is certain that it wrote nothing; undefined when it wastes nothing, or not for long enough. */
function waste(
  policy: Policy,
  scan: Scan,
  one: SeenProcess,
  { burningSinceMs, silent, cpuRatio }: ProcessMemory,
): { readonly words: string; readonly certain: boolean } | undefined {
  const silentSinceMs = silent?.sinceMs ?? Number.NEGATIVE_INFINITY;
  const burntMs = burningSinceMs === undefined ? 0 : scan.atMs - Math.max(burningSinceMs, silentSinceMs);
  const certain = silent !== undefined;
  if (burntMs >= policy.stuckAfterMs)
    return {
      words: `has burned CPU for ${seconds(burntMs)}, now ${share(cpuRatio)} of a core, and written nothing`,
      certain,
    };
  if (!silent || scan.atMs - silent.sinceMs < policy.stuckAfterMs) return undefined;
  const grownBytes = (one.residentPages - silent.pages) * scan.pageBytes;
  if (grownBytes < policy.growthBytes) return undefined;
  const words = `has taken ${mebibytes(grownBytes)} more memory in ${seconds(scan.atMs - silent.sinceMs)} and written nothing`;
  return { words, certain };
}

// ── others ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function declared(
  policy: Policy,
  scan: Scan,
  one: SeenProcess,
  known: ProcessMemory,
  name: string,
): Suspicion | undefined {
  const { reparentedMs, firstMs } = known;
  // A daemon leaves its parent within moments of its start, and wants to live.
  if (reparentedMs !== undefined && reparentedMs - firstMs >= policy.withParentMs)
    return {
      kind: "left_over",
      act: "end",
      because: `it is one of '${name}', and pid ${known.firstParent}, which it had lived with for ${seconds(reparentedMs - firstMs)}, is gone`,
    };
  const wastes = waste(policy, scan, one, known);
  if (!wastes) return undefined;
  const because = `it is one of '${name}' and ${wastes.words}`;
  return { kind: "stuck", act: wastes.certain ? "end" : "report", because };
}

function unproven(policy: Policy, scan: Scan, one: SeenProcess, known: ProcessMemory): Suspicion | undefined {
  const { burningSinceMs } = known;
  if (burningSinceMs === undefined || scan.atMs - burningSinceMs < policy.stuckAfterMs) return undefined;
  if (one.alike === undefined) return undefined;
  return {
    kind: "unproven",
    act: "report",
    because: `it runs the program of '${one.alike}', has burned ${share(known.cpuRatio)} of a core for ${seconds(scan.atMs - burningSinceMs)}, and nothing proves that it is ours`,
  };
}
