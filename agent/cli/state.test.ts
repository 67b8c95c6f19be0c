import { afterAll, beforeAll, expect, test } from "vitest";
import { type CliRig, openCliRig } from "../../test/support/cli-rig.ts";
import { memoryAgent } from "../../test/support/memory-agent.ts";
import { memoryNode } from "../../test/support/node.ts";

let rig: CliRig;

beforeAll(async () => {
  const node = memoryNode(["engine", "quiet"]);
  const space = node.workloads.get("engine")?.state;
  if (!space) throw new Error("there is a workload");
  await memoryAgent(space).commit([
    { put: { key: "position", value: Buffer.from("long \u001b[31m4") } },
    { append: { log: "decisions", entries: [Buffer.from("bought"), Buffer.from("sold")] } },
    { beginSession: "2026-11-26" },
    { trade: { id: "t-1", profit: -250, exposure: 1000 } },
    { lock: "the feed is wrong" },
  ]);
  rig = await openCliRig(node);
});
afterAll(() => rig.close());

const cli = (...args: string[]) => rig.cli("state", ...args);

test("PHX-9 state list shows each workload with its lock first of all; of one its keys, logs and risk", async () => {
  const all = await cli("list");
  expect(all).toMatchObject({ code: 0, err: "" });
  expect(all.out).toMatch(/^engine +1 +1 +21 +1 +2026-11-26 +LOCKED since \S+Z: the feed is wrong$/m);
  expect(all.out).toMatch(/^quiet +0 +0 +0 +0 +open, 0 losses in a row$/m);
  const { out } = await cli("list", "engine");
  expect(out).toMatch(/^position +1 +11 +\S+Z$/m);
  expect(out).toMatch(/^log decisions: 1 to 2, 10 bytes\nLOCKED since /m);
  const json = JSON.parse((await cli("list", "engine", "-o", "json")).out);
  expect(json).toMatchObject({ workload: "engine", keys: [{ key: "position" }], logs: [{ log: "decisions" }] });
  expect(json.risk).toMatchObject({ lossStreak: 1, lock: { because: "the feed is wrong" } });
});

test("state get gives the value as it was put; log the newest entries, or the trades", async () => {
  expect((await cli("get", "engine", "position")).out).toBe("long \u001b[31m4");
  expect((await cli("log", "engine", "decisions", "-n", "1")).out).toMatch(/^INDEX +AT +DATA\n2 +\S+Z +sold\n$/);
  expect((await cli("log", "engine")).out).toMatch(/^1 +\S+Z +2026-11-26 +t-1 +-250 +1000$/m);
});

test("what is not there ends with 3, an unlock without a reason with 2", async () => {
  expect((await cli("get", "engine", "none")).code).toBe(3);
  expect((await cli("list", "nobody")).code).toBe(3);
  expect((await cli("log", "engine", "none")).code).toBe(3);
  expect((await cli("unlock", "engine")).code).toBe(2);
  expect((await cli("unlock", "engine", "--reason", " ")).code).toBe(2);
  expect((await cli("unlock", "engine", "--reason", "x", "-n", "3")).code).toBe(2); // only a log has an end to cut
  expect((await cli("unlock", "nobody", "--reason", "looked at it")).code).toBe(3);
  const forget = await cli("forget", "engine", "--reason", "renamed");
  expect([forget.code, forget.err]).toEqual([2, expect.stringContaining("is guarded here")]);
});

test("GRC-7 an unlock says every cause that it has opened", async () => {
  const { code, out } = await cli("unlock", "engine", "--reason", "compared with the broker", "-o", "table");
  expect(code).toBe(0);
  expect(out).toMatch(/^opened: since \S+Z: the feed is wrong\nengine is open, 1 losses in a row\n$/);
  const again = await cli("unlock", "engine", "--reason", "compared with the broker", "-o", "json");
  expect(JSON.parse(again.out)).toMatchObject({ opened: false, locks: [], risk: { mayTrade: true } });
});
