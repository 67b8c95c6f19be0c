import { nearest } from "@blueflame/shared/config/problems.ts";
import type { Workload } from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import type { AgentDraft } from "./values.ts";

/** Finds dependencies on what is not there, and circles; each circle is named once, where it closes. */
export function checkOrder(draft: AgentDraft, workloads: readonly Workload[]): void {
  const names = workloads.map(({ name }) => name);
  const indexOf = new Map(names.map((name, index) => [name, index]));
  for (const [index, workload] of workloads.entries()) {
    for (const [position, wanted] of workload.dependsOn.entries()) {
      if (indexOf.has(wanted)) continue;
      const others = names.filter((name) => name !== workload.name);
      const allowed = `allowed are other workloads of this file${others.length > 0 ? `: ${listed(others)}` : ""}`;
      draft.add(pathOf(index, position), `there is no workload "${wanted}"`, allowed, nearest(wanted, others));
    }
  }
  // A walk with an explicit trail, since 500 workloads may hang on one chain.
  const done = new Set<number>();
  for (const start of workloads.keys()) {
    const trail: { index: number; next: number }[] = done.has(start) ? [] : [{ index: start, next: 0 }];
    for (let top = trail.at(-1); top; top = trail.at(-1)) {
      const position = top.next++;
      const wanted = workloads[top.index]?.dependsOn[position];
      if (wanted === undefined) {
        done.add(top.index);
        trail.pop();
        continue;
      }
      const index = indexOf.get(wanted);
      if (index === undefined || done.has(index)) continue;
      const from = trail.findIndex((step) => step.index === index);
      if (from < 0) {
        trail.push({ index, next: 0 });
        continue;
      }
      const circle = [...trail.slice(from).map((step) => names[step.index]), wanted].join(" → ");
      draft.add(pathOf(top.index, position), `a circle: ${circle}`, "allowed are dependencies without circles");
    }
  }
}

function pathOf(index: number, position: number): string {
  return `workloads[${index}].depends_on[${position}]`;
}

function listed(names: readonly string[]): string {
  return names.length > 10 ? `${names.slice(0, 10).join(", ")} and ${names.length - 10} more` : names.join(", ");
}
