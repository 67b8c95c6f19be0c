import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { type Action, type Argv, type Placeholder, placeholders } from "../playbooks/playbook.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import { endLeftOver, runProgram } from "./command.driver.ts";
import { done, failed, type Outcome, outcomeOf, type Performers, type StepContext } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";

/** Of an answer this much is read, and thrown away. */
const answerBytesMax = 64 * 1024;

/** Steps that speak to programs, servers and people. */
export function outsideSteps(
  around: Around,
  permission: Permission,
): Pick<Performers, "exec" | "http" | "alert" | "check_store"> {
  return {
    exec: (action, context) => runCommand(around, permission, action, context),
    http: (action, context) => askServer(permission, action, context),
    alert: async ({ severity, message }, { workload, incidentId, name }) => {
      around.alert({ severity, workload, incidentId, what: `playbook.${name}`, message });
      return done(`people were told: ${message}`);
    },
    check_store: async () => outcomeOf(await around.checkStore()),
  };
}

async function runCommand(
  around: Around,
  permission: Permission,
  action: Extract<Action, { do: "exec" }>,
  context: StepContext,
): Promise<Outcome> {
  const filled = fill(action.command, around, context);
  if ("missing" in filled) return failed(`there is no ${filled.missing} to hand over: ${filled.because}`);
  await permission.deed("exec", context.workload, { does: "run", command: filled.command });
  const { pid, startTicks } = context.intent;
  // An earlier agent had started it: two of it at once is what nobody has written down.
  if (typeof pid === "number" && typeof startTicks === "number") await endLeftOver(pid, startTicks);
  let noting: Promise<void> = Promise.resolve();
  const ended = await runProgram(filled.command, {
    cwd: action.cwd || context.spec?.cwd || "/",
    env: { BLUEFLAME_WORKLOAD: context.workload, BLUEFLAME_INCIDENT: context.incidentId },
    signal: context.signal,
    started: (child) => {
      noting = context.intend({ ...child });
    },
  });
  await noting;
  return outcomeOf(ended);
}

/** Values stand in for placeholders as whole arguments: nothing in them is ever interpreted. */
function fill(
  command: Argv,
  around: Around,
  { workload, spec, incidentId }: StepContext,
): { readonly command: Argv } | { readonly missing: Placeholder; readonly because: string } {
  const values: Readonly<Record<Placeholder, string | undefined>> = {
    workload: workload || undefined,
    pid: workload === "" ? undefined : around.stand(workload).instance?.pid.toString(),
    port: spec && portOf(spec)?.toString(),
    cwd: spec?.cwd,
    output: workload === "" ? undefined : join(around.outputDir, `${workload}.log`),
    incident: incidentId || undefined,
  };
  const [file, ...args] = command;
  for (const name of placeholders) {
    if (!args.includes(`{${name}}`) || values[name] !== undefined) continue;
    const because =
      workload === "" ? "the run is about the node" : name === "pid" ? "it does not run" : "its config names none";
    return { missing: name, because };
  }
  return { command: [file, ...args.map((arg) => values[/^\{(\w+)\}$/.exec(arg)?.[1] as Placeholder] ?? arg)] };
}

/** The workload's own port on this machine: of its performance URL, else of its first HTTP, then TCP probe. */
function portOf(spec: WorkloadSpec): number | undefined {
  const urls = [spec.performance?.url, ...spec.probes.map(({ ask }) => (ask.by === "http" ? ask.url : undefined))];
  for (const url of urls) {
    const parsed = url === undefined ? null : URL.parse(url);
    if (parsed) return Number(parsed.port) || (parsed.protocol === "https:" ? 443 : 80);
  }
  const tcp = spec.probes.map(({ ask }) => (ask.by === "tcp" ? ask.port : undefined));
  return tcp.find((port) => port !== undefined);
}

async function askServer(
  permission: Permission,
  { method, port, path, body }: Extract<Action, { do: "http" }>,
  { spec, workload, signal }: StepContext,
): Promise<Outcome> {
  const host = "127.0.0.1";
  await permission.deed("http", workload, { does: "ask", host });
  const to = port || (spec && portOf(spec));
  if (!to) return failed("there is no port to ask: neither the step nor the workload's config names one");
  return new Promise((resolve) => {
    const headers = {
      "user-agent": "blueflame-playbook",
      connection: "close",
      "content-length": Buffer.byteLength(body),
      ...(body !== "" && { "content-type": "application/json" }),
    };
    const request = httpRequest({ host, port: to, path, method, headers, agent: false, signal });
    request.on("response", (response) => {
      const status = response.statusCode ?? 0;
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > answerBytesMax) response.destroy();
      });
      const good = status >= 200 && status <= 399;
      // When it has answered wholly, it has done what it was asked for.
      response.on("close", () =>
        resolve(good ? done(`port ${to} answered ${status}`) : failed(`port ${to} answered ${status}`)),
      );
      response.on("error", () => undefined);
    });
    request.on("error", (error) => resolve(failed(`port ${to}: ${error.message}`)));
    request.end(body);
  });
}
