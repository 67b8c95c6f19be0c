/** Words of a story as the agent's own values. */
import { ladderDefaults } from "@blueflame/agent/ladder/policy.ts";
import type { ProbeSpec, WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import { specOf } from "../support/spec.ts";

const probe: ProbeSpec = {
  name: "ping",
  use: "liveness",
  everyMs: 1000,
  timeoutMs: 1000,
  failures: 2,
  ask: { by: "tcp", host: "127.0.0.1", port: 1 },
};

/** The workload of a story's line: the defaults of the product, but what the line says. */
export function specFrom(name: string, words: readonly string[], settings: ReadonlyMap<string, string>): WorkloadSpec {
  const [max = 3, within = 60] = settings.get("starts")?.split("/").map(Number) ?? [];
  const beat = settings.get("beat");
  const restart = settings.get("restart");
  const budgets = (settings.get("budget")?.split(",") ?? []).map((one) => {
    const [rung = "", seconds = ""] = one.split(":");
    return [rung, Number(seconds) * 1000] as const;
  });
  return specOf({
    name,
    dependsOn: settings.get("depends")?.split(",") ?? [],
    ...(beat && { beat: { timeoutMs: Number(beat) * 1000 } }),
    probes: words.includes("probe") ? [probe] : [],
    ...(words.includes("safe") && { safeMode: { env: {} } }),
    sandboxExitCodes: settings.has("sandbox") ? [Number(settings.get("sandbox"))] : [],
    starts: { max, withinMs: within * 1000 },
    startGraceMs: Number(settings.get("grace") ?? 10) * 1000,
    probationMs: Number(settings.get("probation") ?? 300) * 1000,
    restart: restart === "never" || restart === "onFailure" ? restart : "always",
    critical: words.includes("critical"),
    backoff: { baseMs: 500, capMs: 30_000, resetAfterMs: 10_000, delayMs: Number(settings.get("delay") ?? 0) * 1000 },
    ladder: { ...ladderDefaults, budgetMs: { ...ladderDefaults.budgetMs, ...Object.fromEntries(budgets) } },
  });
}

/** How far apart its beats are in milliseconds, when the line says so. */
export function beatEveryFrom(settings: ReadonlyMap<string, string>): number | undefined {
  const seconds = settings.get("beats");
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}
