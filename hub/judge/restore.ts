import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { type Budget, restoredBudget } from "../actions/budget.ts";
import { restoredOrder } from "../actions/order.ts";
import { type Group, restoredGroup } from "../escalation/mass.ts";
import { restored } from "../escalation/restored.ts";
import type { State } from "../escalation/state.ts";
import type { HubStore } from "../store/hub-store.ts";
import type { Judge } from "./judge.ts";

/**
 * Puts a fresh judge where the last hub on this store stood. Nobody is blamed for the time between: every silence counts
 * from now. Alerts that were decided and perhaps not told are told.
 */
export async function restore(judge: Judge, store: HubStore): Promise<void> {
  const known = await store.remembered();
  const now = judge.now();
  for (const row of known.nodes) {
    const kept = stateIn<State>(known.states.get(row.id));
    const policy = judge.ports.policyOf(row.id);
    judge.groups.join(judge.add(row, kept && restored(policy, kept, now)), undefined);
  }
  // As they were reported: of two under one id the first is it, and the hub's own come first.
  for (const incident of known.incidents) {
    if (!judge.carrier.incidents.has(incident.id)) judge.carrier.incidents.set(incident.id, incident);
  }
  for (const order of known.orders) judge.carrier.orders.set(order.id, restoredOrder(order, now));
  for (const [name, row] of known.fleet) {
    const group = name.startsWith("mass/") ? stateIn<Group>(row) : undefined;
    if (group) judge.groups.restore(restoredGroup(group));
  }
  judge.groups.agree();
  const budget = stateIn<Budget>(known.fleet.get("budget"));
  if (budget) {
    const holders = [...judge.entries.values()].filter(({ state }) => state.holds !== null).map(({ id }) => id);
    judge.carrier.budget = restoredBudget(budget, new Set(holders), now);
  }
  if (known.unreadable > 0) {
    judge.ports.log.error({ rows: known.unreadable }, "rows of another format were left as they are");
  }
  for (const alert of known.alerts) judge.carrier.tell(alert);
}

/** What was written as a machine's own JSON is read as that again: only this hub writes it, and each row has its version. */
function stateIn<T>(row: JsonObject | undefined): T | undefined {
  const state: JsonValue | undefined = row?.state;
  return state === undefined || state === null ? undefined : (state as T);
}
