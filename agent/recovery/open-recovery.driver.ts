/** Opens what the recovery is made of, in the order in which its parts need each other. */
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { Logger } from "pino";
import type { AgentConfig } from "../config/config.ts";
import { calmNode, type NodeState } from "../ladder/node-state.ts";
import { Untold, type UntoldAlert } from "../records/untold.ts";
import type { Around } from "../remedies/around.ts";
import { openRemedies } from "../remedies/remedies.driver.ts";
import type { AgentStore } from "../store/ports.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { remembered, type State } from "../supervise/state.ts";
import type { State as TriggerState } from "../triggers/state.ts";
import { askingAround } from "./around.driver.ts";
import { openExperience } from "./experience.driver.ts";
import { KillSwitch } from "./kill-switch.driver.ts";
import { Recovery } from "./recovery.driver.ts";
import { Voice } from "./voice.driver.ts";

/** What the recovery is made of. */
export interface RecoveryParts {
  readonly config: AgentConfig;
  /** To be supervised by. */
  readonly specs: readonly WorkloadSpec[];
  readonly dataDir: string;
  readonly outputDir: string;
  readonly store: AgentStore;
  readonly bootId: string;
  readonly sameBoot: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly guarded: readonly string[];
  /** `blueflame-agent emergency --auto …`; absent: there is no full bootstrap. */
  readonly emergency: Around["emergency"];
  readonly cgroupOf: (workload: string) => string | undefined;
  /** What else has run out for a workload: its memory limit was reached, and the like. */
  readonly exhausted: (workload: string) => readonly string[];
  /** Lines for people in the status, by what they are about; undefined takes one back. */
  readonly warn: (about: string, text: string | undefined) => void;
}

/** Opens what the supervisor needs first. Call {@link Recovery.begin} once it runs; whoever opened it closes it. */
export async function openRecovery(parts: RecoveryParts): Promise<Recovery> {
  const { store, config, specs, clock, random } = parts;
  // Its callbacks speak of the recovery that is being made: none is called before it is there.
  let recovery: Recovery | undefined;
  const experience = await openExperience({
    specs,
    slo: config.slo,
    frozen: config.learningFrozen,
    store,
    clock,
    bootId: parts.bootId,
    everyMs: config.sensors.everyMs,
    random,
    tell: (event) => recovery?.triggerDesk.tell(event),
    suggested: (workload, text) => recovery?.suggested(workload, text),
  });
  const killSwitch = new KillSwitch(parts.dataDir);
  const untold = new Untold(((await store.memory("alerts")) as UntoldAlert[] | undefined) ?? []);
  const voice = new Voice({ ...parts, pager: config.pager, untold });
  voice.catchUp();
  const remedies = await openRemedies({
    ...askingAround(() => recovery, experience, specs),
    clock,
    random,
    dataDir: parts.dataDir,
    outputDir: parts.outputDir,
    bootId: parts.bootId,
    specs,
    playbooks: config.playbooks,
    disposable: config.disposable,
    pools: config.pools,
    guarded: parts.guarded,
    ...(parts.emergency && { emergency: parts.emergency }),
    store,
    killSwitch: () => killSwitch.isOn(),
    checkStore: () => checkStore(store),
    exhausted: parts.exhausted,
    audit: (fact) => voice.audited(fact),
    alert: (fact) => voice.alert(fact),
    log: (level, fields, message) => voice.log(level, fields, message),
  });
  const triggers = (await store.memory("triggers")) as TriggerState | undefined;
  const node = (await store.memory("node")) as NodeState | undefined;
  const open = [
    ...(await store.workloads()).map(({ state }) => remembered(state as State).incident),
    ...Object.values(node?.cases ?? {}).map(({ incident }) => incident),
  ].filter((incident) => incident !== undefined);
  for (const facts of open) experience.resume(facts);
  recovery = new Recovery(parts, {
    voice,
    experience,
    remedies,
    killSwitch,
    triggers,
    node: node ?? calmNode,
    open,
  });
  return recovery;
}

/** Reads back what the store holds of its newest history, each record unsealed; and says what it says of its own writes. */
async function checkStore(store: AgentStore): Promise<{ ok: boolean; because: string }> {
  try {
    const [incidents, audit] = await Promise.all([store.incidents(historyRead, false), store.audit(historyRead)]);
    const trouble = store.trouble();
    const read = `${incidents.length} incidents and ${audit.length} audit records were read back`;
    return trouble ? { ok: false, because: trouble } : { ok: true, because: read };
  } catch (error) {
    return { ok: false, because: error instanceof Error ? error.message : String(error) };
  }
}
/** Records of each kind that a check reads. */
const historyRead = 200;
