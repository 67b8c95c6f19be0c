import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, type TestContext, test } from "vitest";
import { requireTool } from "../../test/tools.ts";
import { type ServiceNotifier, serviceNotifier } from "./sd-notify.driver.ts";

let dir: string;
let manager: ChildProcess | undefined;
let notifier: ServiceNotifier | undefined;
let heard: string[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-sd-"));
  heard = [];
});
afterEach(() => {
  notifier?.close();
  manager?.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

/** Another implementation of the receiving side: prints each message as one line. */
async function manage(context: TestContext, address: string): Promise<void> {
  const program = `
import socket, sys
one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
one.bind(("\\0" + sys.argv[1][1:]) if sys.argv[1][0] == "@" else sys.argv[1])
print("bound", flush=True)
while True: print(repr(one.recv(4096).decode()), flush=True)
`;
  const child = spawn(requireTool(context, "python3"), ["-c", program, address]);
  manager = child;
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (more: string) => {
    text += more;
    heard = text.split("\n").slice(1, -1);
  });
  for (let n = 0; n < 1000 && !text.includes("bound"); n++) await pause(10);
}

async function hears(count: number): Promise<string[]> {
  for (let n = 0; n < 1000 && heard.length < count; n++) await pause(10);
  return heard;
}

test.for(["path", "abstract"])(
  "GRC-12 under a service manager with a socket of the %s kind the agent says that it is ready, lives, and stops",
  async (kind, context) => {
    const address = kind === "path" ? join(dir, "notify") : `@blueflame-test-${process.pid}`;
    await manage(context, address);
    const env = { NOTIFY_SOCKET: address, WATCHDOG_USEC: "3000000", SYSTEMD_EXEC_PID: String(process.pid) };
    notifier = serviceNotifier(env, realClock());
    expect(notifier?.watchdogMs).toBe(3000);
    notifier?.watchdog();
    notifier?.ready("guards 3\nworkloads");
    notifier?.watchdog();
    notifier?.status("guards 2 workloads");
    notifier?.stopping();
    notifier?.watchdog();
    expect(await hears(6)).toEqual([
      "'WATCHDOG=1'",
      "'READY=1\\nSTATUS=guards 3 workloads'",
      "'WATCHDOG=1'",
      "'READY=1\\nSTATUS=guards 2 workloads'",
      "'STATUS=guards 2 workloads\\nSTOPPING=1'",
      "'WATCHDOG=1'",
    ]);
  },
);

test("below a watchdog, which is the unit's main process, the agent says that it is ready, and leaves the rest to it", async (context) => {
  const address = join(dir, "notify");
  await manage(context, address);
  notifier = serviceNotifier({ NOTIFY_SOCKET: address, WATCHDOG_USEC: "3000000", WATCHDOG_PID: "1" }, realClock());
  expect(notifier?.watchdogMs).toBeUndefined();
  notifier?.watchdog();
  notifier?.ready("guards 3 workloads");
  notifier?.status("guards 2 workloads");
  notifier?.stopping();
  await hears(1);
  await pause(100);
  expect(heard).toEqual(["'READY=1'"]);
});

test("what a manager that is not there yet did not hear is said again until it does", async (context) => {
  const address = join(dir, "notify");
  notifier = serviceNotifier({ NOTIFY_SOCKET: address }, realClock());
  notifier?.ready("guards nothing");
  await manage(context, address);
  expect(await hears(1)).toEqual(["'READY=1\\nSTATUS=guards nothing'"]);
});

test("where C functions cannot be called systemd's own program speaks for the agent", async (context) => {
  requireTool(context, "systemd-notify");
  const address = join(dir, "notify");
  await manage(context, address);
  notifier = serviceNotifier({ ...process.env, NOTIFY_SOCKET: address }, realClock(), null);
  notifier?.ready("guards 1 workload");
  expect((await hears(1))[0]).toBe("'READY=1\\nSTATUS=guards 1 workload'");
});

test("without a manager that asks, or with one that cannot be reached that way, there is no notifier", () => {
  expect(serviceNotifier({}, realClock())).toBeUndefined();
  expect(serviceNotifier({ NOTIFY_SOCKET: "vsock:2:1234" }, realClock())).toBeUndefined();
  notifier = serviceNotifier({ NOTIFY_SOCKET: join(dir, "none"), WATCHDOG_USEC: "soon" }, realClock());
  expect(notifier?.watchdogMs).toBeUndefined();
  expect(existsSync(join(dir, "none"))).toBe(false);
});
