/** What the remedies need of the running agent, made from its parts. */
import { signatureOf } from "../learning/signature.ts";
import type { Around, Stand } from "../remedies/around.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { isUp, standsOf } from "../supervise/stands.ts";
import { instanceOf, type State } from "../supervise/state.ts";
import type { Supervisor } from "../supervise/supervisor.driver.ts";
import type { Figures } from "../triggers/observation.ts";
import type { Experience } from "./experience.driver.ts";
import { failureOf } from "./lessons.ts";

/** What is there only once the recovery runs. */
export interface Running {
  readonly supervisor: Supervisor | undefined;
  figures(workload: string): Figures;
  staleFor(workload: string): string[];
}

/** The part of {@link Around} that asks the running agent; `running` gives undefined before it runs. */
export function askingAround(
  running: () => Running | undefined,
  experience: Experience,
  specs: readonly WorkloadSpec[],
): Pick<Around, "stand" | "restart" | "untilWell" | "figures" | "signature" | "externalStale" | "advice" | "demoted"> {
  const stateOf = (workload: string) => running()?.supervisor?.state(workload);
  return {
    stand: (workload) => standOf(stateOf(workload)),
    async restart(workload, mode, because) {
      const supervisor = running()?.supervisor;
      if (!supervisor) return { ok: false, because: "the agent is still starting" };
      const before = supervisor.state(workload);
      if (before.held) return { ok: false, because: "the kill switch is on" };
      if (before.intent === "stopped") return { ok: false, because: "a person stopped it" };
      const spec = specs.find(({ name }) => name === workload);
      if (mode === "safe" && !spec?.safeMode) return { ok: false, because: "no reduced config is declared" };
      try {
        await supervisor.tell(workload, {
          is: "restart",
          who: `playbook:${because}`.slice(0, 100),
          ...(mode === "safe" && { safe: true }),
        });
      } catch (error) {
        return { ok: false, because: error instanceof Error ? error.message : String(error) };
      }
      return { ok: true, because: "asked to restart" };
    },
    untilWell(workload, limitMs, signal) {
      const supervisor = running()?.supervisor;
      if (!supervisor || signal.aborted) return Promise.resolve(false);
      const aborted = Promise.withResolvers<boolean>();
      const stop = () => aborted.resolve(false);
      signal.addEventListener("abort", stop, { once: true });
      const well = supervisor.until(workload, isUp, limitMs);
      return Promise.race([well, aborted.promise]).finally(() => signal.removeEventListener("abort", stop));
    },
    figures: (workload) => running()?.figures(workload) ?? {},
    signature(workload, lines) {
      const { incident, phase } = stateOf(workload) ?? {};
      const text = signatureOf({ ...failureOf(incident), lines }).text;
      // Others look as well, and later: what the next process prints says nothing of the one that failed.
      if (incident && phase?.at === "deciding") experience.sign(incident.id, text);
      return text;
    },
    externalStale: (workload) => running()?.staleFor(workload) ?? [],
    advice: (workload, signature) => experience.advice(workload, signature),
    demoted: (workload) => experience.demoted(workload),
  };
}

function standOf(state: State | undefined): Stand {
  if (!state) return { is: "down" };
  const is = state.phase.at === "completed" ? "stopped" : isUp(state) ? "well" : standsOf(state);
  const instance = instanceOf(state.phase);
  const awaitsRemedy = state.phase.at === "mending";
  return {
    is,
    ...(state.phase.at === "completed" && state.intent === "run" && { done: true as const }),
    ...(instance && { instance: { id: instance.id, pid: instance.pid, startTicks: instance.startTicks } }),
    ...(state.recentMs.length > 0 && { recentMs: state.recentMs }),
    ...(awaitsRemedy && { awaitsRemedy }),
  };
}
