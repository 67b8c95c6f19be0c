import type { State } from "@blueflame/shared/store/state.ts";
import type { Commits } from "./commits.ts";
import { upKey } from "./keys.ts";
import { rowBytes, rowOf } from "./rows.ts";

/** A shorter one than this makes no node look gone. */
const outageMs = 3_600_000;
/** So many are remembered; an older one counts as silence again. */
const outagesMax = 100;

interface Outage {
  readonly fromMs: number;
  readonly toMs: number;
}

/** While a hub is away it hears nobody: when it was, so that this is not taken for the nodes' silence. */
export interface UpTime {
  /** The hub is here; durable on return. What is between two of these, over a start, was an outage. */
  note(): Promise<void>;
  /** A time at which something was heard, moved by how long the hub has been away since: what counts is what it could have heard. */
  since(heardMs: number): number;
}

/** Finds out how long the hub has been away before this start. */
export async function openUpTime(state: State, commits: Pick<Commits, "write">, wallMs: () => number): Promise<UpTime> {
  const entry = await state.get(upKey);
  const row = (entry && rowOf(entry.value)) as { readonly atMs: number; readonly outages: Outage[] } | undefined;
  const openedMs = Math.floor(wallMs());
  const last = row && openedMs - row.atMs >= outageMs ? [{ fromMs: row.atMs, toMs: openedMs }] : [];
  const outages = [...(row?.outages ?? []), ...last].slice(-outagesMax);
  return {
    note: () =>
      commits.write([
        { put: upKey, value: rowBytes({ atMs: Math.floor(wallMs()), outages: outages.map((one) => ({ ...one })) }) },
      ]),
    since(heardMs) {
      const away = outages.map(({ fromMs, toMs }) => Math.max(0, toMs - Math.max(fromMs, heardMs)));
      return heardMs + away.reduce((sum, ms) => sum + ms, 0);
    },
  };
}
