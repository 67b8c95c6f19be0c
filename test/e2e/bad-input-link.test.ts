import { chmodSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openAuthority, writeIssued } from "@blueflame/hub/trust/authority.driver.ts";
import { LinkState } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { freePort } from "../prove/rig.ts";
import { built } from "./built.ts";
import { Folder, leadersOf, statusOf, until } from "./programs.ts";

/** One hub for all of them: none of their nodes ever gets in but the last, whose id is its own. */
let atHub: Folder;
let isStarted = false;
beforeAll(async () => {
  await built("blueflame-agent", "blueflame-hub", "blueflame");
  atHub = new Folder();
});
afterAll(() => atHub.clear());

let folder: Folder;
let dataDir: string;
beforeEach(() => {
  folder = new Folder();
  dataDir = join(folder.dir, "d");
});
afterEach(() => folder.clear());

const dayMs = 86_400_000;
const hubDir = () => join(atHub.dir, "hub");

/** Where the hub listens; the first who asks starts it. */
async function hub(): Promise<{ grpc: string; http: string }> {
  const ready = join(hubDir(), "hub.json");
  if (!isStarted)
    atHub.start("hub", ["serve", "--data-dir", hubDir(), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
  isStarted = true;
  await until("the hub listens", () => existsSync(ready));
  return JSON.parse(readFileSync(ready, "utf8"));
}

/** Paths of a node's papers by this hub's CA, or by another one; made at `wallMs`. */
async function papers(id: string, wallMs = Date.now(), authority = join(hubDir(), "trust")) {
  const issued = await (await openAuthority(authority, () => wallMs)).issue({ role: "node", name: id });
  const dir = join(folder.dir, `papers-${id}-${wallMs}`);
  mkdirSync(dir, { recursive: true });
  return writeIssued(dir, "node", issued);
}

interface Paths {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}
function configOf(address: string, paths: Paths, id?: string): string {
  const section = { addresses: [address], ca: paths.ca, cert: paths.cert, key: paths.key };
  const workloads = [{ name: "engine", command: ["sleep", "1000"] }];
  return folder.file(
    `agent-${id ?? "any"}.yaml`,
    JSON.stringify({ ...(id && { node: { id } }), hub: section, workloads }),
  );
}

/** Whatever is wrong with the hub: the workload runs, is healed when it dies, and status and doctor name what is wrong. */
async function guardedBut(code: string, config: string): Promise<void> {
  await folder.up(dataDir, "--config", config);
  await until(`status says ${code}`, async () => {
    const { linkBecause, warnings } = await statusOf(dataDir);
    return [linkBecause, ...warnings].some((line) => line.startsWith(`[${code}] `));
  });
  await until("it runs", () => leadersOf(dataDir).length === 1);
  const [pid] = leadersOf(dataDir);
  process.kill(pid ?? 0, "SIGKILL");
  await until("it is healed", () => leadersOf(dataDir).some((other) => other !== pid));
  // A hub that rejects a certificate is seen once this way, once that way: the next try has the name again.
  await until(`people are told ${code}`, async () =>
    (await folder.run("agent", "status", "--data-dir", dataDir)).out.includes(code),
  );
}

test("PHX-2 a hub that cannot be reached is HUB_UNREACHABLE, and the workload is guarded", async () => {
  const paths = await papers("edge-1", Date.now(), join(folder.dir, "trust"));
  await guardedBut("HUB_UNREACHABLE", configOf(`127.0.0.1:${await freePort()}`, paths));
  const doctor = await folder.run("agent", "doctor", "--data-dir", dataDir);
  expect(doctor.out).toMatch(/hub link +warn/);
});

test("a hub of another CA is HUB_UNTRUSTED, and the workload is guarded", async () => {
  const { grpc } = await hub();
  const strange = await papers("edge-1", Date.now(), join(folder.dir, "other-trust"));
  await guardedBut("HUB_UNTRUSTED", configOf(grpc, strange));
});

test("a certificate of another CA is CERT_REFUSED, and the workload is guarded", async () => {
  const { grpc } = await hub();
  const strange = await papers("edge-1", Date.now(), join(folder.dir, "other-trust"));
  const ca = join(hubDir(), "trust", "ca.crt");
  await guardedBut("CERT_REFUSED", configOf(grpc, { ...strange, ca }));
});

test("the certificate of another node id is NODE_ID_MISMATCH, and the workload is guarded", async () => {
  const { grpc } = await hub();
  await guardedBut("NODE_ID_MISMATCH", configOf(grpc, await papers("edge-1"), "edge-2"));
});

test.each([
  ["not valid yet", "CLOCK_WRONG", 30 * dayMs],
  ["expired", "CERT_EXPIRED", -400 * dayMs],
])("a certificate that is %s is %s, and the workload is guarded", async (_what, code, offMs) => {
  const { grpc } = await hub();
  const paths = await papers("edge-1", Date.now() + offMs);
  const config = configOf(grpc, paths);
  await guardedBut(code, config);
  const doctor = await folder.run("agent", "doctor", "--config", config, "--data-dir", dataDir);
  expect(doctor.out).toMatch(/certificate +fail/);
});

test("a key that others can read is CERT_UNUSABLE, and the workload is guarded without a hub", async () => {
  const { grpc } = await hub();
  const paths = await papers("edge-1");
  chmodSync(paths.key, 0o644);
  await guardedBut("CERT_UNUSABLE", configOf(grpc, paths));
  const status = await statusOf(dataDir);
  expect(status.link).toBe(LinkState.NONE);
  expect(status.warnings.join()).toContain("mode 644");
});

test("papers that are not there or broken are CERT_UNUSABLE, and the workload is guarded", async () => {
  const { grpc } = await hub();
  const paths = await papers("edge-1");
  await guardedBut("CERT_UNUSABLE", configOf(grpc, { ...paths, cert: folder.file("broken.crt", "no certificate") }));
});

test("two agents with one identity are told of each other, and both guard", async () => {
  const { grpc, http } = await hub();
  const config = configOf(grpc, await papers("edge-twice"));
  const other = join(folder.dir, "e");
  await folder.up(dataDir, "--config", config);
  await folder.up(other, "--config", config);
  await until(
    "one of them is told that its id is taken",
    async () => {
      const views = await Promise.all([statusOf(dataDir), statusOf(other)]);
      return views.some(({ linkBecause }) => linkBecause.startsWith("[NODE_ID_TAKEN] "));
    },
    60_000,
  );
  await until("the hub reports a clone", async () => /clone/i.test(await clones(http)), 90_000);
  for (const place of [dataDir, other]) {
    const [pid] = leadersOf(place);
    process.kill(pid ?? 0, "SIGKILL");
    await until("it is healed", () => leadersOf(place).some((next) => next !== pid));
  }
}, 240_000);

async function clones(http: string): Promise<string> {
  const answer = await fetch(`http://${http}/blueflame.operator.v1.OperatorService/ListIncidents`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  return answer.text();
}
