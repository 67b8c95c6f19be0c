/** Dead children that nobody has waited for: one finding per parent. Pure, a part of `judge.ts`. */
import type { Memory } from "./memory.ts";
import { isDead, nameOf } from "./owners.ts";
import type { Finding, Policy, Scan, SeenProcess } from "./sight.ts";

/** So often a parent is asked; then it is told that it does not reap. */
const askMax = 3;
/** So many hold so many pids that only a restart of the workload helps: its end gives them to init. */
const pileMin = 64;

/** `before` is the memory of the scan before: who was dead then already is defunct, and not just dying. */
export function defunctFindings(policy: Policy, before: Memory, memory: Memory, scan: Scan): Finding[] {
  const byParent = new Map<number, SeenProcess[]>();
  for (const one of scan.processes) {
    const last = before.processes.get(one.pid);
    if (!isDead(one) || last?.startTicks !== one.startTicks || !last.dead) continue;
    byParent.set(one.ppid, [...(byParent.get(one.ppid) ?? []), one]);
  }
  if (byParent.size === 0) return [];
  const byPid = new Map(scan.processes.map((one) => [one.pid, one]));
  return [...byParent].flatMap(([pid, dead]) => {
    const parent = byPid.get(pid);
    return parent ? (judgeParent(policy, memory, scan, parent, dead) ?? []) : [];
  });
}

function judgeParent(
  policy: Policy,
  memory: Memory,
  scan: Scan,
  parent: SeenProcess,
  dead: readonly SeenProcess[],
): Finding | undefined {
  const { pid, startTicks, name } = parent;
  const many = dead.length === 1 ? "one dead child" : `${dead.length} dead children`;
  const finding = (act: Finding["act"], owner: string, because: string): Finding | undefined => {
    const does = policy.reportOnly && act !== "report" ? "report" : act;
    const quietUntilMs = memory.processes.get(pid)?.quiet[`defunct ${does}`] ?? 0;
    if (does !== "nudge" && does !== "reap" && scan.atMs < quietUntilMs) return undefined;
    return { kind: "defunct", act: does, owner, who: { pid, startTicks, name }, defunct: dead, because };
  };
  if (pid === scan.selfPid) return finding("reap", "", `the agent has ${many} that fell to it and nobody waits for`);
  const owner = nameOf(parent.owner);
  if (!parent.owner) {
    // Ours when they lived; whoever their parent is now, it is not ours to touch.
    const ours = dead.map((one) => memory.processes.get(one.pid)?.workload ?? "").find((workload) => workload !== "");
    if (ours === undefined) return undefined;
    return finding("report", ours, `pid ${pid}, which is not ours, has not reaped ${many} of '${ours}'`);
  }
  const view = scan.views.find((one) => one.name === owner);
  if (view?.phase === "moving") return undefined; // its end, or its clean-up, reaps them
  const asked = memory.asked.get(pid);
  if (asked && scan.atMs < asked.nextMs) return undefined;
  if ((asked?.times ?? 0) < askMax) return finding("nudge", owner, `it has not reaped ${many}`);
  const because = `it has not reaped ${many}, though it was asked ${askMax} times`;
  const isMain = view?.main?.pid === pid;
  return finding(dead.length >= pileMin && isMain ? "tell" : "report", owner, because);
}
