import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { bundled } from "../../test/support/bundle.ts";
import { HubMemory } from "../../test/support/link-hub.ts";
import { until, uplinkRig } from "../../test/support/uplink-rig.ts";

// A hub that is a process of its own: what signals do to it cannot be tried inside ours.
const { uplinkTo, papers } = uplinkRig();
const dir = mkdtempSync(join(tmpdir(), "uplink-"));
let program: string;
const started: ChildProcess[] = [];
beforeAll(async () => {
  program = await bundled("test/support/link-hub.main.ts");
});
afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function hubProcess(memory: string, port = "0", dieAfter = "0") {
  const papersPath = join(dir, "papers.json");
  writeFileSync(papersPath, JSON.stringify(papers().hub));
  const child = spawn(process.execPath, [program, papersPath, join(dir, memory), port, dieAfter], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  started.push(child);
  const [line] = await once(child.stdout, "data");
  return { child, port: String(line).trim() };
}

test("PHX-1 a hub that froze is noticed, and when it goes on the node is back with all it recorded, once", async () => {
  const { child, port } = await hubProcess("frozen");
  const { uplink, outbox, code } = uplinkTo(`127.0.0.1:${port}`, {
    policy: { openWithinMs: 500, welcomeWithinMs: 500 },
  });
  outbox.fill(100);
  await until(() => outbox.depth() === 0n);
  child.kill("SIGSTOP");
  outbox.fill(300);
  await until(() => code() === "HUB_UNREACHABLE");
  // Its kernel still takes connections; each try ends by our own deadline, and none of them is kept.
  await until(() => uplink.view().because.includes("within 0.5 s"));
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const sockets = () =>
    readFileSync("/proc/net/tcp", "utf8")
      .split("\n")
      .filter((line) => isOurs(line, Number(port)));
  // On a busy machine the one that is given up and the next may be seen together; if any were kept, they would only grow in number.
  await until(() => sockets().length <= 1);
  child.kill("SIGCONT");
  await until(() => outbox.depth() === 0n);
  expect(uplink.view().state).toBe("connected");
  expect(new HubMemory(join(dir, "frozen")).kept.get("g1")).toEqual(
    Array.from({ length: 400 }, (_, n) => BigInt(n + 1)),
  );
});

test("PHX-13 a hub that dies between durable and Ack, again and again, has every record exactly once", async () => {
  let { child, port } = await hubProcess("dying", "0", "2");
  const { outbox } = uplinkTo(`127.0.0.1:${port}`);
  outbox.fill(600);
  for (let deaths = 0; deaths < 5; deaths += 1) {
    const [, signal] =
      child.exitCode === null && child.signalCode === null ? await once(child, "exit") : [0, child.signalCode];
    expect(signal).toBe("SIGKILL");
    outbox.fill(50);
    ({ child, port } = await hubProcess("dying", port, deaths < 4 ? "2" : "0"));
  }
  await until(() => outbox.depth() === 0n);
  expect(new HubMemory(join(dir, "dying")).kept.get("g1")).toEqual(
    Array.from({ length: 850 }, (_, n) => BigInt(n + 1)),
  );
});

/** A line of /proc/net/tcp that is our open end (01: established) of a connection to the port. */
function isOurs(line: string, port: number): boolean {
  const [, , remote, state] = line.trim().split(/\s+/);
  return state === "01" && (remote ?? "").endsWith(`:${port.toString(16).toUpperCase().padStart(4, "0")}`);
}
