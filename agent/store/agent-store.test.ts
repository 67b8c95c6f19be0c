import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { ReadingSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { canMount, smallDisk } from "../../test/contract/small-disk.ts";
import { bundled } from "../../test/support/bundle.ts";
import { keeps, type OpenedAgentStore, openAgentStore } from "./agent-store.ts";
import type { StepWrite } from "./ports.ts";

const clock = realClock();
let dir = "";
let stores: OpenedAgentStore[] = [];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "bf-agent-store-"));
  stores = [];
});
afterEach(async () => {
  for (const store of stores) await store.close();
  await rm(dir, { recursive: true, force: true });
});

async function open(opener: { nodeId?: string; bootId?: string; dir?: string } = {}): Promise<OpenedAgentStore> {
  const store = await openAgentStore(opener.dir ?? dir, {
    clock,
    random: seeded(7),
    nodeId: opener.nodeId,
    defaultNodeId: "this-host",
    bootId: opener.bootId ?? "boot-1",
  });
  stores.push(store);
  return store;
}
const code = (error: unknown) => (isFault(error) ? error.code : error);
const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();

function step(count: number, incident = IncidentState.RECOVERING): StepWrite {
  return {
    workload: "risk",
    state: { count, intent: "run" },
    decision: create(DecisionRecordSchema, { id: `d${count}`, inputJson: "{}", outputJson: "{}" }),
    incident: create(IncidentSchema, { id: "i1", revision: BigInt(count), state: incident }),
    audit: [create(AuditRecordSchema, { id: `a${count}`, action: "workload.spawn" })],
  };
}

test("PHX-11 a step is there after a restart, whole: state, decision, incident, audit and what the hub must hear", async () => {
  let store = await open();
  await store.saveStep(step(1), "batched");
  await store.saveStep(step(2), "synced");
  await store.close();
  store = await open();
  expect(await store.workloads()).toEqual([{ name: "risk", state: { count: 2, intent: "run" } }]);
  expect((await store.decisions(10)).map(({ id }) => id)).toEqual(["d2", "d1"]);
  expect((await store.audit(1)).map(({ id }) => id)).toEqual(["a2"]);
  expect((await store.incidents(10, true)).map(({ id, revision }) => [id, revision])).toEqual([["i1", 2n]]);
  expect(store.outbox.depth()).toBe(6n); // audit.begin too, and of the incident its newest revision only
});

test("a step without a state leaves the stored one as it was", async () => {
  const store = await open();
  await store.saveStep(step(1), "batched");
  await store.saveStep({ workload: "risk", audit: [] }, "batched");
  expect((await store.workloads())[0]?.state).toEqual({ count: 1, intent: "run" });
});

test("what the caller changes after the call is not written", async () => {
  const store = await open();
  const state = { at: "before" };
  const done = store.saveStep({ workload: "risk", state }, "batched");
  state.at = "after";
  await done;
  expect((await store.workloads())[0]?.state).toEqual({ at: "before" });
});

test("each open is a session of its own; identity, generation and boot id are kept", async () => {
  const first = await open({ nodeId: "n1", bootId: "boot-1" });
  expect(first.identity).toMatchObject({ nodeId: "n1", incarnation: 1n, session: 1n, previousBootId: "" });
  await first.close();
  const second = await open({ bootId: "boot-2" });
  expect(second.identity).toEqual({ ...first.identity, session: 2n, previousBootId: "boot-1" });
});

test("a new store without a node id belongs to the default one; a store of another node is refused", async () => {
  const store = await open();
  expect(store.identity.nodeId).toBe("this-host");
  await store.close();
  expect(await open({ nodeId: "other" }).catch(code)).toBe("DATA_DIR_OF_ANOTHER");
  expect((await open({ nodeId: "this-host" })).identity.session).toBe(2n);
});

test("a repaired store goes on as a new life with a generation of its own", async () => {
  const first = await open();
  await first.saveStep(step(1), "synced");
  await first.close();
  rmSync(join(dir, "store", "CURRENT"));
  const second = await open();
  expect(second.notes[0]).toMatch(/repaired/);
  expect(second.identity).toMatchObject({ nodeId: "this-host", incarnation: 2n, session: 1n });
  expect(second.identity.generation).not.toBe(first.identity.generation);
  expect((await second.workloads())[0]?.state).toEqual({ count: 1, intent: "run" });
  await second.close();
  expect((await open()).identity).toMatchObject({ incarnation: 2n, session: 2n });
});

