import type { DecisionRecord } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { askBudget } from "../actions/budget.ts";
import { orderStep } from "../actions/order.ts";
import { step } from "../escalation/machine.ts";
import { massStep } from "../escalation/mass.ts";

/** Each machine with the input of a decision record, as the hub called it. */
const machines: Readonly<Record<string, (input: Input) => unknown>> = {
  "hub/escalation": ({ policy, state, event, now }) => outcome(step(policy, state, event, now)),
  "hub/mass": ({ policy, state, event, now }) => outcome(massStep(policy, state, event, now)),
  "hub/budget": ({ policy, state, event, now }) => askBudget(policy, state, event, now),
  "hub/order": ({ state, event, now }) => outcome(orderStep(state, event, now)),
};

// The record was written from these types; a record of another version that no longer fits gives another result, and that
// is what a replay is there to show.
type Input = { readonly policy: never; readonly state: never; readonly event: never; readonly now: never };

/** What a decision is, of what its machine returned. */
export function outcome(result: { readonly state: unknown; readonly effects: readonly unknown[] }) {
  return { state: result.state, effects: result.effects };
}

/** Computes a decision of the hub again. `same` is false when today's machine decides otherwise or is not known, or its input was too large to store. */
export function replay(record: DecisionRecord): { readonly same: boolean; readonly output: string } {
  const machine = machines[record.machine];
  if (!machine) return { same: false, output: `there is no machine '${record.machine}' here` };
  if (record.inputJson === "") return { same: false, output: "its input was too large to be stored" };
  const output = JSON.stringify(machine(JSON.parse(record.inputJson)));
  return { same: output === record.outputJson, output };
}
