/**
 * Where tables of a store are gone, the row of a risk state may be older than the trades that were booked on it. Trades are what
 * happened: they are booked once more, in their order, so that their losses count, and no index is given twice.
 */
import type { Handle } from "@blueflame/shared/store/level/opening.ts";
import { stateMax } from "../state/bounds.ts";
import { beginSession, book, freshRisk, type Risk } from "../state/risk.ts";
import type { Booked, KeptRisk } from "../state/space.ts";
import type { Form } from "./form.ts";
import { risksIn } from "./going-back.ts";
import { rowsIn } from "./readable.ts";
import { readTrade, tradeRow } from "./workload-keys.ts";

interface Again {
  readonly kept: KeptRisk;
  readonly booked: number;
  readonly missing: number;
}

/** Brings each risk state up to the last trade that is there, and drops the oldest beyond the bound. Returns in words what was done. */
export async function bookAgain(handle: Handle, form: Form): Promise<string[]> {
  const risks = await risksIn(handle, form);
  const found = new Map<string, Again>();
  for await (const { key, value } of rowsIn(handle, form, "trade/")) {
    const [, workload = ""] = key.split("/");
    const trade = readTrade(value);
    const kept = risks.get(workload) ?? { risk: freshRisk, changed: 0, mark: "" };
    found.set(workload, withTrade(found.get(workload) ?? { kept, booked: 0, missing: 0 }, trade));
  }
  const lines: string[] = [];
  for (const [workload, { kept, booked, missing }] of found) {
    const beyond = kept.risk.trades - stateMax.trades;
    if (beyond > 0) await handle.clear({ gte: tradeRow(workload, 0), lt: tradeRow(workload, beyond + 1) });
    if (booked === 0) continue;
    const write = form.put(`risk/${workload}`, Buffer.from(JSON.stringify(kept)));
    if (write.type === "put") await handle.put(write.key, write.value, { sync: true });
    const gap = missing > 0 ? `; ${missing} before the last are missing` : "";
    lines.push(`${booked} trades of '${workload}' were booked on an older risk state${gap}`);
  }
  return lines;
}

function withTrade(before: Again, trade: Booked): Again {
  const { risk } = before.kept;
  if (trade.index <= risk.trades) return before;
  const kept = { ...before.kept, risk: riskAfter(risk, trade) };
  return { ...before, kept, booked: before.booked + 1, missing: before.missing + trade.index - risk.trades - 1 };
}

function riskAfter(risk: Risk, { index, session, atWallMs, trade }: Booked): Risk {
  const before = { ...risk, trades: index - 1 };
  const running = session > risk.session.name ? beginSession(before, session, atWallMs) : before;
  try {
    const after = book(running, trade, atWallMs);
    // One of a session that is over counts for the streak, not for the session that runs.
    return session < running.session.name ? { ...after, session: running.session } : after;
  } catch {
    // A session that is full: its index counts all the same.
    return { ...running, trades: index };
  }
}
