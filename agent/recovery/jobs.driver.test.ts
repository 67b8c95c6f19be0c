import { chmodSync, closeSync, copyFileSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Alerts } from "../records/alerts.driver.ts";
import { runProbe } from "../sensors/probe.driver.ts";
import { nodeLauncher } from "../supervise/launch.driver.ts";
import { Jobs } from "./jobs.driver.ts";

let dir: string;
let busy: string;
let writer: number;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-jobs-"));
  busy = join(dir, "program");
  copyFileSync("/bin/true", busy);
  chmodSync(busy, 0o755);
  writer = openSync(busy, "r+"); // somebody is just deploying it
});
afterEach(() => {
  closeSync(writer);
  rmSync(dir, { recursive: true, force: true });
});

test("a job, a page, a probe or a workload whose program was just being written ended the agent: ETXTBSY is thrown, and no event", async () => {
  const ended: string[] = [];
  const job = { name: "nightly", command: [busy] as const, everyMs: 1000, graceMs: 1000, file: join(dir, "done") };
  const jobs = new Jobs(
    [job],
    realClock(),
    (...words) => ended.push(words.join(" ")),
    () => false,
  );
  expect(jobs.trigger("nightly")).toEqual({ started: true });
  await expect.poll(() => ended).toEqual(["nightly false it could not be started (ETXTBSY)"]);
  jobs.close();

  const alerts = new Alerts(join(dir, "alerts"), [busy]);
  let told = 0;
  const alert = { kind: "opened", severity: "high", page: true, because: "x" } as const;
  // More pages than may run at once: each gives its place back.
  for (let n = 0; n < 6; n++)
    alerts.raise({ ...alert, nodeId: "n1", workload: "w", incidentId: `i${n}`, wallMs: 1e12 + n }, () => (told += 1));
  await alerts.close();
  expect(told).toBe(6);

  const ask = { by: "exec", command: [busy], cwd: dir } as const;
  const probe = { name: "busy", use: "liveness", everyMs: 1000, timeoutMs: 1000, failures: 1, ask } as const;
  expect(await runProbe(probe, new AbortController().signal)).toMatchObject({ ok: false });

  const launch = { file: busy, args: [], cwd: dir, env: {}, output: 1, exited: () => undefined };
  expect(nodeLauncher(launch)).toHaveProperty("failed");
});
