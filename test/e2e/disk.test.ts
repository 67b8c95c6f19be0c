import { execFileSync } from "node:child_process";
import {
  closeSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ask } from "@blueflame/agent/cli/ask.driver.ts";
import { procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { LinkState } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { canMount, type SmallDisk, smallDisk } from "../contract/small-disk.ts";
import { bundled } from "../support/bundle.ts";
import { built } from "./built.ts";
import { Folder, killed, leadersOf, type Started, statusOf, until } from "./programs.ts";

const mounts = canMount();

beforeAll(() => built("blueflame-agent"));

/** Two that run, and one that a person stops. They keep no file open on the disk, so that it can be made read-only. */
const quiet = "exec >/dev/null 2>&1; exec sleep 1000";
const config = JSON.stringify({
  node: { id: "edge-1" },
  workloads: ["one", "two", "halted"].map((name) => ({ name, command: ["/bin/sh", "-c", quiet] })),
});

describe.skipIf(!mounts)("a disk that refuses (needs the right to mount)", () => {
  let folder: Folder;
  let disk: SmallDisk;
  let dataDir: string;
  let configFile: string;
  beforeEach(() => {
    folder = new Folder();
    disk = smallDisk(48 * 1024 * 1024);
    dataDir = join(disk.dir, "d");
    configFile = folder.file("agent.yaml", config);
  });
  afterEach(async () => {
    remount("rw");
    disk.free();
    const last = (await statusOf(dataDir).catch(() => undefined))?.pid;
    await folder.clear();
    // It may be one that an agent has started in its own place, and holds files on this disk until it ends.
    if (last !== undefined) await gone(last);
    disk.remove();
  });

  const gone = (pid: number) => until("the agent is gone", () => (procStat(pid)?.state ?? "Z") === "Z");
  const remount = (how: "ro" | "rw") => execFileSync("mount", ["-o", `remount,${how}`, disk.dir]);
  /** To the last byte. */
  const fillUp = () => {
    disk.fill(0);
    const crumbs = openSync(join(disk.dir, "ballast"), "a");
    try {
      for (;;) writeSync(crumbs, Buffer.alloc(4096));
    } catch {
      closeSync(crumbs);
    }
  };
  const up = () => folder.up(dataDir, "--config", configFile);
  const runs = async (name: string) =>
    until(`${name} runs`, async () => {
      const found = (await statusOf(dataDir)).workloads.find((one) => one.name === name);
      return found?.phase === WorkloadPhase.RUNNING && leadersOf(dataDir, name).length === 1;
    });
  const only = (name: string) => {
    const pids = leadersOf(dataDir, name);
    expect(pids).toHaveLength(1);
    return pids[0] ?? 0;
  };
  const refused = async () => (await statusOf(dataDir)).warnings.filter((line) => line.includes("STORE_WRITE_FAILED"));

  /** The store opens, and the agent makes way for one that has read what the node remembers. Resolves with the next one's PID. */
  async function openedLate(before: Started): Promise<number> {
    let pid = 0;
    await until(
      "the next agent guards, durably",
      async () => {
        const seen = await statusOf(dataDir).catch(() => undefined);
        pid = seen?.pid ?? 0;
        return (
          pid > 0 && pid !== before.child.pid && !seen?.warnings.some((line) => line.includes("STORE_WRITE_FAILED"))
        );
      },
      40_000,
    );
    return pid;
  }
  /** One that was not started here. */
  async function killedByPid(pid: number): Promise<void> {
    process.kill(pid, "SIGKILL");
    await gone(pid);
  }

  /** A node that has lived: two run, one is stopped by a person, and then the agent dies. */
  async function livedOnce(): Promise<{ one: number; two: number }> {
    const agent = await up();
    await runs("one");
    await runs("two");
    await runs("halted");
    expect((await folder.run("agent", "stop", "halted", "--data-dir", dataDir)).code).toBe(0);
    const pids = { one: only("one"), two: only("two") };
    await killed(agent);
    return pids;
  }

  /** What must hold over each start, whatever the disk does. */
  async function nothingDoubled(pids: { one: number; two: number }): Promise<void> {
    await pause(1500); // long enough for a wrong start
    expect(leadersOf(dataDir, "one")).toEqual([pids.one]);
    expect(leadersOf(dataDir, "two")).toEqual([pids.two]);
    expect(leadersOf(dataDir, "halted")).toEqual([]);
  }

  test("GRC-7 PHX-5 an agent that starts on a full disk guards from memory, and goes on durably when there is room", async () => {
    const pids = await livedOnce();
    fillUp();
    let agent = await up();
    await nothingDoubled(pids);
    expect(await refused()).toHaveLength(1);
    const doctor = await folder.run("agent", "doctor", "--data-dir", dataDir);
    expect(doctor.out).toMatch(/^store +fail .*No space left|^store +fail .*ENOSPC/m);

    process.kill(pids.one, "SIGKILL");
    await until("one is healed", () => leadersOf(dataDir, "one").some((pid) => pid !== pids.one));
    await runs("one");
    // Nothing is acknowledged that is not durable, and nothing is said to be absent.
    const stop = await folder.run("agent", "stop", "two", "--data-dir", dataDir);
    expect(stop.err).toContain("[STORE_WRITE_FAILED]");
    const audit = await folder.run("agent", "audit", "--data-dir", dataDir);
    expect(audit.err).toContain("[STORE_WRITE_FAILED]");
    await until("two is stopped all the same", () => leadersOf(dataDir, "two").length === 0);

    const healed = only("one");
    disk.free();
    await killedByPid(await openedLate(agent));
    agent = await up();
    await pause(1500);
    expect(leadersOf(dataDir, "one")).toEqual([healed]);
    expect([leadersOf(dataDir, "two"), leadersOf(dataDir, "halted")]).toEqual([[], []]);
    const said = await folder.run("agent", "audit", "-n", "100", "-o", "json", "--data-dir", dataDir);
    expect(said.out).toContain("store.opened_late");
    expect((await statusOf(dataDir)).session).toBe(4n);
  });

  test("PHX-11 SYN-10 an incident that ended while the disk was full is closed once there is room, and the audit says what is missing", async () => {
    const { workloads } = JSON.parse(config) as { workloads: object[] };
    const short = { workloads: workloads.map((one) => ({ ...one, probation: "4s" })) };
    configFile = folder.file("agent.yaml", JSON.stringify({ ...JSON.parse(config), ...short }));
    await up();
    await runs("one");
    await runs("two");
    const incidentOf = async (name: string) =>
      (await statusOf(dataDir)).workloads.find((one) => one.name === name)?.incidentId;
    process.kill(only("one"), "SIGKILL");
    await until("it has an incident", async () => (await incidentOf("one")) !== "");
    fillUp();
    await until("the disk refuses", async () => {
      await folder.run("agent", "restart", "two", "--data-dir", dataDir);
      return (await refused()).length > 0;
    });
    await until("it is well again", async () => (await incidentOf("one")) === "");
    disk.free();
    await until("the store is open", async () => (await refused()).length === 0);
    const cli = (...words: string[]) => folder.run("agent", ...words, "-o", "json", "--data-dir", dataDir);
    await until("the audit says so", async () => (await cli("audit", "-n", "100")).out.includes("store.writes_again"));
    // The node has one of its own: its disk was full.
    await until("it is closed", async () => !(await cli("incidents", "--open")).out.includes('"workload": "one"'));
    expect((await cli("incidents")).out).toContain('"workload": "one"');
    const said = (await cli("audit", "-n", "100")).out;
    expect(said.match(/store\.writes_again/g)).toHaveLength(1);
    expect(said).toMatch(/since \S+ until \S+ the disk .* has not acknowledged \d+ decisions, \d+ audit records/);
  });

  test("GRC-7 PHX-5 an agent that starts on a read-only disk guards without store, socket and output files", async () => {
    const pids = await livedOnce();
    remount("ro");
    const agent = folder.start("agent", ["up", "--data-dir", dataDir, "--config", configFile]);
    await until("it guards", () => agent.err().includes("the agent guards its node") || agent.child.exitCode !== null);
    expect(agent.err()).toContain("guarded from memory");
    expect(agent.err()).toContain("[DATA_DIR_UNUSABLE]");
    await nothingDoubled(pids);
    process.kill(pids.two, "SIGKILL");
    await until("two is healed", () => leadersOf(dataDir, "two").some((pid) => pid !== pids.two));
    await until("it is told", () => agent.err().includes("the output of 'two' is lost"));

    // Nobody else may guard the same workloads, although this disk takes no lock file.
    const second = await folder.run("agent", "up", "--data-dir", dataDir, "--config", configFile);
    expect(second).toMatchObject({ code: 1, err: expect.stringContaining("[STORE_LOCKED]") });

    remount("rw");
    await until("it answers", async () => (await statusOf(dataDir).catch(() => undefined)) !== undefined);
    const two = only("two");
    const next = await openedLate(agent);
    const warnings = (await statusOf(dataDir)).warnings;
    expect(warnings.filter((line) => !line.startsWith("the output of 'two'"))).toEqual([]);
    await nothingDoubled({ one: pids.one, two });
    await killedByPid(next);
    await up();
    await nothingDoubled({ one: pids.one, two });
  });

  test("GRC-7 what a person stopped stays stopped through a reboot onto a full disk, and what ran is started", async () => {
    const pids = await livedOnce();
    process.kill(pids.one, "SIGKILL");
    process.kill(pids.two, "SIGKILL");
    fillUp();
    const agent = await up();
    await runs("one");
    await runs("two");
    expect(leadersOf(dataDir, "halted")).toEqual([]);
    // A person's start is taken, and told to be not durable yet.
    expect((await folder.run("agent", "start", "halted", "--data-dir", dataDir)).err).toContain("[STORE_WRITE_FAILED]");
    await runs("halted");
    disk.free();
    await until("it is durable", () => !readFileSync(join(dataDir, "stopped.json"), "utf8").includes("halted"));
    await openedLate(agent);
    await runs("halted");
  });

  test("GRC-7 a stop is not undone by an older copy of the store that lies there when a full disk has room again", async () => {
    const store = join(dataDir, "store");
    const first = await up();
    await runs("halted");
    await killed(first);
    cpSync(store, join(disk.dir, "older"), { recursive: true });
    await livedOnce();
    await killed(await up()); // it finds the stop, and has nothing to change about it
    fillUp();
    const agent = await up();
    await runs("one");
    for (const path of [store, `${store}.witness`]) rmSync(path, { recursive: true });
    renameSync(join(disk.dir, "older"), store);
    disk.free();
    await openedLate(agent);
    await runs("one");
    await pause(3000);
    expect(leadersOf(dataDir, "halted")).toEqual([]);
    const halted = (await statusOf(dataDir)).workloads.find(({ name }) => name === "halted");
    expect(halted?.phase).toBe(WorkloadPhase.STOPPED);
  });

  test("PRA-7 what was spent of an error budget is not forgotten by a start on a full disk", async () => {
    const one = { name: "one", command: ["/bin/sh", "-c", quiet], backoff: { base: "3s", cap: "3s" } };
    configFile = folder.file("agent.yaml", JSON.stringify({ sensors: { every: "1s" }, workloads: [one] }));
    const budgetLeft = async () => {
      const { workloads } = await ask(dataDir, (desk) => desk.getHealth({}));
      return workloads[0]?.objectives.find(({ name }) => name === "availability")?.budgetLeft ?? 1;
    };
    let agent = await up();
    await runs("one");
    await until("its downtime is counted", async () => {
      for (const pid of leadersOf(dataDir, "one")) process.kill(pid, "SIGKILL");
      return (await budgetLeft()) < 1;
    });
    await runs("one");
    agent.child.kill("SIGTERM");
    await agent.ended;
    fillUp();
    agent = await up();
    await runs("one");
    disk.free();
    const next = await openedLate(agent);
    expect(await budgetLeft()).toBeLessThan(1);
    process.kill(next, "SIGTERM"); // it writes down what it knows
    await gone(next);
    await up();
    expect(await budgetLeft()).toBeLessThan(1);
  });

  test("PHX-4 who beats is not taken for frozen when its agent comes back on a full or a read-only disk", async () => {
    const beater = await bundled("test/support/beater.main.ts");
    const command = ["/bin/sh", "-c", `exec ${process.execPath} ${beater} >/dev/null 2>&1`];
    configFile = folder.file(
      "agent.yaml",
      JSON.stringify({ workloads: [{ name: "one", command, beat: { timeout: "1s" } }] }),
    );
    await killed(await up());
    fillUp();
    let agent = await up();
    await runs("one");
    const pid = only("one");
    await pause(3000);
    expect(only("one")).toBe(pid);
    await killed(agent);
    remount("ro");
    agent = folder.start("agent", ["up", "--data-dir", dataDir, "--config", configFile]);
    await until("it guards", () => agent.err().includes("the agent guards its node"));
    await pause(3000);
    expect(only("one")).toBe(pid);
    remount("rw");
    disk.free();
    await until("it answers", async () => (await statusOf(dataDir).catch(() => undefined)) !== undefined);
    await pause(12_000); // by then a beat is no longer assumed
    expect(only("one")).toBe(pid);
    process.kill(pid, "SIGSTOP");
    await until("the frozen one is replaced", () => !leadersOf(dataDir, "one").includes(pid));
  });

  test("the hub sees a node whose store does not open, and gets what was waiting once it does", async () => {
    const hubDir = join(folder.dir, "hub");
    const free = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    folder.start("hub", ["serve", "--data-dir", hubDir, ...free]);
    await until("the hub listens", () => existsSync(join(hubDir, "hub.json")));
    const { grpc } = JSON.parse(readFileSync(join(hubDir, "hub.json"), "utf8")) as { grpc: string };
    const papers = await folder.run("hub", "cert", "--node", "edge-1", "--out", folder.dir, "--data-dir", hubDir);
    const { ca, cert, key } = JSON.parse(papers.out) as { ca: string; cert: string; key: string };
    configFile = folder.file(
      "agent.yaml",
      JSON.stringify({ ...JSON.parse(config), hub: { addresses: [grpc], ca, cert, key } }),
    );
    const connected = () =>
      until("the hub has it", async () => {
        const { link, linkBecause } = await statusOf(dataDir);
        expect(linkBecause).not.toContain("STORE_RESTORED");
        return link === LinkState.CONNECTED;
      });
    const agent = await up();
    await connected();
    await until("the outbox is empty", async () => (await statusOf(dataDir)).outboxDepth === 0n);
    await killed(agent);
    fillUp();
    const late = await up();
    await connected();
    expect(await refused()).toHaveLength(1);
    disk.free();
    await openedLate(late);
    await connected();
    await until("the outbox is empty", async () => (await statusOf(dataDir)).outboxDepth === 0n);
    expect((await statusOf(dataDir)).link).toBe(LinkState.CONNECTED);
  });

  test("the first run on a disk that refuses is refused itself, and works once there is room", async () => {
    remount("ro");
    const first = await folder.run("agent", "up", "--data-dir", dataDir, "--config", configFile);
    expect(first).toMatchObject({ code: 1, out: "", err: expect.stringContaining("[DATA_DIR_UNUSABLE]") });
    remount("rw");
    fillUp();
    const full = await folder.run("agent", "up", "--data-dir", dataDir, "--config", configFile);
    expect(full.code).toBe(1);
    expect(full.err).toMatch(/\[(DATA_DIR_UNUSABLE|STORE_WRITE_FAILED)\]/);
    expect(leadersOf(dataDir)).toEqual([]);
    disk.free();
    await up();
    await runs("one");
  });

  test("a hub that starts on a full or a read-only disk says so by name, and starts once it can", async () => {
    const hub = ["serve", "--data-dir", join(disk.dir, "hub"), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    const started = async () => {
      const one = folder.start("hub", hub);
      await until("the hub listens", () => existsSync(join(disk.dir, "hub", "hub.json")));
      one.child.kill("SIGTERM");
      expect((await one.ended).code).toBe(0);
    };
    const named = { code: 1, out: "", err: expect.stringMatching(/^\[(DATA_DIR_UNUSABLE|STORE_WRITE_FAILED)\] /m) };
    fillUp();
    expect(await folder.run("hub", ...hub)).toMatchObject(named); // its first run
    disk.free();
    await started();
    fillUp();
    expect(await folder.run("hub", ...hub)).toMatchObject(named);
    disk.free();
    remount("ro");
    expect(await folder.run("hub", ...hub)).toMatchObject(named);
    remount("rw");
    await started();
  });

  test("the directory of another node is refused on a full disk too", async () => {
    await livedOnce();
    fillUp();
    const other = folder.file("other.yaml", config.replace("edge-1", "edge-2"));
    const ran = await folder.run("agent", "up", "--data-dir", dataDir, "--config", other);
    expect(ran).toMatchObject({ code: 1, err: expect.stringContaining("[DATA_DIR_OF_ANOTHER]") });
    expect(readdirSync(dataDir)).toContain("stopped.json");
  });
});

test.runIf(!mounts)("a disk that refuses was not tried: this user may not mount", (context) => context.skip());
