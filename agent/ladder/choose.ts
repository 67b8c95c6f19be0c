/**
 * Which remedy next? The ladder's own order is cheapest first; strong evidence goes before it, what was learned may change the
 * order of what is equally harmless, and what cannot work here is passed over with its reason.
 */
import { type Diagnosis, strong } from "../diagnosis/diagnose.ts";
import type { Facts } from "../diagnosis/facts.ts";
import { type Rung, rungs } from "./rungs.ts";

/** What the choice depends on. */
export interface Question {
  readonly diagnosis: Diagnosis;
  readonly facts: Facts;
  /** Rungs that were tried in this incident and failed, or were relapsed from. */
  readonly tried: readonly Rung[];
  /** Its start budget holds: another quick restart is allowed. */
  readonly quickLeft: boolean;
  /** It failed on probation, or after a rung beyond the first: beginning anew with the first would loop for ever. */
  readonly relapse: boolean;
  /** Rungs that were verified in this incident, and relapsed from by the same failure. */
  readonly relapsed: readonly Rung[];
  /** What was tried has had its time, or the installation is damaged: the end of the ladder may come. */
  readonly timeGiven: boolean;
  readonly hasSafeMode: boolean;
  readonly inSafeMode: boolean;
  /** What the trigger's playbook asks for; taken first where it is available. */
  readonly prefer?: Rung;
}

/**
 * The answer. A quick restart that comes although its budget is used up waits as long as a slow retry. `slow_retry` is the end of the
 * ladder: start again slowly for ever, and a person is told.
 */
export interface Choice {
  readonly rung: Rung | "slow_retry";
  readonly because: string;
  /** One sentence for each rung that was passed over. */
  readonly rejected: readonly string[];
  /** At the end of the ladder: the workload that is being healed, and whose own incident calls a person where one is needed. */
  readonly root?: string;
}

/** Chooses. Total: it always answers. */
export function choose(question: Question): Choice {
  const rejected: string[] = [];
  const considered = new Set<Rung>();
  for (const { rung, because } of candidates(question)) {
    if (considered.has(rung)) continue;
    considered.add(rung);
    const against = reasonAgainst(rung, question);
    if (against === undefined) return { rung, because, rejected };
    rejected.push(`${rung}: ${against}`);
  }
  return atTheEnd(question, rejected);
}

/** Nothing is left that can help, yet or at all. */
function atTheEnd({ diagnosis, facts, prefer, timeGiven }: Question, rejected: readonly string[]): Choice {
  const slowly = (because: string): Choice => ({ rung: "slow_retry", because, rejected });
  const { root, cause } = diagnosis;
  if (root !== undefined) {
    const stopped = facts.dependencies.find(({ stands }) => stands === "stopped");
    if (stopped) return slowly(`${stopped.name}, on which it depends, was stopped by a person, and that is not undone`);
    return { ...slowly(`it waits for ${root}, where the failure began`), root };
  }
  if (!timeGiven) {
    const because = "nothing else can help, and what causes it is given time to pass";
    return { rung: "quick_restart", because, rejected };
  }
  if (cause === "exhaustion" && facts.exhausted.length > 0) return slowly(`it stays so: ${facts.exhausted.join("; ")}`);
  const wanted = prefer ?? diagnosis.rung;
  const because = facts.bootstrapAllowed
    ? `every rung was tried or cannot help here; the diagnosis asked for ${wanted}`
    : `every rung was tried or cannot help here, and the full bootstrap has run lately`;
  return slowly(because);
}

interface Candidate {
  readonly rung: Rung;
  readonly because: string;
}

