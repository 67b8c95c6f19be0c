import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { Level, OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { client } from "@blueflame/shared/rpc/definition.ts";
import { openLevelEngine } from "@blueflame/shared/store/level/engine.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { bundled } from "../test/support/bundle.ts";
import { agentOf, certificateOf, credentialsOf, type HubFolder, hubFolder, pass, until } from "../test/support/hub.ts";
import { openHubStore } from "./store/hub-store.ts";
import { writeIssued } from "./trust/authority.driver.ts";

// The hub as it is shipped, in a process of its own: it can be killed, stopped and told to leave.
let hubProgram: string;
let agentProgram: string;
beforeAll(async () => {
  hubProgram = await bundled("hub/main.ts");
  agentProgram = await bundled("test/support/hub-agent.main.ts");
});

let folder: HubFolder;
beforeEach(() => {
  folder = hubFolder();
});
afterEach(() => folder.clear());

interface HubProcess {
  readonly child: ChildProcess;
  readonly grpc: string;
  readonly http: string;
  readonly log: () => string;
  readonly ended: Promise<number | null>;
}

const quick = "escalation:\n  heartbeat_interval: 300ms\n  late: 100%\n  red_silent: 1800ms\n";

/** `blueflame-hub serve` until it is ready. */
async function serve(at: { grpc?: string; config?: string; flags?: readonly string[] } = {}): Promise<HubProcess> {
  const ready = join(folder.dir, "hub", "hub.json");
  rmSync(ready, { force: true });
  const config = join(folder.dir, "hub.yaml");
  writeFileSync(config, at.config ?? quick);
  const args = ["serve", "--data-dir", join(folder.dir, "hub"), "--config", config, "--http", "127.0.0.1:0"];
  const grpcArgs = ["--grpc", at.grpc ?? "127.0.0.1:0", ...(at.flags ?? [])];
  const child = spawn(process.execPath, [hubProgram, ...args, ...grpcArgs], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  folder.closeLater(async () => {
    child.kill("SIGCONT");
    child.kill("SIGKILL");
    await ended;
  });
  await until(() => {
    if (child.exitCode !== null) throw new Error(`the hub ended: ${log}`);
    return existsSync(ready);
  });
  const { grpc, http } = JSON.parse(readFileSync(ready, "utf8")) as { grpc: string; http: string };
  return { child, grpc, http, log: () => log, ended };
}

async function agentProcess(address: string, nodeId: string, records = 0) {
  const certificates = join(folder.dir, nodeId);
  writeIssued(certificates, "node", await certificateOf(folder, nodeId));
  const args = [agentProgram, address, certificates, nodeId, "1", `${records}`];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  folder.closeLater(() => child.kill("SIGKILL"));
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  return { child, said: () => said };
}

async function operatorOf(hub: HubProcess) {
  const made = client(OperatorService, hub.grpc, credentialsOf(await certificateOf(folder, "asha", "operator")));
  folder.closeLater(() => made.close());
  return made;
}

test("PHX-11 records arrive exactly once although the hub is killed with SIGKILL again and again while they come", async () => {
  const count = 4_000;
  let hub = await serve();
  const { grpc } = hub;
  const agent = await agentProcess(grpc, "edge-1", count);
  let kills = 0;
  for (; kills < 5 && !agent.said().includes("done"); kills++) {
    await pass(150 + kills * 40); // the agent is back by then; somewhere else in its stream each time
    hub.child.kill("SIGKILL");
    await hub.ended;
    hub = await serve({ grpc });
  }
  await until(() => agent.said().includes("done"));
  expect(kills).toBeGreaterThan(2);
  hub.child.kill("SIGTERM");
  expect(await hub.ended).toBe(0);
  const engine = await openLevelEngine(join(folder.dir, "hub"), { clock: realClock() });
  folder.closeLater(() => engine.close());
  const store = await openHubStore(engine.state, engine.log, Date.now);
  const audit = await store.audit({ nodeId: "edge-1", limit: count * 2 });
  const seen = audit.filter(({ action }) => action === "test.record").map(({ id }) => id);
  expect(seen).toHaveLength(count);
  expect(new Set(seen).size).toBe(count);
});

test("PHX-2 a hub that stands still for three seconds calls no healthy node late", async () => {
  const hub = await serve();
  await Promise.all(["a", "b", "c"].map((id) => agentProcess(hub.grpc, `edge-${id}`)));
  const operator = await operatorOf(hub);
  await until(async () => {
    const { nodes } = await operator.listNodes({});
    return nodes.length === 3 && nodes.every(({ presence }) => presence === "ALIVE");
  });
  await pass(500);
  for (let stall = 0; stall < 2; stall++) {
    hub.child.kill("SIGSTOP");
    await pass(3_000); // RED comes after 1.8 s of silence
    hub.child.kill("SIGCONT");
    await pass(800);
  }
  const levels = hub
    .log()
    .split("\n")
    .filter((line) => line.includes('"msg":"level"'));
  expect(levels.filter((line) => /"to":"(ORANGE|RED)"/.test(line))).toEqual([]);
  const { nodes } = await operator.listNodes({});
  expect(nodes.map(({ presence }) => presence)).toEqual(["ALIVE", "ALIVE", "ALIVE"]);
  expect(hub.log()).toContain("the hub was away");
});

test("PHX-2 a hub that was away longer than RED finds 100 agents again: no false ORANGE or RED, each record exactly once", async () => {
  const config = "escalation:\n  heartbeat_interval: 1s\n  late: 50%\n  red_silent: 4500ms\n";
  let hub = await serve({ config });
  const { grpc } = hub;
  const agents = await Promise.all(
    Array.from({ length: 100 }, (_, n) =>
      agentOf(
        folder,
        { grpcAddress: grpc },
        { nodeId: `edge-${n}`, site: `site-${n % 5}` },
        { policy: { baseMs: 100, capMs: 1_500, slowCapMs: 3_000 } },
      ),
    ),
  );
  let operator = await operatorOf(hub);
  const alive = async () => {
    await pass(100); // listing a hundred costs the hub that is waited for
    const { nodes } = await operator.listNodes({});
    return nodes.filter(({ presence, level }) => presence === "ALIVE" && level === Level.GREEN).length;
  };
  await until(async () => (await alive()) === agents.length);
  hub.child.kill("SIGKILL");
  await hub.ended;
  for (const [n, { outbox }] of agents.entries()) {
    for (let seq = 1; seq <= 10; seq++) {
      const value = { id: `${n}/${seq}`, action: "test.record" };
      await outbox.append(create(RecordSchema, { kind: { case: "audit", value } }));
    }
  }
  await pass(6_000);
  hub = await serve({ grpc, config });
  operator = await operatorOf(hub);
  await until(() => agents.every(({ outbox }) => outbox.depth() === 0n));
  await until(async () => (await alive()) === agents.length);
  await pass(3_000);
  expect(hub.log()).not.toMatch(/"to":"(ORANGE|RED)"/);
  const metrics = await (await fetch(`http://${hub.http}/metrics`)).text();
  expect(/^blueflame_records_stored_total (\d+)$/m.exec(metrics)?.[1]).toBe("1000");
});

test("SIGTERM ends the hub with 0, and its ready file is gone", async () => {
  const hub = await serve();
  await agentProcess(hub.grpc, "edge-1");
  const metrics = async () => (await fetch(`http://${hub.http}/metrics`)).text();
  await until(async () => /blueflame_\w*sessions\w* 1/.test(await metrics()));
  hub.child.kill("SIGTERM");
  expect(await hub.ended).toBe(0);
  expect(existsSync(join(folder.dir, "hub", "hub.json"))).toBe(false);
});

/** Runs the hub's program to its end. */
async function run(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [hubProgram, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  folder.closeLater(() => child.kill("SIGKILL"));
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, out, err };
}

test("what is wrong on the command line or around it is said by its code, and nothing is left running", async () => {
  const data = ["--data-dir", join(folder.dir, "hub")];
  const hub = await serve();
  const other = ["--data-dir", join(folder.dir, "other")];
  const free = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
  expect(await run("serve", ...other, "--grpc", hub.grpc, "--http", "127.0.0.1:0")).toMatchObject({
    code: 1,
    err: expect.stringContaining("[PORT_IN_USE]"),
  });
  expect(await run("serve", ...other, "--grpc", "127.0.0.1:0", "--http", "0.0.0.0:0")).toMatchObject({
    code: 2,
    err: expect.stringContaining("[LISTEN_NOT_LOOPBACK]"),
  });
  expect(await run("serve", ...data, ...free)).toMatchObject({
    code: 1,
    err: expect.stringContaining("[STORE_LOCKED]"),
  });
  expect(await run("serve", "--grpc", "nowhere")).toMatchObject({ code: 2, err: expect.stringContaining("[USAGE]") });
  expect(await run("serve", "--config", "/nonexistent.yaml", ...other)).toMatchObject({ code: 2 });
  expect(await run("cert", "--out", folder.dir)).toMatchObject({ code: 2, err: expect.stringContaining("[USAGE]") });
  expect(await run("cert", "--node", "Not A Name", "--out", folder.dir, ...data)).toMatchObject({
    code: 2,
    err: expect.stringContaining("[BAD_REQUEST]"),
  });
  const issued = await run("cert", "--node", "edge-9", "--out", join(folder.dir, "certs"), ...data);
  expect(issued.code).toBe(0);
  expect(JSON.parse(issued.out)).toMatchObject({
    role: "node",
    name: "edge-9",
    key: join(folder.dir, "certs", "node.key"),
  });
  expect((await run("--version")).out).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test("a hub that is called by another name than its machine's carries it, once it is started with --name", async () => {
  const nameOf = () => new X509Certificate(readFileSync(join(folder.dir, "hub", "trust", "hub.pem")));
  let hub = await serve();
  expect(nameOf().checkHost("hub.example")).toBeUndefined();
  hub.child.kill("SIGTERM");
  await hub.ended;
  hub = await serve({ flags: ["--name", "hub.example", "--name", "192.0.2.7", "--name", "[2001:DB8::0:7]"] });
  expect(nameOf().checkHost("hub.example")).toBe("hub.example");
  expect(nameOf().checkIP("192.0.2.7")).toBe("192.0.2.7");
  expect(nameOf().checkIP("2001:db8::7")).toBe("2001:db8::7");
  expect(nameOf().checkHost("localhost")).toBe("localhost");
  const wrong = () =>
    execFileSync(process.execPath, [hubProgram, "serve", "--data-dir", folder.dir, "--name", "https://hub"], {
      encoding: "utf8",
      stdio: "pipe",
    });
  expect(wrong).toThrow("[USAGE] --name https://hub is no host name and no address");
});

test("`blueflame-hub --help config` explains every key of the config file", () => {
  const said = execFileSync(process.execPath, [hubProgram, "--help", "config"], { encoding: "utf8" });
  expect(said).toMatch(/^respawns\[\]\.exec\.timeout .*default 10s$/m);
});
