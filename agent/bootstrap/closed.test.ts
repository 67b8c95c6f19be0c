/** What may not be opened, and what is no file: told for what it is, and mended. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { allDead, well } from "../../test/support/node-findings.ts";
import { act } from "./act.ts";
import type { Findings, SecretFound } from "./findings.ts";
import { writeGoodCopy } from "./good-copy.ts";
import { Look } from "./look.ts";
import { closedIn } from "./look-closed.ts";
import { plan } from "./plan.ts";
import { type Done, type Step, wordsOf } from "./steps.ts";
import { storeUnder, troubleOf } from "./trouble.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-closed-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const did = (step: Step, ok = true, because = "done"): Done => ({ step, ok, because });
const planned = (change: Partial<Findings>, done: readonly Done[] = []) => plan({ ...well, ...change }, done);
const stepsOf = (change: Partial<Findings>, done: readonly Done[] = []) => planned(change, done).steps.map(wordsOf);
const modeOf = (path: string) => statSync(path).mode & 0o777;
function look(): Look {
  const script = join(dir, "program.mjs");
  writeFileSync(script, 'if (process.argv[2] === "--version") console.log("1.2.3"); else process.exitCode = 1;');
  const self = [process.execPath, script];
  return new Look({ dataDir: dir, asked: { auto: false, start: false }, self, lastAutoAgoMs: undefined });
}

test("files of the store that their own user may not read are opened to it, and so is what lies in a closed folder", async () => {
  const inner = join(dir, "snapshots", "1");
  for (const folder of [join(dir, "store"), join(dir, "a workload's"), inner]) mkdirSync(folder, { recursive: true });
  const shut = ["store/CURRENT", "snapshots/1/data", "start.json", "store.witness"].map((name) => join(dir, name));
  const others = [join(dir, "a workload's", "object"), join(dir, "store.key")];
  for (const path of [...shut, ...others]) writeFileSync(path, "{}");
  writeFileSync(join(dir, "store", "000001.ldb"), "read only", { mode: 0o400 });
  for (const path of [...shut, ...others, inner]) chmodSync(path, 0);
  const looker = look();
  const found = await looker.look();
  expect(found.closed.count).toBeGreaterThanOrEqual(4);
  expect(await act({ do: "openFiles", path: dir }, found, looker)).toMatchObject({ ok: true });
  expect(shut.map(modeOf)).toEqual([0o600, 0o600, 0o600, 0o600]);
  expect([modeOf(inner), modeOf(join(dir, "store", "000001.ldb"))]).toEqual([0o700, 0o600]);
  expect(others.map(modeOf)).toEqual([0, 0]);
  expect(closedIn(dir)).toEqual([]);
});

test("files that may not be read are a round's first work, and what nobody may open has its command", () => {
  const closed = { count: 3, first: "/d/store/CURRENT" };
  expect(stepsOf({ ...allDead, closed })).toEqual(["openFiles /d"]);
  const done = [did({ do: "openFiles", path: "/d" }, false, "EPERM")];
  const { troubles, steps } = planned({ ...allDead, closed, self: 1000, owner: { uid: 1000, gid: 100 } }, done);
  expect(troubles).toMatchObject([{ code: "DATA_DIR_UNUSABLE" }]);
  expect(troubles[0]?.commands[0]).toBe("sudo chmod -R u+rwX /d");
  expect(steps.map(wordsOf)).toEqual(["startAll watchdog"]); // it guards from memory
});

test("a living agent that may not read its store is not told as well: the agent has it", () => {
  const line = "[STORE_WRITE_FAILED] '/d/store/CURRENT' may not be read: EACCES";
  expect(troubleOf(["[HUB_UNREACHABLE] nobody", line])).toBe(line);
  expect(troubleOf(["[STORE_WRITE_FAILED] no snapshot of the store was taken: 1 bytes are free"])).toBeUndefined();
  const store = { ...well.store, is: "refused", code: "STORE_WRITE_FAILED", because: line } as const;
  expect(stepsOf({ store })).toEqual(["awaitStore 5000"]);
  const waited = [did({ do: "awaitStore", forMs: 5000 }, false, "")];
  const { verdicts, troubles } = planned({ store }, waited);
  expect(verdicts.find(({ part }) => part === "store")?.state).toBe("broken");
  expect(troubles).toMatchObject([{ code: "STORE_WRITE_FAILED" }]);
  expect(troubles[0]?.commands[0]).toBe("chmod -R u+rwX /d");
  const full = planned({ store: { ...store, because: "write: ENOSPC" } }, waited).troubles[0]?.commands;
  expect(full?.[0]).toBe("# free space on /, then:");
});

test("a disk with room that fails to read was one to free space on", () => {
  const because = "cannot open '/d/store': IO error: /d/store/CURRENT: Input/output error";
  const store = { ...well.store, is: "refused", code: "STORE_WRITE_FAILED", because } as const;
  const commands = planned({ ...allDead, store }).troubles[0]?.commands ?? [];
  expect(commands[0]).toMatch(/^# look at \/: its space, how it is mounted/);
  expect(commands.at(-1)).toMatch(/emergency/);
});

test("a store of another owner was told twice, the second time as a disk to free space on", () => {
  const because = "cannot open '/d/store': IO error: /d/store/LOCK: Permission denied";
  const store = { ...well.store, is: "refused", code: "STORE_WRITE_FAILED", because } as const;
  const owned = { self: 1000, owner: { uid: 1000, gid: 100 } };
  const foreign = { count: 9, first: "/d/store" };
  const told = planned({ ...allDead, ...owned, foreign, store });
  expect(told.steps).toEqual([]);
  expect(told.troubles).toMatchObject([{ code: "DATA_DIR_UNUSABLE" }]);
  expect(told.troubles[0]?.commands[0]).toBe("sudo chown -R 1000:100 /d");
  const { troubles } = planned({ ...allDead, ...owned, store });
  expect(troubles[0]?.commands[0]).toBe("sudo chmod -R u+rwX /d");
});

test("files of the store that vanish under an agent that lives were called a disk that refuses, once it had tried to write", () => {
  const refused = "[STORE_WRITE_FAILED] cannot write";
  expect(storeUnder(7, true, refused)).toMatchObject({ is: "damaged", code: "STORE_MISSING" });
  expect(storeUnder(7, true, undefined)).toMatchObject({ is: "damaged", code: "STORE_MISSING" });
  expect(storeUnder(7, true, "[STORE_KEY_MISSING] gone")).toMatchObject({ is: "closed", code: "STORE_KEY_MISSING" });
  expect(storeUnder(7, false, refused)).toMatchObject({ is: "refused", code: "STORE_WRITE_FAILED" });
  expect(storeUnder(7, false, "[STORE_DAMAGED] row 1")).toMatchObject({ is: "damaged", code: "STORE_DAMAGED" });
  expect(storeUnder(7, false, undefined)).toEqual({ is: "in-use", code: "", because: "the agent (pid 7) has it" });
});

test("a left-over socket of mode 000 is not somebody who listens: it makes way, and that of a living agent is opened", async () => {
  const path = join(dir, "agent.sock");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    chmodSync(path, 0);
    expect((await look().look()).socket).toBe("barred");
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
  expect(stepsOf({ ...allDead, socket: "barred" })).toEqual(["moveAside /d/agent.sock"]);
  expect(stepsOf({ socket: "barred", agent: { is: "silent", pid: 2, because: "" } })).toEqual([
    "setMode /d/agent.sock 600",
  ]);
});

test("a directory in the place of config or program is told as one, is moved aside, and the good copy takes its place", async () => {
  const [config, binary] = [join(dir, "agent.yaml"), join(dir, "binary")];
  for (const path of [config, binary]) writeFileSync(path, "it is sound\n");
  const files = [config, binary].map((target) => ({ source: target, target, name: target.slice(dir.length + 1) }));
  writeGoodCopy(dir, files, "1.2.3");
  for (const path of [config, binary]) {
    rmSync(path);
    mkdirSync(path);
    writeFileSync(join(path, "a person's"), "work");
  }
  const looker = look();
  const found = await looker.look();
  expect(found.config).toMatchObject({ path: config, is: "no-file", because: "is a directory", copy: "sound" });
  expect(found.files.find(({ target }) => target === binary)?.differs).toBe("is a directory");
  expect(planned({ config: found.config }).verdicts.find(({ part }) => part === "config")?.saw).toMatch(
    /agent\.yaml is a directory/,
  );
  for (const name of ["agent.yaml", "binary"])
    expect(await act({ do: "reinstall", name }, found, looker)).toMatchObject({ ok: true });
  for (const path of [config, binary]) {
    expect(readFileSync(path, "utf8")).toBe("it is sound\n");
    expect(existsSync(join(`${path}.damaged`, "a person's"))).toBe(true);
  }
  expect(readdirSync(dir).filter((name) => name.endsWith(".new"))).toEqual([]);
});

test("a store key of mode 000 is no key that others could read until now", () => {
  const key: SecretFound = { path: "/d/store.key", opens: "store", is: "unreadable", because: "", mode: 0, uid: 0 };
  const [step] = planned({ secrets: [key] }).steps;
  expect(step && wordsOf(step)).toBe("setMode /d/store.key 600");
  const saw = (done: readonly Step[]) =>
    planned(
      { secrets: [{ ...key, is: "well" }] },
      done.map((one) => did(one)),
    ).verdicts.find(({ part }) => part === "secrets")?.saw;
  expect(saw(step ? [step] : [])).toBe("done");
  const [loose] = planned({ secrets: [{ ...key, is: "loose", mode: 0o644 }] }).steps;
  expect(saw(loose ? [loose] : [])).toContain("rotate-key --kek");
  // Only what belongs to somebody else is given back.
  expect(stepsOf({ secrets: [{ ...key, uid: 1000 }] })).toEqual(["takeOver /d/store.key"]);
});
