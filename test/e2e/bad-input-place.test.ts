import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { environOf } from "@blueflame/agent/supervise/proc.driver.ts";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { built } from "./built.ts";
import { Folder, killed, leadersOf, statusOf, until } from "./programs.ts";

beforeAll(() => built("blueflame-agent", "blueflame-hub"));

let folder: Folder;
let dataDir: string;
beforeEach(() => {
  folder = new Folder();
  dataDir = join(folder.dir, "d");
});
afterEach(() => folder.clear());

const engine = (id: string) =>
  folder.file(
    `${id}.yaml`,
    JSON.stringify({ node: { id }, workloads: [{ name: "engine", command: ["sleep", "1000"] }] }),
  );
const free = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];

test("a second agent on the same data directory is refused, and the first one's workload is not touched", async () => {
  await folder.up(dataDir, "--config", engine("edge-1"));
  await until("it runs", () => leadersOf(dataDir).length === 1);
  const [pid] = leadersOf(dataDir);
  for (const args of [["--config", engine("edge-1")], ["--", "sleep", "5"], []]) {
    const ran = await folder.run("agent", "up", "--data-dir", dataDir, ...args);
    expect(ran).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringMatching(/\[STORE_LOCKED\] .*`kill PID` .*ends an agent alone/),
    });
  }
  expect(leadersOf(dataDir)).toEqual([pid]);
  expect((await statusOf(dataDir)).workloads[0]?.pid).toBe(pid);
});

test("the data directory of another node is refused, and left as it is", async () => {
  const agent = await folder.up(dataDir, "--config", engine("edge-1"));
  await until("it runs", () => leadersOf(dataDir).length === 1);
  await killed(agent);
  const pids = leadersOf(dataDir);
  const ran = await folder.run("agent", "up", "--data-dir", dataDir, "--config", engine("edge-2"));
  expect(ran).toMatchObject({ code: 1, err: expect.stringMatching(/\[DATA_DIR_OF_ANOTHER\] .*'edge-1'.*'edge-2'/) });
  expect(leadersOf(dataDir)).toEqual(pids);
  await folder.up(dataDir, "--config", engine("edge-1"));
  expect((await statusOf(dataDir)).nodeId).toBe("edge-1");
  expect(leadersOf(dataDir)).toEqual(pids);
});

test.each([
  ["is a file", "DATA_DIR_UNUSABLE"],
  ["cannot be made", "DATA_DIR_UNUSABLE"],
  ["has a path too long for a socket", "SOCKET_PATH_TOO_LONG"],
])("a data directory that %s is refused by name, and nothing is started", async (what, code) => {
  const places = { "is a file": folder.file("d", "mine"), "cannot be made": "/proc/blueflame" };
  const place = places[what as keyof typeof places] ?? join(folder.dir, "x".repeat(120));
  const ran = await folder.run("agent", "up", "--data-dir", place, "--config", engine("edge-1"));
  expect(ran.code).toBe(1);
  expect(ran.err).toMatch(new RegExp(`\\[${code}\\] `));
  expect(leadersOf(place)).toEqual([]);
  if (what === "is a file") expect(readFileSync(place, "utf8")).toBe("mine");
  else expect(existsSync(place)).toBe(false);
});

test("a store that is gone is not silently made anew", async () => {
  const agent = await folder.up(dataDir, "--config", engine("edge-1"));
  await killed(agent);
  for (const name of readdirSync(join(dataDir, "store"))) rmSync(join(dataDir, "store", name));
  const ran = await folder.run("agent", "up", "--data-dir", dataDir, "--config", engine("edge-1"));
  expect(ran).toMatchObject({ code: 1, err: expect.stringContaining("[STORE_MISSING]") });
});

test.each(["--grpc", "--http"])("a hub whose %s port is taken says so, and leaves nothing behind", async (option) => {
  const taken = createServer();
  const address = await new Promise<string>((resolve) => {
    taken.listen(0, "127.0.0.1", () => {
      const at = taken.address();
      resolve(typeof at === "object" && at ? `127.0.0.1:${at.port}` : "");
    });
  });
  const other = option === "--grpc" ? "--http" : "--grpc";
  const hub = ["serve", "--data-dir", join(folder.dir, "hub"), option, address, other, "127.0.0.1:0"];
  const ran = await folder.run("hub", ...hub);
  expect(ran).toMatchObject({ code: 1, err: expect.stringContaining("[PORT_IN_USE]") });
  expect(ran.err).toContain(address);
  expect(existsSync(join(folder.dir, "hub", "hub.json"))).toBe(false);
  await new Promise((closed) => taken.close(closed));
  // Nothing of it holds the store: the next one starts.
  const next = folder.start("hub", hub);
  await until("the hub listens", () => existsSync(join(folder.dir, "hub", "hub.json")));
  next.child.kill("SIGTERM");
  expect((await next.ended).code).toBe(0);
});

test("a hub whose data directory cannot be made is refused by name", async () => {
  for (const place of [folder.file("d", "mine"), "/proc/blueflame"]) {
    const ran = await folder.run("hub", "serve", "--data-dir", place, ...free);
    expect(ran).toMatchObject({ code: 1, out: "", err: expect.stringContaining("[DATA_DIR_UNUSABLE]") });
  }
});

test("a second hub on the same data directory is refused", async () => {
  const hub = ["serve", "--data-dir", join(folder.dir, "hub"), ...free];
  folder.start("hub", hub);
  await until("the hub listens", () => existsSync(join(folder.dir, "hub", "hub.json")));
  const ran = await folder.run("hub", ...hub);
  expect(ran).toMatchObject({ code: 1, err: expect.stringContaining("[STORE_LOCKED]") });
  expect(existsSync(join(folder.dir, "hub", "hub.json"))).toBe(true);
});

test("an agent has sixteen threads for the disk, and its workloads are not told so", async () => {
  const agent = await folder.up(dataDir, "--config", engine("edge-1"));
  await until("it runs", () => leadersOf(dataDir).length === 1);
  const tasks = `/proc/${agent.child.pid}/task`;
  const names = readdirSync(tasks).map((task) => readFileSync(`${tasks}/${task}/comm`, "utf8").trim());
  expect(names.filter((name) => name === "libuv-worker")).toHaveLength(16);
  expect(environOf(leadersOf(dataDir)[0] ?? 0, "UV_THREADPOOL_SIZE")).toBeUndefined();
});
