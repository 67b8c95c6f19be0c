/**
 * Where tables of a store are gone, the row of a risk state may be older than the trades that were booked on it. Trades are what
 * happened: they are booked once more, in their order, so that their losses count, and no index is given twice.
 */
import type { Handle } from "@blueflame/shared/store/level/opening.ts";
import { beginSession, book, freshRisk, type Risk } from "../state/risk.ts";
import type { Booked, KeptRisk } from "../state/space.ts";
import { textOf } from "./codec.ts";
import type { Form } from "./form.ts";
import { unreadable } from "./readable.ts";
import { readTrade } from "./workload-keys.ts";

/** Brings each risk state up to the last trade that is there. Returns what was booked again and what is missing, in words. */
export async function bookAgain(handle: Handle, form: Form): Promise<string[]> {
  const behind = new Map<string, { kept: KeptRisk; again: number; missing: number }>();
  for await (const [place, sealed] of handle.iterator({ gte: "trade/", lt: "trade0" })) {
    if (unreadable(form, place, sealed) !== undefined) continue;
    const [, workload = ""] = place.split("/");
    const known = behind.get(workload) ?? { kept: await keptRisk(handle, form, workload), again: 0, missing: 0 };
    behind.set(workload, known);
    const booked = readTrade(form.open(place, sealed).value);
    const { risk } = known.kept;
    if (booked.index <= risk.trades) continue;
    const missing = known.missing + booked.index - risk.trades - 1;
    behind.set(workload, { kept: { ...known.kept, risk: after(risk, booked) }, again: known.again + 1, missing });
  }
  const lines: string[] = [];
  for (const [workload, { kept, again, missing }] of behind) {
    if (again === 0) continue;
    const write = form.put(`risk/${workload}`, Buffer.from(JSON.stringify(kept)));
    if (write.type === "put") await handle.put(write.key, write.value, { sync: true });
    const gap = missing > 0 ? `; ${missing} before the last are missing` : "";
    lines.push(`${again} trades of '${workload}' were booked on an older risk state${gap}`);
  }
  return lines;
}

async function keptRisk(handle: Handle, form: Form, workload: string): Promise<KeptRisk> {
  const place = `risk/${workload}`;
  const sealed = await handle.get(place);
  if (!sealed || unreadable(form, place, sealed) !== undefined) return { risk: freshRisk, changed: 0, mark: "" };
  return JSON.parse(textOf(form.open(place, sealed).value)) as KeptRisk;
}

function after(risk: Risk, { index, session, atWallMs, trade }: Booked): Risk {
  const before = { ...risk, trades: index - 1 };
  const running = session > risk.session.name ? beginSession(before, session, atWallMs) : before;
  try {
    return book(running, trade, atWallMs);
  } catch {
    // A session that is full: its index counts all the same.
    return { ...running, trades: index };
  }
}
