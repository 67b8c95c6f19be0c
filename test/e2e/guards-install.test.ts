// What `install` leaves behind, and what it is good for: a damaged program, a program that is gone, a node without its agent.
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { verifyGoodCopy } from "@blueflame/agent/bootstrap/good-copy.ts";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { run } from "../../deploy/running.ts";
import { GuardedNode } from "../prove/guard-pair.ts";
import { built } from "./built.ts";
import { until } from "./programs.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

const vital = {
  name: "vital",
  critical: true,
  probation: "1s",
  command: ["/bin/sh", "-c", "echo $$ lives; while :; do sleep 1; done"],
};
const backMs = 45_000;

let home: string;
let library: string;
let node: GuardedNode;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "bf-home-"));
  library = join(home, ".local", "lib", "blueflame");
});
afterEach(async () => {
  await node?.close();
  rmSync(home, { recursive: true, force: true });
});

/** A node that was installed for one user, in a home of its own. */
async function installed(figures: readonly string[]): Promise<GuardedNode> {
  node = new GuardedNode([vital], { programs: library, figures, env: { HOME: home } });
  const ended = await node.install(home);
  if (ended.code !== 0) throw new Error(ended.stderr);
  return node;
}

const commandOf = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
const agentRunsFrom = (folder: string) =>
  node.of("agent").some((pid) => commandOf(pid).some((word) => word.startsWith(folder)));

test("SYN-5 GRC-12 `install` copies program and config, keeps a good copy, says what init has to run, and `uninstall` takes it back", async () => {
  await installed([]);
  const again = await node.install(home); // an installation over an older one
  expect(again).toMatchObject({ code: 0, stderr: "" });
  expect(again.stdout).toContain(`${join(library, "blueflame-watchdog.cjs")} watchdog --init`);
  expect(statSync(join(library, "node")).mode & 0o777).toBe(0o755);
  expect(statSync(join(home, ".config", "blueflame", "agent.yaml")).mode & 0o777).toBe(0o600);
  expect(verifyGoodCopy(node.dataDir)).toMatchObject({ ok: true });
  const typed = await run([join(home, ".local", "bin", "blueflame-agent"), "--version"], 20_000, home);
  expect(typed.code).toBe(0);
  const removed = await run(
    [
      "/usr/bin/env",
      `HOME=${home}`,
      "XDG_CONFIG_HOME=",
      process.execPath,
      inRoot("dist", "blueflame-agent.cjs"),
      "uninstall",
      "--user",
      "--data-dir",
      node.dataDir,
    ],
    20_000,
    home,
  );
  expect(removed.code).toBe(0);
  expect([
    existsSync(library),
    existsSync(join(node.dataDir, "good")),
    existsSync(join(home, ".local", "bin", "blueflame-agent")),
  ]).toEqual([false, false, false]);
  expect(existsSync(join(home, ".config", "blueflame", "agent.yaml"))).toBe(true);
});

test("a config that cannot be used is refused before anything is written", async () => {
  node = new GuardedNode([vital], { programs: library });
  writeFileSync(node.config, "workloads: [{name: a}]");
  expect(await node.install(home)).toMatchObject({ code: 2, stderr: expect.stringContaining("[CONFIG_INVALID]") });
  expect(existsSync(library)).toBe(false);
});

test("SYN-5 SYN-6 a program that was damaged is replaced by the good copy in one try, and runs again once it is mended", async () => {
  await installed(["--well-after", "1s"]);
  node.underInit();
  await node.allBack(["vital"], [], backMs);
  const workload = node.leads("vital");
  truncateSync(join(library, "blueflame-agent.cjs"), 100_000);
  const [agent = 0] = node.of("agent");
  const killedMs = Date.now();
  process.kill(agent, "SIGKILL");
  await node.allBack(["vital"], [agent], backMs);
  expect(agentRunsFrom(join(node.dataDir, "good"))).toBe(true);
  expect(node.leads("vital")).toEqual(workload);
  expect(readFileSync(join(node.dataDir, "logs", "watchdog.log"), "utf8")).toContain("not what was installed");
  // Mended, and everything forgiven: the next start is the installed program again.
  copyFileSync(inRoot("dist", "blueflame-agent.cjs"), join(library, "blueflame-agent.cjs"));
  const forgiven = () => node.transitions(killedMs).some(({ because }) => because.includes("everything is forgiven"));
  await until("everything is forgiven", forgiven);
  const [good = 0] = node.of("agent");
  process.kill(good, "SIGKILL");
  await node.allBack(["vital"], [good], backMs);
  expect(agentRunsFrom(library)).toBe(true);
  expect(node.leads("vital")).toEqual(workload);
}, 200_000);

test("SYN-2 a critical workload is started by the watchdog while no agent can be had, and the next agent adopts it", async () => {
  await installed(["--restarts", "1", "--cooldown", "10m"]);
  node.underInit();
  await node.allBack(["vital"], [], backMs);
  const [first = 0] = node.leads("vital");
  // Neither the program nor its good copy can be started now.
  for (const folder of [library, join(node.dataDir, "good")])
    truncateSync(join(folder, "blueflame-agent.cjs"), 100_000);
  const [agent = 0] = node.of("agent");
  process.kill(agent, "SIGKILL");
  await until("the watchdog has given up for a while", () => node.transitions(0).some(({ to }) => to === "cooldown"));
  expect(node.leads("vital")).toEqual([first]);
  process.kill(first, "SIGKILL");
  await until("the watchdog has started it", () => node.leads("vital").some((pid) => pid !== first), 30_000);
  const [second = 0] = node.leads("vital");
  // Not while the kill switch is on, which nobody's death turns off.
  writeFileSync(join(node.dataDir, "kill-switch.json"), "{}");
  process.kill(second, "SIGKILL");
  await pause(11_000); // it would be looked after twice
  expect(node.leads("vital")).toEqual([]);
  rmSync(join(node.dataDir, "kill-switch.json"));
  await until("the watchdog has started it again", () => node.leads("vital").length === 1, 30_000);
  const [third = 0] = node.leads("vital");

  expect((await node.install(home)).code).toBe(0);
  process.kill(node.of("watchdog")[0] ?? 0, "SIGHUP"); // a person does not want to wait
  await node.allBack(["vital"], [agent], backMs);
  expect(node.leads("vital")).toEqual([third]);
  const output = readFileSync(join(node.dataDir, "logs", "workloads", "vital.log"), "utf8");
  expect(output).toBe(`${first} lives\n${second} lives\n${third} lives\n`);
}, 200_000);
