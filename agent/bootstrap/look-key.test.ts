import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { findKeks, makeKeyFile } from "../store/keys/key-file.ts";
import { Ring } from "../store/keys/ring.ts";
import { writeRingFile } from "../store/keys/ring-file.ts";
import { Look } from "./look.ts";
import { keyOf } from "./look-key.ts";
import { plan } from "./plan.ts";

const asked = { auto: false, start: false };
const children: ChildProcess[] = [];
let dir: string;
beforeEach(() => {
  vi.stubEnv("CREDENTIALS_DIRECTORY", undefined);
  dir = mkdtempSync(join(tmpdir(), "bf-look-key-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

const path = () => join(dir, "store.key");
/** A store that is sealed for the key in the file. */
function sealed(): void {
  writeRingFile(dir, Ring.make("o1", makeKeyFile(dir), undefined, 0).stored);
}
const key = () => keyOf(dir, { by: "words" }, undefined);

test.each<[string, string, () => void]>([
  ["is there", "there", () => undefined],
  ["is missing", "missing", () => rmSync(path())],
  ["is empty", "empty", () => truncateSync(path(), 0)],
  ["is cut", "no-key", () => truncateSync(path(), 20)],
  ["is cut to what has the length of a key", "another", () => truncateSync(path(), 32)],
  ["is garbage", "no-key", () => writeFileSync(path(), "not a key\n")],
  ["is another store's", "another", () => writeFileSync(path(), "ab".repeat(32))],
  ["is a folder", "no-key", () => [rmSync(path()), mkdirSync(path())]],
])("SYN-5 the key of the store, told apart without our other code: it %s", (_title, is, change) => {
  sealed();
  change();
  expect(key()).toMatchObject({ path: path(), is, sealed: true, entrusted: undefined, aside: `${path()}.aside` });
});

test("a key that the service manager has is seen where it lies; what was moved aside before is not written over", () => {
  sealed();
  const credentials = join(dir, "credentials");
  mkdirSync(credentials);
  copyFileSync(path(), join(credentials, "blueflame-store-key"));
  vi.stubEnv("CREDENTIALS_DIRECTORY", credentials);
  expect(findKeks({ dataDir: dir }).map(({ is }) => is)).toEqual(["credential"]); // the same key in both
  writeFileSync(`${path()}.aside`, "");
  expect(key()).toMatchObject({ credential: join(credentials, "blueflame-store-key"), aside: `${path()}.aside-1` });
});

/** A program that says of its store what it is told to, and as an agent holds it and warns of it. */
function program(says: string): readonly string[] {
  const script = join(dir, "program.mjs");
  const source = `
    import { readFileSync, writeFileSync } from "node:fs";
    import { createServer } from "node:net";
    const says = ${JSON.stringify(says)};
    const word = process.argv[2];
    if (word === "--version") console.log("1.2.3");
    if (word === "store") { console.error(says); process.exit(1); }
    if (word === "status") console.log(JSON.stringify({ warnings: [says], workloads: [] }));
    if (word === "up") createServer((socket) => socket.destroy()).listen(${JSON.stringify(join(dir, "agent.sock"))}, () => {
      const started = readFileSync("/proc/self/stat", "latin1").split(") ")[1].split(" ")[19];
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
      writeFileSync(${JSON.stringify(join(dir, "store.lock"))}, JSON.stringify({ pid: process.pid, started, boot }));
      console.log("up");
    });`;
  writeFileSync(script, source);
  return [process.execPath, script];
}
const said = "[STORE_KEY_MISSING] there is no key for the store in '/d'. The store is sealed and its key is gone.";
const closed = { is: "closed", code: "STORE_KEY_MISSING", because: "there is no key for the store in '/d'" };

test("SYN-5 a store whose key is gone is closed, and not unknown: by its own command, and by the agent that guards from memory", async () => {
  const self = program(said);
  const around = { dataDir: dir, asked, self, lastAutoAgoMs: undefined };
  expect((await new Look(around).look()).store).toMatchObject(closed);
  const [node = "", script = ""] = self;
  const agent = spawn(node, [script, "up"], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(agent);
  await new Promise((resolve) => agent.stdout.once("data", resolve));
  mkdirSync(join(dir, "store"));
  writeFileSync(join(dir, "store", "CURRENT"), "");
  const found = await new Look(around).look();
  expect(found.agent).toMatchObject({ is: "answers", pid: agent.pid });
  expect(found.store).toMatchObject(closed);
});

test("SYN-5 an empty store key, a loose one and a workload's own file are not taken for a key of the link", async () => {
  sealed();
  truncateSync(path(), 0);
  writeFileSync(join(dir, "workload.key"), "", { mode: 0o644 });
  const look = () => new Look({ dataDir: dir, asked, self: program(said), lastAutoAgoMs: undefined }).look();
  const found = await look();
  expect(found.secrets.map(({ path: at, opens, is }) => [at, opens, is])).toEqual([[path(), "store", "empty"]]);
  expect(plan(found, []).troubles.map(({ code }) => code)).not.toContain("CERT_UNUSABLE");
  writeFileSync(path(), "ab".repeat(32));
  chmodSync(path(), 0o640);
  expect((await look()).secrets).toMatchObject([{ opens: "store", is: "loose" }]);
});
