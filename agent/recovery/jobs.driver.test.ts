import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
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
  vi.unstubAllEnvs();
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

test("a job, a page and a probe were told where the agent's service manager listens and where it keeps the store's key", async () => {
  vi.stubEnv("NOTIFY_SOCKET", "/run/theirs");
  vi.stubEnv("CREDENTIALS_DIRECTORY", "/run/credentials");
  vi.stubEnv("OF_THE_AGENT", "inherited");
  const script = join(dir, "script");
  const seen = join(dir, "seen");
  writeFileSync(script, `#!/bin/sh\nenv > ${seen}.new; mv ${seen}.new ${seen}\n`, { mode: 0o755 });
  const ownOnly = async () => {
    await expect.poll(() => existsSync(seen), { timeout: 20_000 }).toBe(true);
    const env = readFileSync(seen, "utf8");
    rmSync(seen);
    expect(env).toContain("OF_THE_AGENT=inherited");
    expect(env).not.toMatch(/NOTIFY_SOCKET|CREDENTIALS_DIRECTORY/);
  };

  const job = { name: "nightly", command: [script] as const, everyMs: 1000, graceMs: 1000, file: join(dir, "done") };
  const free = () => false;
  const jobs = new Jobs([job], realClock(), () => undefined, free);
  jobs.trigger("nightly");
  await ownOnly();
  jobs.close();

  const alerts = new Alerts(join(dir, "alerts"), [script]);
  const alert = { kind: "opened", severity: "high", page: true, because: "x" } as const;
  alerts.raise({ ...alert, nodeId: "n1", workload: "w", incidentId: "i1", wallMs: 1e12 }, () => undefined);
  await ownOnly();
  await alerts.close();

  const ask = { by: "exec", command: [script], cwd: dir } as const;
  const probe = { name: "env", use: "liveness", everyMs: 1000, timeoutMs: 20_000, failures: 1, ask } as const;
  await runProbe(probe, new AbortController().signal);
  await ownOnly();
});

test.each([
  [
    "DOL-8 a late job that printed more than a mebibyte was killed midway, each time",
    "head -c 2000000 /dev/zero; : > done",
    true,
    "exit code 0",
  ],
  [
    "a job that left a process behind with its output held up all jobs after it",
    "sleep 30 & echo $! > pid; : > done",
    true,
    "exit code 0",
  ],
  ["a job that fails says how", ": > done; exit 3", false, "exit code 3"],
  ["a job that is killed says by what", ": > done; kill -9 $$", false, "ended by SIGKILL"],
] as const)("%s", async (_what, script, ok, because) => {
  const ended: string[] = [];
  const command = ["/bin/sh", "-c", `cd ${dir}; ${script}`] as const;
  const job = { name: "bars", command, everyMs: 1000, graceMs: 1000, file: join(dir, "done") };
  const jobs = new Jobs(
    [job],
    realClock(),
    (...words) => ended.push(words.join(" ")),
    () => false,
  );
  jobs.trigger("bars");
  await expect.poll(() => ended, { timeout: 20_000 }).toEqual([`bars ${ok} ${because}`]);
  expect(existsSync(job.file)).toBe(true);
  jobs.close();
  if (existsSync(join(dir, "pid"))) process.kill(Number(readFileSync(join(dir, "pid"), "utf8")));
});
