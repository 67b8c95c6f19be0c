import { type OutputOptions, printOne, printRows } from "@blueflame/shared/cli/print.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { clean, formatDuration, type Tone } from "@blueflame/shared/cli/text.ts";
import { nearest } from "@blueflame/shared/config/problems.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type TriggerInfo, TriggerInfoSchema } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { toJson } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { formOf, metrics } from "../triggers/metrics.ts";
import { ask } from "./ask.driver.ts";

/** The flags of `triggers`. */
export interface TriggersOptions extends OutputOptions {
  readonly dataDir: string;
  readonly metrics: boolean;
}

/** Prints every trigger, by name; or one with where it stands; or, without asking the agent, the figures. */
export async function triggers(name: string | undefined, options: TriggersOptions): Promise<void> {
  if (options.metrics) return printMetrics(options);
  const found = await ask(options.dataDir, (desk) => desk.listTriggers({}));
  const json = (row: TriggerInfo) => toJson(TriggerInfoSchema, row);
  if (name === undefined) return printRows(found.triggers, columns, { ...options, json });
  printOne(pick(found.triggers, name), facts, { ...options, json });
}

const columns: readonly Column<TriggerInfo>[] = [
  { title: "TRIGGER", value: ({ name }) => name },
  { title: "NOW", value: now, tone },
  { title: "FIRED", value: ({ fired }) => String(fired), right: true },
  { title: "SEVERITY", value: ({ severity }) => severity },
  { title: "WHEN → PLAYBOOK", value: (row) => `${row.condition}${row.playbook && ` → ${row.playbook}`}` },
];

const facts: readonly Column<TriggerInfo>[] = [
  { title: "TRIGGER", value: ({ name, added }) => `${name}${added ? ", added by the config" : ""}` },
  { title: "WHEN", value: ({ condition }) => condition },
  { title: "PLAYBOOK", value: ({ playbook }) => playbook || "-" },
  { title: "SEVERITY", value: ({ severity }) => severity },
  { title: "FIRED", value: ({ fired }) => `${fired} times since the agent's start` },
  { title: "NOW", value: (row) => (row.stands.length > 0 ? row.stands.map(standWords).join(" · ") : now(row)), tone },
];

/** The worst of its stands, and how many there are. */
function now({ active, stands }: TriggerInfo): string {
  if (!active) return "off";
  const worst = ["firing", "clearing", "pending"].find((word) => stands.some(({ stand }) => stand === word));
  const count = stands.filter(({ stand }) => stand === worst).length;
  return worst === undefined ? "quiet" : `${worst}${count > 1 ? ` ${count}` : ""}`;
}

function tone(row: TriggerInfo): Tone | undefined {
  if (!row.active) return "faint";
  if (row.stands.some(({ stand }) => stand === "firing")) return "worst";
  return row.stands.length > 0 ? "warn" : undefined;
}

function standWords({ subject, stand, because, since }: TriggerInfo["stands"][number]): string {
  return `${subject} ${stand} for ${formatDuration(since && durationMs(since))}: ${because}`;
}

function pick(all: readonly TriggerInfo[], name: string): TriggerInfo {
  const found = all.find((one) => one.name === name);
  if (found) return found;
  const meant = nearest(
    name,
    all.map((one) => one.name),
  );
  const hint = meant === undefined ? "" : `; did you mean '${meant}'?`;
  throw new Fault("NOT_FOUND", `there is no trigger '${clean(name)}'${hint}`);
}

function printMetrics(options: OutputOptions): void {
  const rows = Object.entries(metrics).map(([name, metric]) => ({
    name,
    of: metric.of,
    means: metric.means,
    threshold: formOf(metric).replace("allowed is ", ""),
  }));
  const shown: readonly Column<(typeof rows)[number]>[] = [
    { title: "METRIC", value: ({ name }) => name },
    { title: "OF", value: ({ of }) => of },
    { title: "MEANS · THRESHOLD", value: ({ means, threshold }) => `${means} · ${threshold}` },
  ];
  printRows(rows, shown, { ...options, json: (row) => row });
}
