/**
 * Whose is each process? The signs are those of a clean-up (`supervise/family.driver.ts`), strongest first: cgroup, marker,
 * session of the main process, child of a member. A marker of another agent outweighs everything but our own cgroup. Pure.
 */
import type { Finding, Owner, RawProcess, SeenProcess, WorkloadView } from "./sight.ts";

export function attribute(processes: readonly RawProcess[], views: readonly WorkloadView[]): SeenProcess[] {
  const sessions = new Map(views.flatMap(({ name, main }) => (main ? [[main.pid, { name, main }] as const] : [])));
  const byPid = new Map(processes.map((one) => [one.pid, one]));
  const known = new Map<number, Owner | undefined>();

  const direct = (one: RawProcess): Owner | undefined => {
    const mark = one.mark === "another" ? undefined : one.mark;
    const instance = mark?.instance ?? "";
    if (one.cgroup !== undefined) return { is: "family", workload: one.cgroup, by: "cgroup", instance };
    if (mark) return { is: "family", workload: mark.workload, by: "marker", instance };
    if (one.mark === "another") return undefined;
    const session = sessions.get(one.session);
    if (session && isSession(session.main, byPid) && one.startTicks >= session.main.startTicks)
      return { is: "family", workload: session.name, by: "session", instance: "" };
    return undefined;
  };

  const ownerOf = (one: RawProcess): Owner | undefined => {
    if (known.has(one.pid)) return known.get(one.pid);
    known.set(one.pid, undefined); // a circle of parents cannot be, but a table that is read in parts may show one
    const parent = byPid.get(one.ppid);
    let owner = direct(one);
    // Born after its parent, or the number of the parent belongs to another process by now.
    if (!owner && one.mark !== "another" && parent && parent.startTicks <= one.startTicks) {
      const above = ownerOf(parent);
      if (above?.is === "family") owner = { ...above, by: "parent" };
    }
    owner ??= one.declared !== undefined && one.mark === undefined ? { is: "declared", name: one.declared } : undefined;
    known.set(one.pid, owner);
    return owner;
  };
  return processes.map((one) => {
    const owner = ownerOf(one);
    return owner ? { ...one, owner } : one;
  });
}

/** The main process is there, or nobody is: a session outlives its leader. Another process of that number ends it. */
function isSession(main: { pid: number; startTicks: number }, byPid: ReadonlyMap<number, RawProcess>): boolean {
  const leader = byPid.get(main.pid);
  return !leader || leader.startTicks === main.startTicks;
}

/** The main thread may have ended while others go on: then it lives. */
export function isDead(one: Pick<SeenProcess, "state" | "threads">): boolean {
  return one.state === "X" || (one.state === "Z" && one.threads <= 1);
}

export function identity({ pid, startTicks, name }: SeenProcess): Finding["who"] {
  return { pid, startTicks, name };
}

export function nameOf(owner: Owner | undefined): string {
  if (!owner) return "";
  return owner.is === "family" ? owner.workload : owner.name;
}
