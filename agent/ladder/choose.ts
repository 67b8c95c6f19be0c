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
  readonly hasSafeMode: boolean;
  readonly inSafeMode: boolean;
  /** What the trigger's playbook asks for; taken first where it is available. */
  readonly prefer?: Rung;
}

/** The answer; `slow_retry` is the end of the ladder: start again slowly for ever, and a person is told. */
export interface Choice {
  readonly rung: Rung | "slow_retry";
  readonly because: string;
  /** One sentence for each rung that was passed over. */
  readonly rejected: readonly string[];
}

/** Chooses. Total: it always answers. */
export function choose(question: Question): Choice {
  const { diagnosis, facts, prefer } = question;
  const rejected: string[] = [];
  const considered = new Set<Rung>();
  for (const { rung, because } of candidates(question)) {
    if (considered.has(rung)) continue;
    considered.add(rung);
    const against = reasonAgainst(rung, question);
    if (against === undefined) return { rung, because, rejected };
    rejected.push(`${rung}: ${against}`);
  }
  const wanted = prefer ?? diagnosis.rung;
  const because = facts.bootstrapAllowed
    ? `every rung was tried or cannot help here; the diagnosis asked for ${wanted}`
    : `every rung was tried or cannot help here, and the full bootstrap has run lately`;
  return { rung: "slow_retry", because, rejected };
}

interface Candidate {
  readonly rung: Rung;
  readonly because: string;
}

function candidates({ diagnosis, facts, prefer, relapse }: Question): Candidate[] {
  const [evidence = ""] = diagnosis.evidence;
  const list: Candidate[] = [];
  if (prefer) list.push({ rung: prefer, because: "the trigger's playbook asks for it" });
  if (diagnosis.confidence >= strong)
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
      because: "no other rung can help here while its start budget holds",
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
      return quickLeft ? undefined : "its start budget is used up";
    case "safe_mode":
      if (!question.hasSafeMode) return "no reduced config is declared";
      return question.inSafeMode ? "it runs in safe mode already" : undefined;
    case "config_rollback":
      return facts.config.healthyVersion === undefined ? "there is no other config that was healthy" : undefined;
    case "dependency_restart":
      return againstDependencies(question);
    case "backup_restore":
      if (!facts.hints.includes("corruption"))
        return "nothing says that its data is corrupt, and a restore loses what came after the backup";
      return facts.backup ? undefined : "there is no verified backup";
    case "full_bootstrap":
      if (diagnosis.cause === "dependency_down" && diagnosis.root) return `the failure began in ${diagnosis.root}`;
      return facts.bootstrapAllowed ? undefined : "it has run on this node lately";
  }
}

function againstDependencies({ facts, diagnosis, quickLeft }: Question): string | undefined {
  if (facts.dependencies.length === 0) return "it depends on nothing";
  const stopped = facts.dependencies.find(({ stands }) => stands === "stopped");
  if (stopped) return `${stopped.name} was stopped by a person, and that is not undone`;
  // Restarting what is well hurts others: first the evidence, or the cheaper rungs.
  if (diagnosis.cause !== "dependency_down" && quickLeft) return "all it depends on are well";
  return undefined;
}
