import { setTimeout as pause } from "node:timers/promises";
import { type OutputOptions, printOne, printRows, rowStream } from "@blueflame/shared/cli/print.ts";
import { interruption } from "@blueflame/shared/cli/run.ts";
import { fold } from "@blueflame/shared/cli/table.ts";
import { formatTime, paint } from "@blueflame/shared/cli/text.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import {
  WorkloadPhase,
  type WorkloadStatus,
  WorkloadStatusSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import {
  type GetStatusResponse,
  GetStatusResponseSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { toJson } from "@bufbuild/protobuf";
import { ask } from "./ask.driver.ts";
import { allWell, nodeLines, nodeTone, workloadColumns } from "./rows.ts";

/** The flags of `status`. */
export interface StatusOptions extends OutputOptions {
  readonly dataDir: string;
  readonly watch: boolean;
  readonly exitCode: boolean;
}

const watchEveryMs = 500;

/** Prints the node and its workloads; with `watch` each change until Ctrl-C. Rejects with AGENT_UNREACHABLE, CONDITION_FALSE. */
export async function status(options: StatusOptions): Promise<void> {
  if (options.watch) return watch(options);
  const seen = await ask(options.dataDir, (desk) => desk.getStatus({}));
  if ((options.output ?? "table") === "table") printTable(seen, options);
  else printOne(seen, [], { ...options, json: (row) => toJson(GetStatusResponseSchema, row) });
  if (options.exitCode && !allWell(seen)) throw new Fault("CONDITION_FALSE", "not everything is well on this node");
}

function printTable(seen: GetStatusResponse, options: OutputOptions): void {
  const nowMs = Date.now();
  if (options.headers) {
    const { isTTY, columns } = process.stdout;
    const lines = nodeLines(seen, nowMs).flatMap((line, at) => {
      const tone = at === 0 ? nodeTone(seen) : line.startsWith("warning: ") ? "warn" : undefined;
      return (isTTY ? fold(line, columns) : [line]).map((part) => paint(tone, part));
    });
    process.stdout.write(`${[...lines, ""].join("\n")}\n`);
  }
  printRows(seen.workloads, workloadColumns(nowMs), { ...options, json: (row) => row });
}

/** Every workload once, then each again when it changes. An agent that goes away is waited for. */
async function watch(options: StatusOptions): Promise<void> {
  const leaving = interruption();
  const columns = [
    { title: "AT", value: () => formatTime(Date.now()).slice(11, 19) },
    ...workloadColumns(Date.now()).filter(isSteady),
  ];
  const print = rowStream(columns, { ...options, json: (row: WorkloadStatus) => toJson(WorkloadStatusSchema, row) });
  const known = new Map<string, string>();
  let away = false;
  while (!leaving.aborted) {
    try {
      const { workloads } = await ask(options.dataDir, (desk) => desk.getStatus({}, { signal: leaving }));
      if (away) process.stderr.write("the agent is back\n");
      away = false;
      print(workloads.filter((workload) => isNews(known, workload)));
    } catch (error) {
      if (leaving.aborted) break;
      if (!isFault(error, "AGENT_UNREACHABLE")) throw error;
      // Watching something that is not there from the start is a mistake; something that leaves meanwhile is news.
      if (known.size === 0 && !away) throw error;
      if (!away) process.stderr.write("the agent is away; waiting for it\n");
      away = true;
    }
    await pause(watchEveryMs, undefined, { signal: leaving }).catch(() => {});
  }
  throw leaving.reason;
}

/** Time up grows by itself, and starts are what the rows themselves show. */
function isSteady(column: { readonly title: string }): boolean {
  return column.title !== "UP" && column.title !== "STARTS";
}

function isNews(known: Map<string, string>, workload: WorkloadStatus): boolean {
  const { name, phase, health, pid, restarts } = workload;
  // While it runs the reason is what it says itself with each beat: progress, not news.
  const because = phase === WorkloadPhase.RUNNING ? "" : workload.because;
  const now = JSON.stringify([phase, health, pid, restarts.toString(), because]);
  if (known.get(name) === now) return false;
  known.set(name, now);
  return true;
}
