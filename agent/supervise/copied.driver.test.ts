import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ownLife } from "./copied.driver.ts";
import { environOf } from "./proc.driver.ts";

let dir: string;
let store: { owner: string; bootId: string };
const said: string[] = [];
const servers: Server[] = [];
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-copied-"));
  store = { owner: `copied-${process.pid}-${Math.random().toString(36).slice(2)}`, bootId: "boot" };
  for (const name of ["original", "copy"]) mkdirSync(join(dir, name));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const server of servers.splice(0)) server.close();
  said.length = 0;
  rmSync(dir, { recursive: true, force: true });
});

const at = (name: string) => join(dir, name);
const open = (name: string) => ownLife(at(name), store, (text) => said.push(text));

/** A workload of the agent of that directory. */
async function workload(name: string, owner = store.owner): Promise<void> {
  const env = { BLUEFLAME_MARK: `${owner}:engine:i1`, BLUEFLAME_SOCKET: at(`${name}/agent.sock`) };
  const child = spawn("/bin/sleep", ["120"], { detached: true, stdio: "ignore", env });
  children.push(child);
  for (let n = 0; n < 3000 && !environOf(child.pid ?? 0, "BLUEFLAME_SOCKET"); n++) await pause(10);
}

async function agent(name: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  servers.push(server);
  await new Promise<void>((listens) => server.listen(at(`${name}/agent.sock`), listens));
  return server;
}

test("the agent of a copied data directory adopts and ends none of the original's workloads, and knows its own again", async () => {
  await workload("original");
  await agent("original");
  expect(await open("original")).toEqual(store);
  const own = await open("copy");
  expect(own.owner).not.toBe(store.owner);
  // What its store remembers of the original's instances is of another boot.
  expect(own.bootId).not.toBe(store.bootId);
  expect(said).toEqual([expect.stringContaining(`a copy of '${at("original")}'`)]);
  await workload("copy", own.owner);
  expect(await open("copy")).toEqual(own);
  expect(said).toHaveLength(1);
});

test("a moved data directory, whose agent is gone, goes on with the workloads that live", async () => {
  await workload("original");
  expect(await open("copy")).toEqual(store);
  expect(said).toEqual([]);
});

test("a workload that was told of another agent's socket does not take all of this agent's workloads from it", async () => {
  await workload("original");
  await agent("original");
  await workload("copy");
  expect(await open("copy")).toEqual(store);
  expect(said).toEqual([]);
});
