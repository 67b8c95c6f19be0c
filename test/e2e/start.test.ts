// `npm start`, in copies of this tree as a stranger has them: nothing built, nothing running, no data.
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { inRoot, root } from "../../deploy/root.ts";
import { processesOf, run, sweep } from "../../deploy/running.ts";
import { looks } from "../support/looks.ts";

const made = new Set(["node_modules", ".git", "dist", "out", ".blueflame"]);

let dir: string;
const started: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-start-"));
});
afterEach(async () => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
  for (const clone of readdirSync(dir)) await sweep(join(dir, clone, ".blueflame"), 2_000);
  rmSync(dir, { recursive: true, force: true });
});

/**
 * The tree as it is now, with what is installed linked in; its workspaces are the copy's own. `built`: with the programs that this
 * clone has built, as in a tree in which somebody works.
 */
function clone(name: string, { built = false } = {}): string {
  const copy = join(dir, name);
  cpSync(root, copy, { recursive: true, filter: (path) => path === root || !made.has(basename(path)) });
  link(inRoot("node_modules"), join(copy, "node_modules"));
  if (built && existsSync(inRoot("dist"))) cpSync(inRoot("dist"), join(copy, "dist"), { recursive: true });
  for (const nested of ["agent", "hub", "shared"]) {
    const installed = inRoot(nested, "node_modules");
    if (existsSync(installed)) symlinkSync(installed, join(copy, nested, "node_modules"));
  }
  return copy;

  function link(from: string, to: string): void {
    mkdirSync(to);
    for (const entry of readdirSync(from)) {
      if (entry !== "@blueflame") symlinkSync(join(from, entry), join(to, entry));
    }
    mkdirSync(join(to, "@blueflame"));
    for (const workspace of ["agent", "hub", "shared"])
      symlinkSync(join(copy, workspace), join(to, "@blueflame", workspace));
  }
}

interface Start {
  readonly child: ChildProcess;
  readonly home: string;
  readonly said: () => string;
  /** Resolves with the match as soon as it has said that. */
  says(what: RegExp, withinMs: number): Promise<RegExpExecArray>;
  readonly ended: Promise<number | null>;
}

/** What `npm start` runs, without npm between us and its signals. */
function start(home: string, ...args: string[]): Start {
  const { scripts } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as { scripts: { start: string } };
  const [node, ...words] = scripts.start.split(" ");
  expect(node).toBe("node");
  const child = spawn(process.execPath, [...words, ...args], { cwd: home, stdio: ["ignore", "pipe", "pipe"] });
  started.push(child);
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  return {
    child,
    home,
    said: () => said,
    ended,
    async says(what, withinMs) {
      for await (const _ of looks(withinMs)) {
        const found = what.exec(said);
        if (found) return found;
        if (child.exitCode !== null) break;
      }
      throw new Error(`npm start did not say ${what} within ${withinMs} ms, but:\n${said}`);
    },
  };
}

async function leaveByCtrlC(one: Start): Promise<void> {
  one.child.kill("SIGINT");
  expect(await one.ended).toBe(0);
  expect(one.said()).toContain("nothing is left running");
  expect(processesOf(join(one.home, ".blueflame"))).toEqual([]);
  rmSync(join(one.home, ".blueflame"), { recursive: true });
}

const portsOf = (home: string): string[] => [
  ...new Set(readFileSync(join(home, ".blueflame", "agent.yaml"), "utf8").match(/127\.0\.0\.1:\d+/g)),
  JSON.parse(readFileSync(join(home, ".blueflame", "context.json"), "utf8")).hub,
];

test("PHX-12 CARD-3 npm start shows a heal within a minute of its first line; a second clone beside it works too; Ctrl-C leaves nothing", async () => {
  const one = start(clone("one"));
  await one.says(/^Blue Flame:/, 20_000);
  const firstLine = performance.now();
  const [, pid = ""] = await one.says(/workload +risk-firewall, PID (\d+)/, 60_000);
  const two = start(clone("two", { built: true }), "--no-demo"); // beside the first, before that has shown anything
  const healed = await one.says(/^Healed: .* (\d+) ms after the kill as PID (\d+)/m, 60_000);
  expect(performance.now() - firstLine).toBeLessThan(60_000);
  expect(healed[2]).not.toBe(pid);
  expect(one.said()).toContain(`kill -9 ${pid}`);

  const [, other = ""] = await two.says(/workload +risk-firewall, PID (\d+)/, 60_000);
  expect(two.said()).toMatch(/Port taken, using the next free one: /);
  expect(portsOf(two.home).filter((port) => portsOf(one.home).includes(port))).toEqual([]);
  process.kill(Number(other), "SIGKILL");
  const [, again] = await two.says(/risk-firewall runs as PID (\d+) now/, 20_000);
  expect(again).not.toBe(other);

  // The commands that it prints work in its folder.
  const cli = [process.execPath, join(two.home, "hub", "bin", "blueflame.mjs")];
  const nodes = await run([...cli, "nodes", "-o", "json"], 20_000, two.home);
  expect(JSON.parse(nodes.stdout)).toMatchObject([{ level: "LEVEL_GREEN" }]);
  expect((await run([...cli, "incidents", "last"], 20_000, two.home)).stdout).toContain("crash");

  await leaveByCtrlC(one);
  expect(processesOf(join(two.home, ".blueflame")).length).toBeGreaterThan(2); // the other's end is not its end
  await leaveByCtrlC(two);
});

test("npm start in a clone where it already runs says so, and disturbs nothing", async () => {
  const home = clone("one", { built: true });
  const one = start(home, "--no-demo");
  await one.says(/workload +risk-firewall, PID (\d+)/, 60_000);
  const second = start(home);
  expect(await second.ended).toBe(1);
  expect(second.said()).toContain(`already runs in this clone, as PID ${one.child.pid}`);
  expect(processesOf(join(home, ".blueflame")).length).toBeGreaterThan(2);
  await leaveByCtrlC(one);
});
