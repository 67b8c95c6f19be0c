import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { bundled } from "../../test/support/bundle.ts";

let program: string;
let dir: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  program = await bundled("test/support/remedy-run.main.ts");
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-durable-"));
  mkdirSync(join(dir, "playbooks"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

/** Runs it to its end, or until so many milliseconds after it is open, or until it holds; undefined when it was killed. */
function run(
  id: string,
  playbook: string,
  kill?: number | (() => boolean),
): Promise<{ ok: boolean; because: string } | undefined> {
  const child = spawn(process.execPath, [program, dir, id, playbook], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  let out = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
    if (out.startsWith("open\n") && typeof kill === "number") setTimeout(() => child.kill("SIGKILL"), kill);
  });
  const look = setInterval(() => {
    if (typeof kill === "function" && kill()) child.kill("SIGKILL");
  }, 5);
  return new Promise((resolve) =>
    child.on("exit", () => {
      clearInterval(look);
      const line = out.split("\n")[1];
      resolve(line ? JSON.parse(line) : undefined);
    }),
  );
}
function playbook(name: string, steps: string): void {
  writeFileSync(join(dir, "playbooks", `${name}.yaml`), `name: ${name}\ndescription: Ours.\nsteps:\n${steps}`);
}
/** Steps that each write that they begin and that they end, with time between. */
function slowSteps(count: number, once: readonly number[] = []): string {
  return Array.from({ length: count }, (_, n) => {
    const path = join(dir, `step-${n}`);
    writeFileSync(path, `#!/bin/sh\necho b${n} >> ${dir}/out\nsleep 0.15\necho e${n} >> ${dir}/out\n`, { mode: 0o755 });
    return `  - exec: {command: [${path}]}\n${once.includes(n) ? "    once: true\n" : ""}`;
  }).join("");
}
const lines = () => (existsSync(join(dir, "out")) ? readFileSync(join(dir, "out"), "utf8").trim().split("\n") : []);

test("GRC-3 SYN-3 killed at any moment, a run goes on where it was: no step is left out, and none before the one at work is done again", async () => {
  playbook("slow", slowSteps(6));
  let result: { ok: boolean; because: string } | undefined;
  let kills = 0;
  for (let round = 0; round < 30 && !result; round++) {
    // From right after the opening to the middle of the third step; towards the end it is let through.
    result = await run("r1", "slow", round < 8 ? 20 + round * 45 : undefined);
    if (!result) kills += 1;
  }
  expect(result).toMatchObject({ ok: true });
  expect(kills).toBeGreaterThanOrEqual(3);
  const ended = lines().filter((line) => line.startsWith("e"));
  const order = [...new Set(ended)];
  expect(order).toEqual(["e0", "e1", "e2", "e3", "e4", "e5"]);
  // Once a later step has begun, an earlier one never begins again.
  const begins = lines()
    .filter((line) => line.startsWith("b"))
    .map((line) => Number(line.slice(1)));
  expect(begins).toEqual([...begins].sort((a, b) => a - b));
  // Asked once more, it answers what it has answered.
  const before = lines().length;
  expect(await run("r1", "slow")).toEqual(result);
  expect(lines()).toHaveLength(before);
});

test("GRC-3 a step that must not be done twice is not: after a crash in it the run has failed, and says so", async () => {
  playbook("once", slowSteps(3, [1]));
  // Killed in the middle of the step: it has begun, and has not ended.
  expect(await run("r1", "once", () => lines().at(-1) === "b1")).toBeUndefined();
  expect(lines()).toContain("b1");
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await run("r1", "once")).toEqual({
    ok: false,
    because: "it had begun when the agent ended, and is not done twice",
  });
  expect(lines().filter((line) => line === "b1")).toHaveLength(1);
  expect(lines()).not.toContain("b2");
});

test("GRC-3 a file of a run kept what its steps had handed to programs for as long as 200 others took to end: only one that goes on needs it", async () => {
  const script = join(dir, "step");
  writeFileSync(script, `#!/bin/sh\necho "$@" >> ${dir}/out\nsleep 3\n`, { mode: 0o755 });
  playbook("secret", `  - name: first\n    exec: {command: [${script}, --pass, hunter2secret]}\n`);
  const kept = () => {
    const runs = join(dir, "agent", "runs");
    const names = existsSync(runs) ? readdirSync(runs).filter((one) => one.endsWith(".json")) : [];
    return names.map((name) => readFileSync(join(runs, name), "utf8"));
  };
  expect(await run("r1", "secret", () => lines().length > 0 && kept().length > 0)).toBeUndefined();
  expect(kept().join()).toContain("hunter2secret");
  // The next agent has a playbook of that name without them: it goes on with what was begun.
  playbook("secret", `  - exec: {command: [${script}]}\n`);
  const result = await run("r1", "secret");
  expect(result).toMatchObject({ ok: true });
  expect(lines()).toEqual(["--pass hunter2secret", "--pass hunter2secret"]);
  expect(kept().join()).not.toContain("hunter2secret");
  expect(JSON.parse(kept()[0] ?? "").run.steps).toEqual([{ name: "first", action: { do: "exec" } }]);
  expect(await run("r1", "secret")).toEqual(result);
  expect(lines()).toHaveLength(2);
});

test("GRC-4 killed in a wait, the next one waits for what is left of it: the time in which nobody was there counts", async () => {
  const waitMs = 4000;
  playbook("waits", `  - wait: {for: ${waitMs}ms}\n`);
  const runs = join(dir, "agent", "runs");
  const kept = () => {
    const [name] = existsSync(runs) ? readdirSync(runs).filter((one) => one.endsWith(".json")) : [];
    return name && JSON.parse(readFileSync(join(runs, name), "utf8")).run;
  };
  // Killed as soon as it is written down when the wait ends.
  expect(await run("r1", "waits", () => kept()?.intent !== undefined)).toBeUndefined();
  await new Promise((resolve) => setTimeout(resolve, waitMs));
  expect(await run("r1", "waits")).toMatchObject({ ok: true });
  // Begun anew it would have taken as long as the whole of it.
  expect(kept().records[0].tookMs).toBeLessThan(waitMs);
});

test("SYN-3 PRA-10 killed anywhere in a restore, the next one finishes it, and the data is whole", async () => {
  const data = join(dir, "data");
  mkdirSync(data);
  for (let n = 0; n < 40; n++) writeFileSync(join(data, `f${n}`), `good ${n}`);
  playbook("save", "  - backup: {}\n");
  expect(await run("b1", "save")).toMatchObject({ ok: true });
  for (let n = 0; n < 40; n++) writeFileSync(join(data, `f${n}`), "bad");
  let result: { ok: boolean } | undefined;
  for (let round = 0; round < 20 && !result; round++) {
    result = await run("r1", "restore", round < 8 ? round * 6 : undefined);
    // Whenever somebody looks, there is data: the old, or the new, and never half of it.
    const seen = existsSync(data) ? readdirSync(data) : [];
    if (seen.length > 0) expect(seen).toHaveLength(40);
  }
  expect(result).toMatchObject({ ok: true });
  for (let n = 0; n < 40; n++) expect(readFileSync(join(data, `f${n}`), "utf8")).toBe(`good ${n}`);
  expect(readdirSync(dir).filter((name) => name.includes("restoring"))).toEqual([]);
  expect(readdirSync(dir).filter((name) => name.includes("corrupt"))).toHaveLength(1);
});