test("a second agent on the same directory is refused by name", async () => {
  await open();
  expect(await open().catch(code)).toBe("STORE_LOCKED");
});

test("a store that was removed is reported and not made again", async () => {
  await (await open()).close();
  rmSync(join(dir, "store"), { recursive: true });
  expect(await open().catch(code)).toBe("STORE_MISSING");
  expect(await readdir(dir)).not.toContain("store");
});

test("PHX-12 of two writers of a workload's key one gets STATE_CONFLICT, and revisions go on after a restart", async () => {
  let store = await open();
  const puts = ["a", "b"].map((value) => store.put("risk", "session", Buffer.from(value), 0n).catch(code));
  expect((await Promise.all(puts)).sort()).toEqual([1n, "STATE_CONFLICT"]);
  expect(await store.put("risk", "session", Buffer.from("c"), undefined)).toBe(2n);
  expect(await store.get("other", "session")).toBeUndefined();
  await store.close();
  store = await open();
  expect(await store.put("risk", "session", Buffer.from("d"), 1n).catch(code)).toBe("STATE_CONFLICT");
  expect(await store.put("risk", "session", Buffer.from("d"), 2n)).toBe(3n);
  const found = await store.get("risk", "session");
  expect([text(found?.value), found?.revision]).toEqual(["d", 3n]);
});

test("a workload's keys are bounded in number and size, each bound with its name", async () => {
  const store = await open();
  expect(await store.put("risk", "k", new Uint8Array(256 * 1024 + 1), undefined).catch(code)).toBe("BAD_REQUEST");
  expect(await store.put("risk", "", new Uint8Array(1), undefined).catch(code)).toBe("BAD_REQUEST");
  expect(await store.put("risk", "a\0b", new Uint8Array(1), undefined).catch(code)).toBe("BAD_REQUEST");
  await Promise.all(Array.from({ length: 1000 }, (_, at) => store.put("risk", `k${at}`, Buffer.from("v"), 0n)));
  expect(await store.put("risk", "one more", Buffer.from("v"), undefined).catch(code)).toBe("LIMIT_REACHED");
  expect(await store.put("risk", "k1", Buffer.from("w"), 1n)).toBe(2n);
  expect(await store.put("other", "one more", Buffer.from("v"), undefined)).toBe(1n);
});

test("a workload that is forgotten leaves its state and token, and keeps its own keys", async () => {
  const store = await open();
  await store.saveStep(step(1), "batched");
  await store.saveTokenHash("risk", "hash-1");
  await store.saveTokenHash("risk", "hash-2");
  expect(await store.tokenHashes()).toEqual(new Map([["hash-2", "risk"]]));
  await store.put("risk", "session", Buffer.from("kept"), undefined);
  await store.forgetWorkload("risk");
  expect(await store.workloads()).toEqual([]);
  expect((await store.tokenHashes()).size).toBe(0);
  expect(text((await store.get("risk", "session"))?.value)).toBe("kept");
});

test("hub epoch and orders are remembered over a restart; of orders the newest thousand", async () => {
  let store = await open();
  expect([store.hubEpoch(), await store.orderSeen("o1")]).toEqual([0n, false]);
  await store.setHubEpoch(7n);
  await Promise.all(Array.from({ length: keeps.orders + 1 }, (_, at) => store.rememberOrder(`o${at}`)));
  const seen = async () => [await store.orderSeen("o0"), await store.orderSeen("o1"), await store.orderSeen("o1000")];
  expect(await seen()).toEqual([false, true, true]);
  await store.close();
  store = await open();
  expect([store.hubEpoch(), ...(await seen())]).toEqual([7n, false, true, true]);
});

test("SYN-7 decisions and closed incidents are kept to their bounds, the oldest go; open incidents stay, and all are counted", async () => {
  const store = await open();
  const incident = (at: number, state: IncidentState) =>
    create(IncidentSchema, { id: `i${String(at).padStart(5, "0")}`, state });
  await store.saveStep({ workload: "risk", incident: incident(0, IncidentState.RECOVERING) }, "batched");
  const closedMore = keeps.closedIncidents + 5;
  for (let at = 1; at <= closedMore; at++) {
    void store.saveStep({ workload: "risk", incident: incident(at, IncidentState.OPEN) }, "batched");
    await store.saveStep({ workload: "risk", incident: incident(at, IncidentState.CLOSED) }, "batched");
  }
  const decided = Array.from({ length: keeps.decisions + 10 }, (_, at) =>
    store.saveStep({ workload: "risk", decision: create(DecisionRecordSchema, { id: `d${at}` }) }, "batched"),
  );
  await Promise.all(decided);
  const check = async (opened: OpenedAgentStore) => {
    const ids = (await opened.incidents(5000, false)).map(({ id }) => id);
    expect(ids).toHaveLength(keeps.closedIncidents + 1);
    expect([ids[0], ids.at(-2), ids.at(-1)]).toEqual(["i01005", "i00006", "i00000"]);
    expect((await opened.incidents(5000, true)).map(({ id }) => id)).toEqual(["i00000"]);
    expect(opened.incidentsOpened()).toBe(closedMore + 1);
    const decisions = await opened.decisions(5000);
    expect(decisions).toHaveLength(keeps.decisions);
    expect(decisions.at(-1)?.id).toBe("d10");
  };
  await check(store);
  await store.close();
  await check(await open());
});

