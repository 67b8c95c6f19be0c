/**
 * When people hear that a node is DEAD. Processes and beats have incidents of their own; a source, a port or a rule has none, and
 * nothing may be there that could be healed for it.
 */
import { type MetaHealth, statusOf } from "../meta/meta-health.ts";
import type { Voice } from "./voice.driver.ts";

/** DEAD for so long is no start and no single restart. */
const afterMs = 60_000;
/** After so long without it, it is told anew: a value that comes and goes pages once. */
const overMs = 600_000;

/** What was said of it. */
export interface DeadWord {
  /** Since when it is so; absent: it is not. */
  readonly sinceMs?: number;
  /** When it was so last. */
  readonly lastMs?: number;
  readonly told: boolean;
}

export const unsaid: DeadWord = { told: false };

/** Pure. After one more computation at `nowMs`, monotonic. `standing`: what is so, for people who look; `tell`: it is to be told now. */
export function deadWord(
  before: DeadWord,
  { status, rmMeta, m3DataFreshness, m4ControlPlane, m5Coherence, because }: MetaHealth,
  nowMs: number,
): { readonly word: DeadWord; readonly standing?: string; readonly tell: boolean } {
  const isSo = status === "DEAD" && statusOf(m3DataFreshness * m4ControlPlane * m5Coherence) === "DEAD";
  const { sinceMs = nowMs, lastMs = Number.NEGATIVE_INFINITY, told } = before;
  if (!isSo) {
    const { sinceMs: _over, ...rest } = before;
    return { word: { ...rest, told: told && nowMs < lastMs + overMs }, tell: false };
  }
  if (nowMs < sinceMs + afterMs) return { word: { sinceMs, lastMs: nowMs, told }, tell: false };
  const standing = `the node is DEAD (${rmMeta.toFixed(2)}): ${because.slice(0, 3).join("; ")}`;
  return { word: { sinceMs, lastMs: nowMs, told: true }, standing, tell: !told };
}

/** Tells it: in the node's warnings while it is so, and once in an outage as a page. To be called after each computation. */
export function deadTeller(
  voice: Pick<Voice, "audit" | "alert">,
  warn: (key: string, because: string | undefined) => void,
): (meta: MetaHealth, nowMs: number) => void {
  let said = unsaid;
  return (meta, nowMs) => {
    const { word, standing, tell } = deadWord(said, meta, nowMs);
    said = word;
    warn("meta", standing);
    if (!tell || standing === undefined) return;
    voice.audit({ action: "meta.dead", target: "node", because: standing, outcome: "success" });
    voice.alert({ severity: "critical", workload: "", incidentId: "", what: "meta-health", message: standing });
  };
}