function candidates({ diagnosis, facts, prefer, relapse, relapsed }: Question): Candidate[] {
  const [evidence = ""] = diagnosis.evidence;
  const list: Candidate[] = [];
  if (prefer) list.push({ rung: prefer, because: "the trigger's playbook asks for it" });
  if (diagnosis.confidence >= strong && !relapsed.includes(diagnosis.rung))
    list.push({
      rung: diagnosis.rung,
      because: `${diagnosis.cause} (${diagnosis.confidence.toFixed(2)}): ${evidence}`,
    });
  const order = facts.advice?.order ?? rungs;
  const learned = facts.advice ? `learned: ${facts.advice.because}` : undefined;
  const harmless = order.filter((rung) => rung !== "full_bootstrap" && !(relapse && rung === "quick_restart"));
  for (const rung of harmless) {
    const because =
      learned ??
      (rung === diagnosis.rung ? `${diagnosis.cause}: ${evidence}` : "the next rung of the ladder that can help here");
    list.push({ rung, because });
  }
  if (relapse)
    list.push({
      rung: "quick_restart",
      because: relapsed.includes("quick_restart")
        ? "it was relapsed from, but no other rung can help here while its start budget holds"
        : "no other rung can help here while its start budget holds",
    });
  list.push({ rung: "full_bootstrap", because: "every other rung was tried or cannot help here" });
  return list;
}

/** Why this rung cannot help; undefined when it may. */
function reasonAgainst(rung: Rung, question: Question): string | undefined {
  const { facts, diagnosis, tried, quickLeft } = question;
  if (rung !== "quick_restart" && tried.includes(rung)) return "it was tried in this incident";
  switch (rung) {
    case "quick_restart":
      if (diagnosis.root) return `the failure began in ${diagnosis.root}`;
      return quickLeft ? undefined : "its start budget is used up";
    case "safe_mode":
      if (!question.hasSafeMode) return "no reduced config is declared";
      return question.inSafeMode ? "it runs in safe mode already" : undefined;
    case "config_rollback":
      return againstRollback(question);
    case "dependency_restart":
      return againstDependencies(question);
    case "backup_restore":
      if (!facts.hints.includes("corruption"))
        return "nothing says that its data is corrupt, and a restore loses what came after the backup";
      if (facts.diskFull) return "its disk is full, and a restore needs room";
      return facts.backup ? undefined : "there is no verified backup";
    case "full_bootstrap":
      if (diagnosis.cause === "dependency_down" && diagnosis.root) return `the failure began in ${diagnosis.root}`;
      if (diagnosis.cause === "exhaustion" && facts.exhausted.length > 0)
        return "it gives nothing back of what has run out";
      if (!question.timeGiven) return "what was tried before it has not had its time";
      return facts.bootstrapAllowed ? undefined : "it has run on this node lately";
  }
}

/** What is taken back is marked bad and not taken again: a version that was well itself needs more against it than its turn. */
function againstRollback({ facts, diagnosis, prefer, quickLeft }: Question): string | undefined {
  const { config, advice, hints, exhausted } = facts;
  if (config.healthyVersion === undefined) return "there is no other config that was healthy";
  const asked =
    prefer === "config_rollback" || diagnosis.cause === "config_change" || advice?.order[0] === "config_rollback";
  if (!config.wasHealthy || asked) return undefined;
  const well = "the version in use was well itself and has not changed lately";
  if (hints.includes("corruption") || exhausted.length > 0) return `${well}, and something else is known to be wrong`;
  return quickLeft ? `${well}: first the cheaper rungs` : undefined;
}

function againstDependencies({ facts, diagnosis, quickLeft, relapsed }: Question): string | undefined {
  if (facts.dependencies.length === 0) return "it depends on nothing";
  const stopped = facts.dependencies.find(({ stands }) => stands === "stopped");
  if (stopped) return `${stopped.name} was stopped by a person, and that is not undone`;
  // Restarting what is well hurts others: first the evidence, or the cheaper rungs. One that was relapsed from is no help any more.
  if (diagnosis.cause !== "dependency_down" && quickLeft && !relapsed.includes("quick_restart"))
    return "all it depends on are well";
  return undefined;
}
