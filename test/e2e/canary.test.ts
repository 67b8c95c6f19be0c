// The built agent with secrets planted in everything that a workload may give it: none of them stands where somebody may find it.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { StateService } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { client } from "@blueflame/shared/rpc/definition.ts";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { built } from "./built.ts";

const program = inRoot("dist", "blueflame-agent.cjs");
beforeAll(() => built("blueflame-agent"), 60_000);

let dir: string;
let agent: ChildProcess | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-canary-"));
});
afterEach(async () => {
  if (existsSync(join(dir, "starts"))) {
    for (const pid of readFileSync(join(dir, "starts"), "utf8").trim().split("\n")) end(Number(pid));
  }
  agent?.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});
function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

const canaries = {
  key: "canary-key-5f1e",
  value: "canary-value-77b0",
  secret: "canary-secret-c3d9",
  config: "canary-config-0a42",
} as const;

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let n = 0; n < 3000 && !holds(); n++) await pause(10);
  expect(holds(), what).toBe(true);
}
const starts = () =>
  existsSync(join(dir, "starts")) ? readFileSync(join(dir, "starts"), "utf8").trim().split("\n") : [];

/** Every file below, as text, by its path. */
function files(folder: string): [string, string][] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name))
    .map((path) => [path, readFileSync(path, "latin1")]);
}
function commandLines(): string {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1");
      } catch {
        return "";
      }
    })
    .join("\n");
}

test("PHX-9 SYN-5 what a workload keeps, its secrets and the names of its keys stand in no file of the store, no snapshot, log, alert, audit or process argument", async () => {
  const data = join(dir, "data");
  const script = `echo $$ >> ${dir}/starts; printf %s "$BLUEFLAME_TOKEN" > ${dir}/token; exec sleep 600`;
  const config = join(dir, "agent.yaml");
  const own = join(dir, "risk.conf");
  writeFileSync(own, `password = ${canaries.config}\n`);
  const workload = {
    name: "risk",
    command: ["/bin/sh", "-c", script],
    env: { RISK_PASSWORD: canaries.secret },
    config_files: [own],
  };
  writeFileSync(config, JSON.stringify({ workloads: [workload] }));
  const log = join(dir, "agent.log");
  const args = [program, "up", "--no-watchdog", "--config", config, "--data-dir", data];
  agent = spawn(process.execPath, args, { stdio: ["ignore", "ignore", openSync(log, "w")] });
  await until(
    "the workload runs",
    () => existsSync(join(dir, "token")) && readFileSync(join(dir, "token")).length > 10,
  );

  const metadata = new grpc.Metadata();
  const token = readFileSync(join(dir, "token"), "utf8");
  metadata.set("authorization", `Bearer ${token}`);
  const desk = client(StateService, `unix:${join(data, "agent.sock")}`, grpc.credentials.createInsecure());
  await desk.put({ key: canaries.key, value: Buffer.from(canaries.value) }, { metadata });
  await desk
    .put({ key: canaries.key, value: Buffer.from(canaries.value), expectedRevision: 9n }, { metadata })
    .catch(() => undefined);
  const found = await desk.get({ key: canaries.key }, { metadata });
  expect(Buffer.from(found.value).toString()).toBe(canaries.value);
  desk.close();
  end(Number(starts()[0])); // an incident, decisions, an audit
  await until("it was restarted", () => starts().length === 2);
  await until("a snapshot was taken", () => existsSync(join(data, "snapshots", "1")));

  const ask = (...words: string[]) =>
    execFileSync(process.execPath, [program, ...words, "--data-dir", data], { encoding: "utf8" });
  const seen: [string, string][] = [
    ...files(join(data, "store")),
    ...files(join(data, "snapshots")),
    ...files(join(data, "logs")),
    ...files(join(data, "alerts")),
    ...["store.keys", "store.witness", "stopped.json"].map((name): [string, string] => [
      name,
      readFileSync(join(data, name), "latin1"),
    ]),
    ["the agent's log", readFileSync(log, "utf8")],
    ["audit", ask("audit", "-o", "json")],
    ["decisions", ask("decisions", "-o", "json")],
    ["incidents", ask("incidents", "-o", "json")],
    ["status", ask("status", "-o", "json")],
    ["process arguments", commandLines()],
  ];
  expect(seen.length).toBeGreaterThan(12);
  const secrets = { ...canaries, token, kek: readFileSync(join(data, "store.key"), "latin1").trim() };
  for (const [where, text] of seen) {
    for (const [what, secret] of Object.entries(secrets))
      expect(text.includes(secret), `the ${what} in ${where}`).toBe(false);
  }
}, 120_000);
