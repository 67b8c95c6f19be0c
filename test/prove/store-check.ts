/** What must be in the agent's store, given the ledger of what it has acknowledged: every row of every table that the lanes write. */
import { keeps } from "@blueflame/agent/store/agent-store.ts";
import type { AgentStore } from "@blueflame/agent/store/ports.ts";
import { auditOf, revisions, type Stored, storedValue, sumOf } from "./store-lanes.ts";
import { fillOf, kinds, type Ledger, lanes, type Waiting, waiting } from "./store-ledger.ts";
import { placeOf, waitingIn, workloadOf } from "./store-outbox.ts";

/** Which promise is held against the store: a killed process loses nothing, a power cut nothing that was synced. */
export type Death = "kill" | "power";

/** What is wrong. Empty when nothing is. */
export interface Findings {
  /** Acknowledged and gone, or as it was before. */
  readonly lost: readonly string[];
  /** There and never written, or not as it was written. */
  readonly changed: readonly string[];
}

/** How far each lane came, by what stands in the store itself, at least by what it was told: what is written together goes together. */
interface Tops {
  readonly state: number[];
  readonly audit: number[];
  readonly readings: number[];
}
interface Checked {
  readonly store: AgentStore;
  readonly ledger: Ledger;
  readonly after: Death;
  readonly tops: Tops;
  readonly lost: string[];
  readonly changed: string[];
}

/** Near the bound of the audit (`keeps` in agent-store.ts): it forgets its oldest rows a thousand at a time. */
const auditFull = keeps.audit - 1000;
const sum = (numbers: readonly number[]) => numbers.reduce((all, one) => all + one, 0);
/** `first` to `last`; nothing when that is less. */
const range = (first: number, last: number) =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => first + at);

export async function check(store: AgentStore, ledger: Ledger, after: Death): Promise<Findings> {
  const checked: Checked = {
    store,
    ledger,
    after,
    tops: { state: [], audit: [], readings: [] },
    lost: [],
    changed: [],
  };
  await checkLanes(checked);
  await checkDecisions(checked);
  await checkIncidents(checked);
  await checkOutbox(checked);
  return { lost: checked.lost, changed: checked.changed };
}

async function checkLanes({ store, ledger, after, tops, lost, changed }: Checked): Promise<void> {
  const audit = await auditOf(store);
  // A table that has reached its bound forgets its oldest rows, and only those.
  const full = sum([...audit.values()].map(({ size }) => size)) > auditFull;
  for (let lane = 0; lane < lanes; lane++) {
    for (const kind of kinds) {
      const { begun, acked, synced } = ledger.read(lane, kind);
      const least = after === "kill" ? acked : synced;
      const name = `${kind} of lane ${lane}`;
      if (kind === "readings") tops.readings[lane] = least;
      else if (kind === "audit") {
        const list = audit.get(lane) ?? new Map<number, string>();
        const top = Math.max(least, ...list.keys());
        tops.audit[lane] = top;
        const first = full && list.size > 0 ? Math.min(...list.keys()) : 1;
        const gone = range(first, top).filter((one) => !list.has(one));
        if (gone.length > 0) lost.push(`${name}: ${gone.length} of ${top}, the first is ${gone[0]}`);
        for (const [count, because] of list) {
          if (count > begun || because !== fillOf(lane, kind, count)) changed.push(`${name}: ${count} is '${because}'`);
        }
      } else {
        const stored = await storedValue(store, lane, kind).catch((error: unknown) => String(error));
        const count = typeof stored === "object" ? stored.count : 0;
        if (kind === "state") tops.state[lane] = Math.max(least, count);
        if (typeof stored === "string") changed.push(`${name}: ${stored}`);
        else if (count < least) lost.push(`${name}: is ${count}, acknowledged was ${least}`);
        else if (stored && !asWritten(stored, lane, kind, begun)) changed.push(`${name}: ${JSON.stringify(stored)}`);
        else if (kind === "config" && stored) changed.push(...(await contents(store, lane, stored.count)));
      }
    }
  }
}

function asWritten({ count, fill }: Stored, lane: number, kind: (typeof kinds)[number], begun: number): boolean {
  return count <= begun && fill === fillOf(lane, kind, count);
}

async function contents(store: AgentStore, lane: number, count: number): Promise<string[]> {
  const fill = fillOf(lane, "config", count);
  const held = (await store.configContents(workloadOf(lane), [sumOf(fill)])).get(sumOf(fill));
  return held && Buffer.from(held).toString() === fill ? [] : [`the content of config ${count} of lane ${lane}`];
}

