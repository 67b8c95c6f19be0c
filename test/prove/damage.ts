/**
 * What may lie broken on a disk, one fault after the other, on an installed node of which everything was killed at once: the one
 * command of an operator brings it back, or names an error code and the commands that do.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Ended } from "@blueflame/agent/bootstrap/child.ts";
import { type Case, casesOf, foreignCases } from "./damage-cases.ts";
import { DamageRig, type User } from "./damage-rig.ts";
import type { Row, Trial } from "./trial.ts";

/** From the command to a node that runs again; design.md gives the last rung two hours, an operator gives it less. */
const backPromiseMs = 60_000;
/** A table is read, not studied; the whole is in the report. */
const verdictMax = 90;
/** Somebody who is not root; the number needs no entry in the user database. */
const nobody = { uid: 65_534, gid: 65_534 } as const;

/** How one fault ended. */
export interface Outcome {
  readonly case: Case;
  readonly back: boolean;
  readonly ms: number;
  /** What was thought of the parts that it broke. */
  readonly verdict: string;
  /** What was done, or the code that was told and what was typed. */
  readonly did: string;
  /** What broke a promise; empty when none did. */
  readonly wrong: string;
}

interface Reported {
  readonly outcome: string;
  readonly found: readonly { readonly part: string; readonly state: string; readonly saw: string }[];
  readonly verdicts: readonly { readonly part: string; readonly state: string; readonly saw: string }[];
  readonly steps: readonly { readonly step: string; readonly ok: boolean; readonly because: string }[];
  readonly troubles: readonly { readonly code: string; readonly commands: readonly string[] }[];
}

/** Breaks the node in one way and brings it back. */
export async function tryCase(rig: DamageRig, one: Case, as?: User): Promise<Outcome> {
  await rig.reset(as);
  await one.break(rig);
  try {
    const beganMs = performance.now();
    const said = await rig.emergency({ good: one.good, as: one.byOwner && as }, "-o", "json");
    const report = reportOf(said);
    const isBack = () =>
      rig
        .until("the node is back", () => rig.isBack())
        .then(() => true)
        .catch(() => false);
    const unguarded = one.guarded && !(await isBack()) ? "nobody guards the workloads until the person comes" : "";
    const { typed, failed } = one.told === undefined ? { typed: [], failed: "" } : await obey(rig, one, report);
    const back = await isBack();
    const ms = Math.round(performance.now() - beganMs);
    const acts = report.steps.filter(({ step }) => !step.startsWith("wait")).map(({ because }) => because);
    const told = report.troubles.map(({ code }) => code);
    const did = [...told, ...(told.length > 0 ? typed : acts)].join("; ");
    // That nobody lives is so in every case.
    const parts = report.found.filter(
      ({ part, state }) => state === "broken" && !/^(agent|watchdog|workload .*)$/.test(part),
    );
    const verdict = parts
      .map(({ part, saw }) => `${part}: ${saw}`)
      .join("; ")
      .slice(0, verdictMax);
    return { case: one, back, ms, verdict, did, wrong: wrongIn(rig, one, said, report) || unguarded || failed };
  } finally {
    if (one.undo) await rig.killAll();
    one.undo?.(rig);
  }
}

function reportOf({ out, err }: Ended): Reported {
  try {
    return JSON.parse(out) as Reported;
  } catch {
    const outcome = `it said nothing that can be understood: ${out.slice(0, 300)} ${err.slice(-1000)}`;
    return { outcome, found: [], verdicts: [], steps: [], troubles: [] };
  }
}

