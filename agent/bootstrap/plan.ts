/**
 * The emergency's decision, pure: findings in, verdicts and the next steps out. It is asked again after each round, with what
 * was done so far: a step is tried once, and what it did not mend is a person's.
 *
 *   place ──▶ program ──▶ config, secrets ──▶ store ──▶ watchdog, agent ──▶ workloads ──▶ end
 *     each stage waits for the one before it; what only a person can mend stops no stage that does not need it
 */
import type { Findings } from "./findings.ts";
import { judgeGuards, judgeLeftOvers, judgeStore, judgeWord, judgeWorkloads } from "./judge-life.ts";
import {
  judgeClosedFiles,
  judgeConfig,
  judgeDataDir,
  judgeDisk,
  judgeFolders,
  judgeGoodCopy,
  judgeProgram,
  judgeSecrets,
} from "./judge-place.ts";
import { type Done, type Judgement, joined, type Step, type Trouble, type Verdict } from "./steps.ts";

/** By itself it runs once in this time at most. */
const autoEveryMs = 3_600_000;

/** What to do now. */
export interface Plan {
  /** Set: nothing is done at all, and that is right. */
  readonly leave: string | undefined;
  readonly verdicts: readonly Verdict[];
  /** For this round; empty: it is over. */
  readonly steps: readonly Step[];
  /** What is left for a person; counts once no step is left. */
  readonly troubles: readonly Trouble[];
}

export function plan(found: Findings, done: readonly Done[]): Plan {
  const leave = mayNot(found, done);
  if (leave !== undefined) return { leave, verdicts: [], steps: [], troubles: [] };
  const place = judgeDataDir(found, done);
  if (found.dataDir.is !== "there") return rounded([place], []);
  const word = judgeWord(found, done);
  const stages: readonly (readonly Judgement[])[] = [
    [place, judgeFolders(found, done), judgeClosedFiles(found, done), judgeDisk(found, done)],
    [judgeGoodCopy(found), judgeProgram(found, done)],
    [judgeConfig(found, done), judgeSecrets(found, done)],
    [judgeStore(found, done), judgeLeftOvers(found, done)],
    [word, judgeGuards(found, done, word.rests)],
    [judgeWorkloads(found, done, word.rests)],
  ];
  return rounded(stages.flat(), stages);
}

/** The steps of the first stage that has any, unless an earlier one has a trouble that stops all that follows. */
function rounded(all: readonly Judgement[], stages: readonly (readonly Judgement[])[]): Plan {
  const { verdicts, troubles } = joined(all);
  for (const stage of stages) {
    const { steps, troubles: stops } = joined(stage);
    if (steps.length > 0) return { leave: undefined, verdicts, steps, troubles };
    if (stops.some((trouble) => trouble.stops)) break;
  }
  return { leave: undefined, verdicts, steps: [], troubles };
}

/** Called by itself, it obeys a person and its own bound. */
function mayNot(found: Findings, done: readonly Done[]): string | undefined {
  if (!found.asked.auto || done.length > 0) return undefined;
  if (found.word !== undefined) return `a person said '${found.word}': nobody is wanted`;
  const { lastAutoAgoMs } = found;
  if (lastAutoAgoMs === undefined || lastAutoAgoMs >= autoEveryMs) return undefined;
  return `it ran by itself ${Math.round(lastAutoAgoMs / 60_000)} min ago, and does so once an hour at most`;
}
