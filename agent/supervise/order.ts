import type { WorkloadSpec } from "./spec.ts";

/** Dependencies before their dependents; the config loader has refused cycles. */
export function dependencyOrder(specs: readonly WorkloadSpec[]): string[] {
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const order = new Set<string>();
  const visit = (spec: WorkloadSpec) => {
    if (order.has(spec.name)) return;
    for (const need of spec.dependsOn) {
      const needed = byName.get(need);
      if (needed) visit(needed);
    }
    order.add(spec.name);
  };
  for (const spec of specs) visit(spec);
  return [...order];
}