/** What the person does whom the emergency has told what to type. The last command is an emergency again, which finds nothing more. */
async function obey(rig: DamageRig, one: Case, report: Reported): Promise<{ typed: string[]; failed: string }> {
  const commands = report.troubles.find(({ code }) => code === one.told)?.commands ?? [];
  const typed: string[] = [];
  let failed = "";
  const plain = commands.filter((command) => !command.startsWith("#"));
  for (const command of plain) {
    if (command === plain.at(-1)) await one.byHand?.(rig, commands);
    typed.push(command);
    const said = await rig.run(["/bin/sh", "-c", command.replace(/^sudo /, "")]);
    failed = said.code === 0 ? "" : `after what was to be typed: ${said.err.slice(0, 600)}`;
  }
  return { typed, failed };
}

function wrongIn(rig: DamageRig, one: Case, said: Ended, report: Reported): string {
  const told = report.troubles.map(({ code }) => code);
  const expected = one.told === undefined ? [] : [one.told];
  if (report.verdicts.length === 0) return report.outcome;
  if (told.join() !== expected.join()) return `told [${told}] instead of [${expected}]: ${said.err.slice(-600)}`;
  if (said.code !== (one.told === undefined ? 0 : 1)) return `exit code ${said.code}`;
  if (rig.haltedRuns) return "what a person had stopped runs";
  const kept = /the damaged one is (\S+)/.exec(report.steps.map(({ because }) => because).join(" "))?.[1];
  if (kept !== undefined && readdirSync(kept).length === 0) return `the damaged store was not kept in ${kept}`;
  const log = readFileSync(join(rig.dataDir, "logs", "emergency.log"), "utf8")
    .trim()
    .split("\n");
  if (!log.every((line) => JSON.parse(line).part === "emergency")) return "its log is not lines of JSON";
  const alerts = readdirSync(join(rig.dataDir, "alerts"));
  const paged = alerts.some((name) => name.endsWith("-emergency.json"));
  if (!paged && !said.err.includes("the page was not written")) return "nobody was paged";
  return "";
}

export const damage: Trial = {
  name: "damage",
  about:
    "each file of an installed node missing, cut, flipped, wrong, foreign or in the way: the emergency brings the node back",
  async run({ say }) {
    const ours = await all(undefined, casesOf, say);
    const outcomes = [...ours, ...(await all(nobody, () => foreignCases(nobody), say))];
    const groups = [...new Set(outcomes.map((one) => one.case.group))];
    const rows = groups.map((group): Row => {
      const values = outcomes.filter((one) => one.case.group === group && one.back).map(({ ms }) => ms);
      return { name: group, measure: "node back after", promise: backPromiseMs, unit: "ms", values };
    });
    const bad = outcomes.filter(({ back, wrong }) => !back || wrong !== "");
    return [...rows, { name: "all", measure: "faults that stayed", promise: 0, unit: "count", values: [bad.length] }];
  },
};

async function all(
  as: User | undefined,
  cases: (rig: DamageRig) => Case[],
  say: (line: string) => void,
): Promise<Outcome[]> {
  if (as && process.getuid?.() !== 0) return []; // only root can be somebody else
  const rig = new DamageRig();
  const outcomes: Outcome[] = [];
  try {
    await rig.make(as);
    const ahead = cases(rig);
    const widths = [
      8,
      ...(["group", "fault"] as const).map((key) => Math.max(...ahead.map((one) => one[key].length))),
      verdictMax,
    ];
    const row = (cells: readonly string[]) =>
      say(
        cells
          .map((cell, at) => cell.padEnd(widths[at] ?? 0))
          .join("  ")
          .trimEnd(),
      );
    row(["BACK", "GROUP", "FAULT", "VERDICT", "ACTION"]);
    for (const one of ahead) {
      const outcome = await tryCase(rig, one, as);
      outcomes.push(outcome);
      row(cellsOf(outcome));
    }
  } finally {
    await rig.close();
  }
  return outcomes;
}

function cellsOf({ case: { group, fault }, back, ms, verdict, did, wrong }: Outcome): string[] {
  const after = back ? `${(ms / 1000).toFixed(1)} s` : "NOT BACK";
  return [after, group, fault, verdict, wrong === "" ? did : `WRONG: ${wrong}; ${did}`];
}
