// The audit between a real node and its hub, one start for all of it: each test goes on where the one before has left the pair.
import { cpSync, lstatSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ask } from "@blueflame/agent/cli/ask.driver.ts";
import { formOf } from "@blueflame/agent/store/form.ts";
import { canonical, hashOf } from "@blueflame/shared/audit/chain.ts";
import type { ChainHeader, SignedHead } from "@blueflame/shared/audit/check.ts";
import { AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { RiskLockCause } from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import { placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { fromBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../../deploy/running.ts";
import { built } from "./built.ts";
import { type Fleet, idle, nodeId, openFleet, quick } from "./fleet-rig.ts";

type Rows = Map<string, Uint8Array>;

let fleet: Fleet;
/** Of the data directory as it was while the node was well. */
let copy = "";
let countersigned: SignedHead;
beforeAll(async () => {
  await built("blueflame-agent", "blueflame-hub", "blueflame");
  const workloads = [{ ...idle("engine"), risk: { loss_streak: 5 } }];
  fleet = await openFleet({ escalation: { ...quick, red_silent: "60s" }, workloads });
  copy = join(fleet.agent.dir, "copy");
}, 60_000);
afterAll(() => fleet?.close());

const store = () => join(fleet.agent.dataDir, "store");
const signedHeads = () =>
  ask(fleet.agent.dataDir, async (desk) => (JSON.parse((await desk.readAudit({})).chainJson) as ChainHeader).signed);
const verifyOnNode = (...more: string[]) =>
  run(fleet.agent.command("audit", "verify", ...more), 30_000, fleet.agent.dir);
const verifyAtHub = (...more: string[]) =>
  fleet.cli("blueflame.mjs", "audit", "verify", nodeId, ...more, "--hub", fleet.hub.url);
const told = (kind: string) =>
  fleet.hub.until(`${kind} is told`, async () => fleet.hub.alerts().some((alert) => alert.kind === kind));

/** Changes rows of the store at rest as whoever has the disk and its key can. */
async function tamper(change: (rows: Rows) => void): Promise<void> {
  const handle = await reopenHandle(placeOf(store()), {});
  try {
    const form = await formOf(handle, fleet.agent.dataDir);
    if (!form) throw new Error("the store has its keys");
    const rows: Rows = new Map();
    for await (const [place, sealed] of handle.iterator({ gte: "audit/", lt: "audit0" }))
      rows.set(place, form.open(place, sealed).value);
    const stand = await handle.get("meta/audit");
    if (stand) rows.set("meta/audit", form.open("meta/audit", stand).value);
    const before = new Map(rows);
    change(rows);
    const changed = [...rows].filter(([key, value]) => before.get(key) !== value);
    await handle.batch(changed.map(([key, value]) => form.put(key, value)));
    for (const key of before.keys()) if (!rows.has(key)) await handle.del(key);
  } finally {
    await handle.close();
  }
}
/** Copies a part of the data directory, or all of it but the socket. */
function copied(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true });
  cpSync(from, to, { recursive: true, filter: (path) => !lstatSync(path).isSocket() });
}
/** A person's doings: records of the audit, and epochs of the store. */
async function act(): Promise<void> {
  for (let n = 0; n < 3; n++)
    await ask(fleet.agent.dataDir, (desk) => desk.restartWorkload({ name: "engine", person: "ann" }));
}
const auditKeys = (rows: Rows) => [...rows.keys()].filter((key) => key.startsWith("audit/")).sort();
const recordAt = (rows: Rows, key = "") => fromBinary(AuditRecordSchema, rows.get(key) as Uint8Array);

test("PHX-11 the hub countersigns what the node has recorded, and `audit verify` says so on both sides", async () => {
  const { agent, hub } = fleet;
  await agent.well("engine");
  await act();
  await agent.until("the hub has countersigned", async () => ((await signedHeads())[0]?.number ?? 0) > 6);
  const ca = join(hub.dir, "certificates", nodeId, "ca.crt");
  const node = await verifyOnNode("-o", "json", "--ca", ca);
  expect(node).toMatchObject({ code: 0, stderr: "" });
  const verdict = JSON.parse(node.stdout);
  expect(verdict).toMatchObject({ nodeId, source: "node", whole: true, findings: [], signatures: "by the CA given" });
  countersigned = verdict.signed[0];
  expect((await verifyOnNode()).stdout).toMatch(new RegExp(`COUNTERSIGNED +record ${countersigned.number} of`));
  const atHub = await verifyAtHub("-o", "json");
  expect(atHub).toMatchObject({ code: 0, stderr: "" });
  expect(JSON.parse(atHub.stdout)).toMatchObject({ nodeId, source: "hub", whole: true, findings: [], knownGaps: [] });
  expect((await verifyAtHub()).stdout).toMatch(/AUDIT +whole\n/);
});

test("PHX-11 an edit, a gap and an end that was cut off are named with their places while the agent is down", async () => {
  await fleet.agent.until("all is at the hub", async () => (await fleet.agent.node()).outboxDepth === 0n);
  await fleet.agent.kill();
  copied(fleet.agent.dataDir, copy);
  const damages: Record<string, (rows: Rows) => void> = {
    "edited 3": (rows) => {
      const key = auditKeys(rows)[2] ?? "";
      rows.set(key, canonical({ ...recordAt(rows, key), because: "another story" }));
    },
    "gap 4": (rows) => rows.delete(auditKeys(rows)[3] ?? ""),
    [`cut ${countersigned.number}`]: (rows) => {
      for (const key of auditKeys(rows).slice(countersigned.number - 1)) rows.delete(key);
    },
  };
  for (const [expected, damage] of Object.entries(damages)) {
    await tamper(damage);
    const { code, stdout, stderr } = await verifyOnNode("-o", "json");
    const [first] = JSON.parse(stdout).findings;
    expect({ code: code !== 0, found: `${first.is} ${first.number}` }).toEqual({ code: true, found: expected });
    expect(stderr).toContain(`[AUDIT_BROKEN]`);
    copied(join(copy, "store"), store());
  }
});

test("PHX-11 an end that was cut off without a trace on the node reaches the hub's people as audit_broken, with its place", async () => {
  const { agent, hub } = fleet;
  let last = 0;
  await tamper((rows) => {
    const keys = auditKeys(rows);
    const end = recordAt(rows, keys.at(-4));
    for (const key of keys.slice(-3)) rows.delete(key);
    last = Number(end.number);
    const stand = JSON.parse(Buffer.from(rows.get("meta/audit") ?? []).toString());
    const shorter = { ...stand, number: last, row: stand.row - 3, hash: hashOf(canonical(end)) };
    rows.set("meta/audit", Buffer.from(JSON.stringify(shorter)));
  });
  await agent.start();
  await told("audit_broken");
  expect((await hub.audit(nodeId)).map(({ action }) => action)).toContain("audit.broken");
  const atHub = await verifyAtHub();
  expect(atHub.stdout).toMatch(/AUDIT +BROKEN\n/);
  expect(atHub.stderr).toContain(`record ${last + 1} of generation ${countersigned.generation}`);
  await agent.well("engine");
});

test("PHX-9 GRC-7 an older copy of the store is known by its epoch: a new life, risk-locked, and the hub tells its people", async () => {
  const { agent, hub } = fleet;
  const doneMs = Date.now();
  await hub.until("a beat has told the epoch", async () => {
    const { lastBeatAt } = (await hub.node(nodeId)) ?? {};
    return lastBeatAt !== undefined && timestampMs(lastBeatAt) > doneMs;
  });
  await agent.kill();
  copied(copy, agent.dataDir);
  await agent.start();
  await told("store_rolled_back");
  expect(await hub.incidents(nodeId)).toContainEqual(
    expect.objectContaining({ symptom: "store_rolled_back", needsPerson: true }),
  );
  await told("store_new_life");
  expect(hub.alerts().filter(({ kind }) => kind === "audit_broken")).toHaveLength(1); // one cut, one page
  const isNew = ({ generation }: SignedHead) => generation !== countersigned.generation;
  await agent.until("the new life is countersigned", async () => (await signedHeads().catch(() => [])).some(isNew));
  const { workloads } = await ask(agent.dataDir, (desk) => desk.listState({ workload: "engine" }));
  expect(workloads[0]?.risk).toMatchObject({ mayTrade: false, lock: { cause: RiskLockCause.RESTORED } });
  expect((await hub.audit(nodeId)).map(({ action }) => action)).toContain("node.store_behind");
  const node = JSON.parse((await verifyOnNode("-o", "json")).stdout);
  expect(node).toMatchObject({ whole: true, chains: [{ generation: countersigned.generation }, {}] });
});
