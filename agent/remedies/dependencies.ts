import type { Stand } from "./around.ts";

/** The graph: workload → what it depends on directly. */
export type Graph = ReadonlyMap<string, readonly string[]>;

/** One step towards what a workload depends on being well. */
export interface DependencyStep {
  readonly name: string;
  /** heal: it is down and nobody is at work on it. wait: it recovers by itself. again: it looks well, and is started anew. */
  readonly do: "heal" | "wait" | "again";
}

/** How dependencies are brought back. */
export type DependencyPlan =
  | { readonly is: "plan"; readonly steps: readonly DependencyStep[]; readonly root?: string }
  | { readonly is: "none"; readonly because: string };

/** Everything that `name` depends on, directly or not, what others need first. Names that are not in the graph, and circles, end the walk. */
export function needsOf(name: string, graph: Graph): string[] {
  const found: string[] = [];
  const seen = new Set([name]);
  const walk = (at: string): void => {
    for (const need of graph.get(at) ?? []) {
      if (seen.has(need) || !graph.has(need)) continue;
      seen.add(need);
      walk(need);
      found.push(need);
    }
  };
  walk(name);
  return found;
}

/** Everything that depends on `name`, directly or not, in the order of the graph. */
export function dependentsOf(name: string, graph: Graph): string[] {
  return [...graph.keys()].filter((other) => needsOf(other, graph).includes(name));
}

/** How one that others depend on stands for them: what has done its work is as good as well, and nothing is done about it. */
export function standsFor({ is, done }: Stand): Stand["is"] | "done" {
  return done ? "done" : is;
}

/**
 * What is done about the dependencies of `name`, in order. A failure within the graph belongs to its root: as long as one of
 * them is not well, only those are touched, deepest first, and what recovers by itself is only waited for. When all look well,
 * the direct ones are started anew, for they may answer and still be wrong. `again` false: what looks well is left alone. What is
 * `spent` was started as often lately as it may be (DOL-6), whoever asked: only its own machine starts it.
 */
export function planDependencies(
  name: string,
  graph: Graph,
  stand: (name: string) => Stand["is"] | "done",
  again: boolean,
  spent: (name: string) => boolean,
): DependencyPlan {
  const needs = needsOf(name, graph).filter((need) => stand(need) !== "done");
  if (needs.length === 0) return { is: "none", because: "it depends on nothing" };
  const stopped = needs.find((need) => stand(need) === "stopped");
  if (stopped) return { is: "none", because: `${stopped}, on which it depends, was stopped by a person` };
  const unwell = needs.filter((need) => stand(need) !== "well");
  const [root] = unwell;
  if (root !== undefined) {
    const steps = unwell.map(
      (need) => ({ name: need, do: stand(need) === "down" && !spent(need) ? "heal" : "wait" }) as const,
    );
    return { is: "plan", steps, root };
  }
  if (!again) return { is: "none", because: "all it depends on are well" };
  const direct = new Set(graph.get(name) ?? []);
  const left = needs.filter((need) => direct.has(need) && !spent(need));
  if (left.length === 0) return { is: "none", because: "what it depends on was started as often lately as it may be" };
  return { is: "plan", steps: left.map((need) => ({ name: need, do: "again" })) };
}