/** Each state was written with a decision: of each lane the last ones without a gap, and together all, or the newest of the bound. */
async function checkDecisions({ store, tops, lost, changed }: Checked): Promise<void> {
  const all = await store.decisions(1_000_000);
  const wanted = Math.min(keeps.decisions, sum(tops.state));
  if (all.length !== wanted) lost.push(`decisions: there are ${all.length} of ${wanted}`);
  const next = [...tops.state];
  for (const { id, inputJson } of all) {
    const { lane, count } = placeOf(id) ?? { lane: -1, count: -1 };
    if (inputJson !== fillOf(lane, "state", count)) changed.push(`decision ${id} is '${inputJson}'`);
    if (count !== next[lane]) lost.push(`decisions: ${id} stands where ${lane}-${next[lane]} has to be`);
    next[lane] = count - 1;
  }
}

/** Each state was written with the next revision of an incident: all that are open, and the newest closed ones. */
async function checkIncidents({ store, tops, lost, changed }: Checked): Promise<void> {
  const all = await store.incidents(1_000_000, false);
  const closed = Math.min(keeps.closedIncidents, sum(tops.state.map((top) => Math.floor(top / revisions))));
  const open = tops.state.flatMap((top, lane) => (top % revisions === 0 ? [] : [idOf(lane, top)])).sort();
  if (all.length !== closed + open.length) lost.push(`incidents: there are ${all.length} of ${closed + open.length}`);
  const said = store.openIncidents(1000).map(({ id }) => id);
  if (said.sort().join() !== open.join()) lost.push(`incidents: open are ${said}, and have to be ${open}`);
  for (const { id, revision, symptom } of all) {
    const { lane, count } = placeOf(id) ?? { lane: -1, count: -1 };
    const last = Math.min(count * revisions, tops.state[lane] ?? 0);
    if (Number(revision) !== last)
      lost.push(`incidents: of ${id} the revision is ${revision}, acknowledged was ${last}`);
    if (symptom !== fillOf(lane, "incident", Number(revision))) changed.push(`incident ${id} is '${symptom}'`);
  }
}
function idOf(lane: number, revision: number): string {
  return `${lane}-${Math.ceil(revision / revisions)}`;
}

/** All that nobody took is there: of an incident the newest revision, of the rest each one, readings also when they were rolled up. */
async function checkOutbox({ store, ledger, after, tops, lost, changed }: Checked): Promise<void> {
  const { rows, wrong } = await waitingIn(store);
  lost.push(...wrong);
  const here = new Map<string, Set<number>>();
  for (const { seq, held } of rows) {
    for (const { lane, kind, from, to, count, fill } of held) {
      const numbers = here.get(`${kind} ${lane}`) ?? new Set();
      here.set(`${kind} ${lane}`, numbers);
      const own = range(from, to);
      if (own.length !== count) lost.push(`outbox: ${seq} has ${count} of ${kind} ${from} to ${to} of lane ${lane}`);
      if (own.some((one) => numbers.has(one))) changed.push(`${kind} ${from} of lane ${lane} waits twice`);
      if (fill !== undefined && fill !== fillOf(lane, kind, from))
        changed.push(`record ${seq} that waits is '${fill}'`);
      for (const one of own) numbers.add(one);
    }
  }
  for (let lane = 0; lane < lanes; lane++) {
    for (const kind of waiting) {
      const numbers = here.get(`${kind} ${lane}`) ?? new Set();
      const { taking, taken } = ledger.took(lane, kind);
      const { begun } = ledger.read(lane, kind === "incident" ? "state" : kind);
      const top = topOf(tops, lane, kind);
      const gone = range(taking + 1, top).filter((one) => isLast(kind, one, top) && !numbers.has(one));
      if (gone.length > 0) lost.push(`outbox: ${gone.length} of ${kind} of lane ${lane}, the first is ${gone[0]}`);
      for (const one of numbers) {
        if (one > begun) changed.push(`${kind} ${one} of lane ${lane} waits and was never written`);
        if (one <= taken && after === "kill")
          lost.push(`outbox: ${kind} ${one} of lane ${lane} was taken and waits again`);
      }
    }
  }
  // Of records that are not ours nothing is known but that each number is there.
  const away = sum(rows.map(({ held }) => Math.max(0, sum(held.map(({ count }) => count)) - 1))) + replaced(here);
  const missing = Number((rows.at(-1)?.seq ?? 0n) - (rows[0]?.seq ?? 1n)) + 1 - rows.length;
  if (missing > away) lost.push(`outbox: ${missing} numbers are missing, and ${away} were rolled up or replaced`);
}
/** How many revisions a newer one replaced: each stood behind the decision of its step. */
function replaced(here: ReadonlyMap<string, ReadonlySet<number>>): number {
  const of = (lane: number) => {
    const left = here.get(`incident ${lane}`);
    return [...(here.get(`state ${lane}`) ?? [])].filter((one) => !left?.has(one)).length;
  };
  return sum(range(0, lanes - 1).map(of));
}
function topOf(tops: Tops, lane: number, kind: Waiting): number {
  return tops[kind === "incident" ? "state" : kind][lane] ?? 0;
}
/** Of an incident only the last revision has to wait. */
function isLast(kind: Waiting, count: number, top: number): boolean {
  return kind !== "incident" || count === top || count % revisions === 0;
}
