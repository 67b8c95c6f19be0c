// What `install --config F` makes of a file that was written for the folder where it lies: a node that runs.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { run } from "../../deploy/running.ts";
import { GuardedNode } from "../prove/guard-pair.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

const backMs = 45_000;
let home: string;
let installed: string;
let node: GuardedNode;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "bf-home-"));
  installed = join(home, ".config", "blueflame", "agent.yaml");
  const programs = join(home, ".local", "lib", "blueflame");
  node = new GuardedNode([], { programs, installedConfig: installed, figures: [], env: { HOME: home } });
});
afterEach(async () => {
  await node.close();
  rmSync(home, { recursive: true, force: true });
});

/** `install`, as it is typed in another folder than the config's. */
const install = (...words: string[]) =>
  run(
    [
      "/usr/bin/env",
      `HOME=${home}`,
      "XDG_CONFIG_HOME=",
      process.execPath,
      inRoot("dist", "blueflame-agent.cjs"),
      ...["install", "--user", "--data-dir", node.dataDir, ...words],
    ],
    60_000,
    home,
  );

test("`install --config F` with relative paths reports success and leaves a node that runs, in the folder of F", async () => {
  writeFileSync(join(node.dir, "run.sh"), "#!/bin/sh\necho in $PWD\nwhile :; do sleep 1; done\n", { mode: 0o755 });
  writeFileSync(
    node.config,
    "# ours\nworkloads:\n  - name: vital\n    command: [./run.sh]\n    data: { paths: [kept] }\n",
  );
  const ended = await install("--config", node.config);
  expect(ended).toMatchObject({
    code: 0,
    stderr: "",
    stdout: expect.stringMatching(`\nkeep +${node.dir}: what agent.yaml names`),
  });
  expect(readFileSync(installed, "utf8")).toBe(
    `# ours\nworkloads:\n  - cwd: ${node.dir}\n    name: vital\n    command: [./run.sh]\n    data: { paths: [${join(node.dir, "kept")}] }\n`,
  );
  node.underInit();
  await node.allBack(["vital"], [], backMs);
  expect(node.printed("vital")).toEqual([`in ${node.dir}`]);
  // Also once more, over the older one, which stays to the letter.
  expect(await install()).toMatchObject({ code: 0, stderr: "" });
  expect(readFileSync(installed, "utf8")).toContain("# ours");
}, 120_000);

test("a config that would say something else at its place, or an installed one that is of no use, is told before anything is replaced", async () => {
  writeFileSync(
    node.config,
    "workloads: [{ name: a, command: [sleep, '9'], beat: { file: &at x }, env: { AT: *at } }]",
  );
  const ended = await install("--config", node.config);
  expect(ended).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^\[INSTALL_FAILED\] .*workloads\.0\.env\.AT changes/),
  });
  mkdirSync(join(installed, ".."), { recursive: true });
  writeFileSync(installed, "workloads: [{ name: a, comand: [x] }]");
  expect(await install()).toMatchObject({ code: 2, stderr: expect.stringContaining("[CONFIG_INVALID]") });
  expect(existsSync(join(home, ".local"))).toBe(false);
});

test("`install --hub` with a config that has no hub says where its certificates are", async () => {
  writeFileSync(node.config, "# ours\nworkloads: [{ name: a, command: [sleep, '9'] }]\n");
  expect(await install("--config", node.config, "--hub", "hub:7443")).toMatchObject({ code: 0, stderr: "" });
  const agent = join(home, ".local", "bin", "blueflame-agent");
  expect(await run([agent, "config", "check", installed], 20_000, home)).toMatchObject({ code: 0, stderr: "" });
  expect(readFileSync(installed, "utf8")).toContain(join(home, ".config", "blueflame", "certificates", "node.key"));
});
