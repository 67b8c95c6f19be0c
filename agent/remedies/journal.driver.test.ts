import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Step } from "../playbooks/playbook.ts";
import { Journal } from "./journal.driver.ts";
import { begun, type Run, stepBegun } from "./progress.ts";

const lost: string[] = [];
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-journal-"));
  lost.length = 0;
});
afterEach(() => {
  expect(lost).toEqual([]);
  rmSync(dir, { recursive: true, force: true });
});

const step: Step = {
  ...{ name: "ask", timeoutMs: 1000, onFailure: "stop", once: false },
  action: { do: "http", method: "POST", port: 80, path: "/admin?token=hunter2secret", body: "hunter2secret" },
};
const run = (id: string, over: Partial<Run> = {}): Run => ({
  ...stepBegun(begun({ id, name: "mine", workload: "", incidentId: "", startedWallMs: 0, steps: [step] })),
  ...over,
});
const ended = { ok: true, because: "done" };
const journal = () => new Journal(dir, realClock(), (because) => lost.push(because));
const files = () => readdirSync(join(dir, "runs")).map((name) => join(dir, "runs", name));

test("a run that goes on is read back with all that its next step needs, and of one that has ended its answer is left", async () => {
  await journal().save(run("r1"));
  expect(await journal().unfinished()).toEqual([run("r1")]);
  await journal().save(run("r1", { atWork: false, ended }));
  expect(readFileSync(files()[0] ?? "", "utf8")).not.toContain("hunter2secret");
  expect(await journal().load("r1")).toMatchObject({ ended, steps: [{ name: "ask", action: { do: "http" } }] });
  expect(await journal().unfinished()).toEqual([]);
});

test("a run that an older version has kept whole answers as ever, and the next sweep leaves what is needed of it", async () => {
  await journal().save(run("r1"));
  const [path = ""] = files();
  writeFileSync(path, JSON.stringify({ format: 1, run: run("r1", { atWork: false, ended }) }));
  await journal().save(run("r2"));
  expect(await journal().load("r1")).toMatchObject({ ended });
  expect(await journal().sweep()).toEqual([]);
  expect(readFileSync(path, "utf8")).not.toContain("hunter2secret");
  expect(await journal().load("r1")).toMatchObject({ ended });
  expect(await journal().unfinished()).toEqual([run("r2")]);
});
