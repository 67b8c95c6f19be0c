/** Which of the living processes is the workload that an earlier agent process has started. Pure. */
import { type Instance, instanceOf, type State } from "./state.ts";

/** A living main process of ours; `id` is empty where it has overwritten its marker and nobody has written it down. */
export interface Found {
  readonly id: string;
  readonly pid: number;
  readonly startTicks: number;
}

/** One of them, and whose it is. */
export interface FoundOf extends Found {
  readonly workload: string;
}

/**
 * What was seen by its marker or cgroup, and those that are known by their number alone, for they have overwritten the one and were
 * never in the other: each once.
 */
export function together(seen: readonly FoundOf[], known: readonly FoundOf[]): FoundOf[] {
  const isKnown = (one: FoundOf) =>
    known.some(
      ({ workload, pid, startTicks }) => workload === one.workload && pid === one.pid && startTicks === one.startTicks,
    );
  return [...seen.filter((one) => !isKnown(one)), ...known];
}

/** What the world says at the agent's start. */
export interface World {
  readonly bootId: string;
  readonly now: { readonly ms: number; readonly wallMs: number };
  readonly lives: (instance: Instance) => boolean;
}

/** The instance to go on with; undefined when there is none, and the clean-up before the next start ends what is left. */
export function adoptable({ phase, bootId }: State, found: readonly Found[], world: World): Instance | undefined {
  const known = instanceOf(phase);
  // Not by its marker: what it started in sessions of their own carries the same one, and may live when it does not.
  if (known && bootId === world.bootId && world.lives(known)) return known;
  switch (phase.at) {
    case "cleaning":
      return undefined; // what the clean-up was about may live, and is what has to go
    case "spawning": {
      // One that lost its marker is the one we look for: no second one is started before the first is cleaned away.
      const one = firstOf(found.filter(({ id }) => id === phase.id)) ?? found.find(({ id }) => id === "");
      return one && asInstance({ ...one, id: phase.id }, world);
    }
    default:
      return startedLater(found, known?.id ?? "", world);
  }
}

/**
 * Our memory is older than the world, or there is none (a full or read-only disk): what carries our marker, and was started
 * after what we know of, is ours, and a second one would be a double.
 */
function startedLater(found: readonly Found[], after: string, world: World): Instance | undefined {
  // Ids are in the order of their making. The newest instance, and of that its main process.
  const newest = found.reduce((latest, { id }) => (id > latest ? id : latest), after);
  if (newest === after && after !== "") return undefined;
  const first = firstOf(found.filter(({ id }) => id === newest));
  return first && asInstance(first, world);
}

function asInstance({ id, pid, startTicks }: Found, { now }: World): Instance {
  return { id, pid, startTicks, sinceMs: now.ms, sinceWallMs: now.wallMs, adopted: true };
}

/** The process that was there first: what it started is younger. */
function firstOf(processes: readonly Found[]): Found | undefined {
  return processes.reduce<Found | undefined>((a, b) => (a && a.startTicks <= b.startTicks ? a : b), undefined);
}