test("CARD-4 an agent killed in the middle of writing, again and again, finds every acknowledged write", async () => {
  const program = await bundled("test/contract/agent-writer.main.ts");
  const said = new Map<string, number>();
  let lastSeq = 0n;
  for (let life = 1; life <= 4; life++) {
    const writer = spawn(process.execPath, [program, dir, String(life)], { stdio: ["ignore", "pipe", "inherit"] });
    let lines = 0;
    for await (const line of createInterface({ input: writer.stdout })) {
      const [what = "", count = ""] = line.split(" ");
      said.set(what, Number(count));
      if (++lines === 400 * life) writer.kill("SIGKILL");
    }
    if (writer.exitCode === null && writer.signalCode === null) await once(writer, "exit");
    expect(writer.signalCode).toBe("SIGKILL");

    const store = await open();
    expect(store.notes).toEqual([]);
    const states = new Map((await store.workloads()).map(({ name, state }) => [name, state as { count: number }]));
    const audit = new Set((await store.audit(100_000)).map(({ id }) => id));
    for (const [what, count] of said) {
      const [kind = "", name = ""] = what.split("/");
      if (kind === "state") expect(states.get(name)?.count).toBeGreaterThanOrEqual(count);
      if (kind === "audit") expect(audit).toContain(name);
      if (kind === "kv") expect(Number(text((await store.get(name, "k"))?.value))).toBeGreaterThanOrEqual(count);
    }
    expect(store.outbox.lastSeq()).toBeGreaterThan(lastSeq);
    lastSeq = store.outbox.lastSeq();
    await store.close();
  }
  expect([...said.keys()].filter((what) => what.startsWith("audit/")).length).toBeGreaterThan(300);
});

test.skipIf(!canMount())(
  "on a full disk steps fail by name, and go on by themselves when there is space again (needs the right to mount)",
  async () => {
    const disk = smallDisk(48 * 1024 * 1024);
    try {
      let store = await open({ dir: disk.dir });
      let count = 0;
      let acknowledged = 0;
      const refused = new Set<unknown>();
      const filler = create(ReadingSchema, { sensor: "x".repeat(20_000) });
      const write = async () => {
        const tried = ++count;
        const done = store.saveStep(step(tried), tried % 2 ? "synced" : "batched");
        await done.then(
          () => (acknowledged = Math.max(acknowledged, tried)),
          (error) => refused.add(code(error)),
        );
        // Within a second of less space than they may have, readings are refused for that.
        const low = (error: unknown) => code(error) === "STORE_SPACE_LOW" || refused.add(code(error));
        await store.appendReadings([filler]).catch(low);
      };
      await write();
      disk.fill(512 * 1024);
      while (!store.trouble()) await write();
      const known = acknowledged;
      for (let at = 0; at < 20; at++) await write();
      expect(acknowledged).toBe(known);
      expect(refused).toEqual(new Set(["STORE_WRITE_FAILED"]));
      disk.free();
      while (store.trouble()) await new Promise((resolve) => setTimeout(resolve, 20));
      const seqs = (await store.outbox.read(0n, 100_000, 1e9)).map(({ seq }) => seq);
      await write();
      expect(acknowledged).toBe(count);
      await store.close();
      store = await open({ dir: disk.dir });
      expect((await store.workloads())[0]?.state).toEqual({ count, intent: "run" });
      const after = (await store.outbox.read(0n, 100_000, 1e9)).map(({ seq }) => seq);
      expect(new Set(after).size).toBe(after.length);
      expect(after.slice(0, seqs.length)).toEqual(seqs);
      await store.close();
    } finally {
      disk.remove();
    }
  },
  60_000,
);
