import { resolve } from "node:path";
import { type OutputOptions, printOne, printRows } from "@blueflame/shared/cli/print.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { clean, formatDuration, type Tone } from "@blueflame/shared/cli/text.ts";
import { nearest } from "@blueflame/shared/config/problems.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  type PlaybookInfo,
  PlaybookInfoSchema,
  RunPlaybookResponseSchema,
  type StepResult,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { toJson } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { boxPlaybooks } from "../playbooks/box.ts";
import { loadPlaybook } from "../playbooks/load.driver.ts";
import { stepWords } from "../playbooks/words.ts";
import { ask, whilePatient } from "./ask.driver.ts";
import { personHere } from "./person.ts";

/** The flags of `playbooks`, and those of `playbooks run`. */
export interface PlaybooksOptions extends OutputOptions {
  readonly dataDir: string;
}
export interface RunOptions extends PlaybooksOptions {
  readonly workload: string;
  readonly dryRun: boolean;
  readonly timeout: number;
}

/** Prints all of them, or one with its steps. Rejects with NOT_FOUND. */
export async function list(name: string | undefined, options: PlaybooksOptions): Promise<void> {
  const { playbooks } = await ask(options.dataDir, (desk) => desk.listPlaybooks({}));
  const json = (row: PlaybookInfo) => toJson(PlaybookInfoSchema, row);
  if (name === undefined) return printRows(playbooks, columns, { ...options, json });
  const one = pick(playbooks, name);
  printOne(one, columns, { ...options, json }, ["", ...one.steps.map((step, index) => clean(`${index + 1}. ${step}`))]);
}

const columns: readonly Column<PlaybookInfo>[] = [
  { title: "PLAYBOOK", value: ({ name }) => name },
  { title: "FROM", value: ({ added }) => (added ? "the folder" : "the box") },
  { title: "RUNS", value: ({ runs }) => String(runs), right: true },
  { title: "TRUST", value: ({ trust }) => trust.toFixed(2), right: true },
  { title: "WHAT FOR", value: ({ description }) => description },
];

/** Prints each step as it ended. Rejects with CONDITION_FALSE when the run has failed or would. */
export async function run(name: string, options: RunOptions): Promise<void> {
  const { workload, dryRun, timeout: timeoutMs } = options;
  const request = { name, workload, dryRun, person: personHere() };
  const answer = await whilePatient((signal) =>
    ask(options.dataDir, (desk) => desk.runPlaybook(request, { timeoutMs, signal })),
  );
  if ((options.output ?? "table") === "table") printRows(answer.steps, stepColumns, { ...options, json: (row) => row });
  else printOne(answer, [], { ...options, json: (row) => toJson(RunPlaybookResponseSchema, row) });
  if (answer.ok) return;
  const bad = answer.steps.find(({ outcome }) => outcome === "failed" || outcome === "refused");
  throw new Fault(
    "CONDITION_FALSE",
    `'${clean(name)}' ${dryRun ? "would not do" : "has not done"} all of it: ${bad?.because ?? "it was cut short"}`,
  );
}

const stepColumns: readonly Column<StepResult>[] = [
  { title: "STEP", value: ({ step }) => step },
  { title: "OUTCOME", value: ({ outcome }) => outcome, tone },
  { title: "TOOK", value: ({ took }) => formatDuration(took && durationMs(took)), right: true },
  { title: "BECAUSE", value: ({ because }) => because },
];

function tone({ outcome }: StepResult): Tone | undefined {
  const tones: Readonly<Record<string, Tone>> = {
    done: "good",
    would: "good",
    skipped: "faint",
    failed: "worst",
    refused: "worst",
  };
  return tones[outcome];
}

/** Prints the steps of a file as the agent would read them. Rejects with what is wrong with it. */
export async function check(file: string, options: OutputOptions): Promise<void> {
  const playbook = await loadPlaybook(resolve(file));
  const rows = playbook.steps.map((step, index) => ({ number: index + 1, step: stepWords(step) }));
  const shown: readonly Column<(typeof rows)[number]>[] = [
    { title: "STEP", value: ({ number }) => String(number), right: true },
    { title: `WHAT ${playbook.name} DOES`, value: ({ step }) => step },
  ];
  printRows(rows, shown, { ...options, json: (row) => row });
}

export function printBox(name: string | undefined): void {
  const named = boxPlaybooks.map(({ file, text }) => ({ name: file.replace(/\.yaml$/, ""), text }));
  if (name === undefined)
    throw new Fault("USAGE", `--yaml prints one: name one of ${named.map((one) => one.name).join(", ")}`);
  process.stdout.write(pick(named, name).text);
}

function pick<T extends { readonly name: string }>(all: readonly T[], name: string): T {
  const found = all.find((one) => one.name === name);
  if (found) return found;
  const meant = nearest(
    name,
    all.map((one) => one.name),
  );
  throw new Fault(
    "NOT_FOUND",
    `there is no playbook '${clean(name)}'${meant === undefined ? "" : `; did you mean '${meant}'?`}`,
  );
}
