// Programs that speak systemd's notify protocol, under the shipped agent: there is no systemd, and none is needed.

import { spawn } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { afterEach, beforeAll, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { AgentRig, healed } from "../prove/rig.ts";
import { requireTool } from "../tools.ts";
import { built } from "./built.ts";

const pace = { backoff: { reset_after: "500ms" }, probation: "1s" };
const rigs: AgentRig[] = [];

beforeAll(() => built("blueflame-agent"));
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});

function rigOf(workload: { readonly name: string } & Readonly<Record<string, unknown>>): AgentRig {
  const rig = new AgentRig({ workloads: [{ ...pace, notify: true, ...workload }] });
  rigs.push(rig);
  return rig;
}

test("GRC-12 redis with `supervised systemd` is starting while it loads, runs when it says so, in its own words, and outlives an agent", async (context) => {
  // It loads for as long as its append-only file says; its socket is open meanwhile.
  const loadMs = 2500;
  const dir = mkdtempSync(join(tmpdir(), "bf-redis-"));
  const words = (...all: string[]) => `*${all.length}\r\n${all.map((w) => `$${w.length}\r\n${w}\r\n`).join("")}`;
  const source = join(dir, "aof");
  writeFileSync(source, words("SELECT", "0") + words("DEBUG", "SLEEP", String(loadMs / 1000)));
  copyFileSync(source, join(dir, "appendonly.aof"));
  const options = `--port 0 --unixsocket ${dir}/redis.sock --dir ${dir} --appendonly yes --enable-debug-command yes --supervised systemd`;
  const rig = rigOf({ name: "redis", command: [requireTool(context, "redis-server"), ...options.split(" ")] });
  try {
    await rig.start();
    await rig.until("redis has opened its socket", async () => existsSync(`${dir}/redis.sock`));
    expect(await rig.workload("redis")).toMatchObject({ phase: WorkloadPhase.STARTING });
    const first = await rig.well("redis");
    expect(first.because).toBe("Ready to accept connections");
    expect(Date.now() - Number((first.startedAt?.seconds ?? 0n) * 1000n)).toBeGreaterThan(loadMs * 0.8);

    await rig.kill();
    await rig.start();
    expect(await rig.well("redis")).toMatchObject({ pid: first.pid, adopted: true });

    const faultMs = Date.now();
    process.kill(first.pid, "SIGKILL");
    // It loads again, and only then its recovery counts as verified.
    const { symptom, healthyMs } = await healed(rig, "redis", faultMs);
    expect(symptom).toBe("crash");
    expect(healthyMs).toBeGreaterThan(loadMs * 0.8);
  } finally {
    await rig.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test("GRC-12 a program that beats by WATCHDOG=1 is found frozen when it no longer does, though it goes on writing statuses", async (context) => {
  const program = `
import os, signal, socket, time
busy = False
def stuck(*_):
    global busy
    busy = True
signal.signal(signal.SIGUSR1, stuck)
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
one.connect(os.environ["NOTIFY_SOCKET"])
one.send(b"READY=1\\nSTATUS=beats every " + os.environ["WATCHDOG_USEC"].encode() + b" us")
while True:
    time.sleep(0.2)
    one.send(b"STATUS=busy" if busy else b"WATCHDOG=1")
`;
  const rig = rigOf({
    name: "beater",
    command: [requireTool(context, "python3"), "-c", program],
    beat: { timeout: "2s" },
  });
  await rig.start();
  const first = await rig.well("beater");
  expect(first.because).toBe("beats every 2000000 us");
  process.kill(first.pid, "SIGUSR1");
  const { symptom, detectedMs } = await healed(rig, "beater", Date.now());
  expect(symptom).toBe("frozen");
  expect(detectedMs).toBeGreaterThan(1000);
  expect((await rig.workload("beater")).pid).not.toBe(first.pid);
});

test("without the prebuilt addon such a workload is guarded like any other, and status says so", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-plain-"));
  const data = join(dir, "d");
  try {
    for (const file of ["blueflame-agent.cjs", "native"])
      cpSync(inRoot("dist", file), join(dir, file), { recursive: true });
    rmSync(join(dir, "native", `koffi.linux-${process.arch}.node`), { force: true });
    const config = { workloads: [{ name: "sleeper", notify: true, command: ["/bin/sleep", "1000"] }] };
    writeFileSync(join(dir, "agent.yaml"), JSON.stringify(config));
    const agent = (...args: string[]) => {
      const child = spawn(process.execPath, [join(dir, "blueflame-agent.cjs"), ...args, "--data-dir", data]);
      let out = "";
      child.stdout.on("data", (more) => {
        out += more;
      });
      return { child, ended: new Promise<string>((resolve) => child.once("close", () => resolve(out))) };
    };
    const up = agent("up", "--config", join(dir, "agent.yaml"));
    let status = "";
    for (let n = 0; n < 100 && !/sleeper +running/.test(status); n++) status = await agent("status").ended;
    expect(status).toMatch(/sleeper +running +healthy/);
    expect(status).toMatch(
      /warning: 'sleeper' is guarded without systemd's notify protocol: .*@koromix\/koffi is missing/,
    );
    await agent("down").ended;
    await up.ended;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
