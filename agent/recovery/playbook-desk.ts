/** Playbooks and their runs in the words of the local API. */
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  type PlaybookInfo,
  PlaybookInfoSchema,
  type RunPlaybookResponse,
  RunPlaybookResponseSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { needsWorkload } from "../playbooks/needs-workload.ts";
import type { Playbook } from "../playbooks/playbook.ts";
import { stepDeed } from "../playbooks/words.ts";
import type { PersonsRun } from "../remedies/remedies.driver.ts";

/** One playbook as it is listed. */
export function playbookInfo({ name, description, steps, added }: Playbook, trust: number, runs: number): PlaybookInfo {
  return create(PlaybookInfoSchema, {
    name,
    description,
    steps: steps.map(stepDeed),
    added,
    trust,
    runs: BigInt(runs),
  });
}

/** Throws BAD_REQUEST for a playbook that is for a workload when none is named (`workload` empty). */
export function checkTarget(all: readonly Playbook[], name: string, workload: string): void {
  const playbook = all.find((one) => one.name === name);
  if (!playbook || workload !== "" || !needsWorkload(playbook)) return;
  throw new Fault("BAD_REQUEST", `'${name}' is for a workload, and none is named: give one with --workload NAME`);
}

/** A person's run as it is answered. Throws NOT_FOUND and LIMIT_REACHED. */
export function runAnswer(name: string, run: PersonsRun | undefined): RunPlaybookResponse {
  if (!run) throw new Fault("NOT_FOUND", `there is no playbook '${name}'`);
  if (run.turnedAway) throw new Fault("LIMIT_REACHED", run.turnedAway);
  return create(RunPlaybookResponseSchema, {
    ok: run.ok,
    steps: run.steps.map(({ step, outcome, because, tookMs }) => ({
      step: stepDeed(step),
      outcome,
      because,
      took: durationFromMs(Math.round(tookMs)),
    })),
  });
}
