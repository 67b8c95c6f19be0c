// The checker of the store's trials must be able to fail: a store that has forgotten something is held up to it.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type OpenedAgentStore, openAgentStore } from "@blueflame/agent/store/agent-store.ts";
import type { AgentStore } from "@blueflame/agent/store/ports.ts";
import type { Waiting } from "@blueflame/agent/uplink/ports.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { check } from "./store-check.ts";
import { write, writeOne } from "./store-lanes.ts";
import { Ledger } from "./store-ledger.ts";
import { heldIn } from "./store-outbox.ts";

let dir = "";
let store: OpenedAgentStore;
let ledger: Ledger;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-check-"));
  store = await openAgentStore(dir, { clock: realClock(), random: seeded(1), nodeId: "prove", bootId: "b" });
  ledger = new Ledger(join(dir, "ledger"));
});
afterEach(async () => {
  ledger.close();
  await store.close();
  rmSync(dir, { recursive: true, force: true });
});

/** The store, but for what `other` says in its place. */
function but(other: Partial<AgentStore>): AgentStore {
  return new Proxy<AgentStore>(store, { get: (_, name) => Reflect.get(name in other ? other : store, name) });
}
function outboxBut(keep: (row: Waiting, at: number, all: readonly Waiting[]) => boolean): AgentStore {
  const read = async (after: bigint) =>
    (await store.outbox.read(0n, 1e6, 1e9)).filter(keep).filter(({ seq }) => seq > after);
  const { outbox } = store;
  return but({ outbox: new Proxy(outbox, { get: (_, name) => (name === "read" ? read : Reflect.get(outbox, name)) }) });
}
const holds = ({ bytes }: Waiting, kind: string) => heldIn(bytes).held.some((one) => one.kind === kind);
const lostIn = async (forgetful: AgentStore) => (await check(forgetful, ledger, "kill")).lost.join("\n");

test("a store that had lost its outbox, the end of it, or all decisions passed the trials with nothing lost", async () => {
  await write(store, ledger, () => ledger.total() < 300);
  expect(ledger.took(0, "audit").taken).toBeGreaterThan(0); // the hub had some of it
  expect(await check(store, ledger, "kill")).toEqual({ lost: [], changed: [] });
  expect(await check(store, ledger, "power")).toEqual({ lost: [], changed: [] });

  expect(await lostIn(outboxBut(() => false))).toContain("outbox: ");
  expect(await lostIn(outboxBut((_, at, all) => at < all.length - 1))).toContain("outbox: 1 of");
  for (const kind of ["state", "audit", "readings"]) {
    const first = (row: Waiting, _: number, all: readonly Waiting[]) => row === all.find((one) => holds(one, kind));
    expect(await lostIn(outboxBut((row, at, all) => !first(row, at, all)))).toContain(`outbox: 1 of ${kind}`);
  }
  expect(await lostIn(outboxBut((row) => !holds(row, "incident")))).toContain("of incident of lane 0");

  expect(await lostIn(but({ decisions: async () => [] }))).toContain("decisions: there are 0 of");
  const withoutOne = async () => (await store.decisions(1e6)).toSpliced(20, 1);
  expect(await lostIn(but({ decisions: withoutOne }))).toContain("has to be");
  expect(await lostIn(but({ decisions: async () => (await store.decisions(1e6)).slice(0, -1) }))).toContain(
    "decisions: ",
  );
});

test("a store that had lost an incident, its last revision or a record of the audit is found out", async () => {
  await write(store, ledger, () => ledger.total() < 120);
  const incidents = async () => (await store.incidents(1e6, false)).slice(1);
  expect(await lostIn(but({ incidents }))).toContain("incidents: there are");
  const older = async () => (await store.incidents(1e6, false)).map((one) => ({ ...one, revision: one.revision - 1n }));
  expect(await lostIn(but({ incidents: older }))).toContain("acknowledged was");
  expect(await lostIn(but({ openIncidents: () => [] }))).toContain("incidents: open are");
  const audit = async () => (await store.audit(1e6)).filter(({ id }) => id !== "2-1");
  expect(await lostIn(but({ audit }))).toContain("audit of lane 2: 1 of");
});

test("at its bound the table of decisions holds the newest 2,000, and one less is found out", async () => {
  for (let from = 1; from <= 2100; from += 100) {
    const counts = Array.from({ length: 100 }, (_, at) => from + at);
    await Promise.all(counts.map((count) => writeOne(store, ledger, 0, "state", count, false)));
  }
  expect(await check(store, ledger, "kill")).toEqual({ lost: [], changed: [] });
  expect(await lostIn(but({ decisions: async () => store.decisions(1999) }))).toContain("there are 1999 of 2000");
});
