import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type OpenedAgentStore, openAgentStore } from "./agent-store.ts";

let dir: string;
let store: OpenedAgentStore;
const open = () =>
  openAgentStore(dir, { clock: realClock(), random: seeded(7), nodeId: undefined, defaultNodeId: "here", bootId: "b" });
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-config-versions-"));
  store = await open();
});
afterEach(async () => {
  await store.close();
  rmSync(dir, { recursive: true, force: true });
});

const bytes = (text: string) => new TextEncoder().encode(text);
const held = async (workload: string, sums: readonly string[]) =>
  Object.fromEntries(
    [...(await store.configContents(workload, sums))].map(([sum, value]) => [sum, new TextDecoder().decode(value)]),
  );

test("PHX-5 the last known good configuration is there after a restart of the agent, with what its files held", async () => {
  expect(await store.configVersions("engine")).toBeUndefined();
  const add = new Map([
    ["aa", bytes("port 1\n")],
    ["bb", bytes("")],
  ]);
  await store.saveConfigVersions("engine", { history: { versions: ["v1"] }, add, drop: [] });
  await store.close();
  store = await open();
  expect(await store.configVersions("engine")).toEqual({ versions: ["v1"] });
  expect(await held("engine", ["aa", "bb", "cc"])).toEqual({ aa: "port 1\n", bb: "" });
});

test("contents of one workload are not those of another, and what is dropped is gone", async () => {
  const add = new Map([["aa", bytes("one")]]);
  await store.saveConfigVersions("engine", { history: 1, add, drop: [] });
  await store.saveConfigVersions("engine2", { history: 2, add: new Map([["aa", bytes("two")]]), drop: [] });
  await store.saveConfigVersions("engine", { history: 3, add: new Map(), drop: ["aa"] });
  expect(await held("engine", ["aa"])).toEqual({});
  expect(await held("engine2", ["aa"])).toEqual({ aa: "two" });
});

test("a workload that is no longer guarded leaves nothing behind", async () => {
  const add = new Map([["aa", bytes("one")]]);
  for (const name of ["engine", "engine2"]) await store.saveConfigVersions(name, { history: name, add, drop: [] });
  await store.forgetWorkload("engine");
  expect(await store.configVersions("engine")).toBeUndefined();
  expect(await held("engine", ["aa"])).toEqual({});
  expect(await store.configVersions("engine2")).toBe("engine2");
  expect(await held("engine2", ["aa"])).toEqual({ aa: "one" });
});
