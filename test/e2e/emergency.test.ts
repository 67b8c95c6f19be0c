import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { DamageRig } from "../prove/damage-rig.ts";
import { built } from "./built.ts";

const longMs = 240_000;
let rig: DamageRig;
beforeAll(async () => {
  await built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency");
  rig = new DamageRig();
  await rig.make();
}, longMs);
afterAll(() => rig.close(), longMs);
beforeEach(() => rig.reset(), longMs);

/** Its pages; the agent's own lie beside them. */
const pages = () =>
  (existsSync(join(rig.dataDir, "alerts")) ? readdirSync(join(rig.dataDir, "alerts")) : []).filter((name) =>
    name.endsWith("-emergency.json"),
  );
const lines = () =>
  readFileSync(join(rig.dataDir, "logs", "emergency.log"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { msg: string; pid: number });
const back = () => rig.until("the node is back", () => rig.isBack());
const pids = () => ["one", "two"].map((name) => rig.leads(name));
function pager(): { readonly said: () => unknown } {
  const out = join(rig.dir, "paged");
  writeFileSync(join(rig.dataDir, "pager"), JSON.stringify(["/usr/bin/tee", out]), { mode: 0o600 });
  return { said: () => JSON.parse(readFileSync(out, "utf8")) };
}

test(
  "SYN-6 (5) watchdog and agent both down: one command of an operator brings all back, and no workload is touched",
  async () => {
    await rig.live();
    const before = pids();
    await rig.killGuards();
    expect(rig.pidsLike(".cjs")).toEqual([]);
    const said = await rig.emergency({}, "-o", "json");
    expect(said).toMatchObject({ code: 0 });
    expect(JSON.parse(said.out)).toMatchObject({ outcome: "mended" });
    await back();
    expect(pids()).toEqual(before);
    // A node that is well is only looked at.
    const again = JSON.parse((await rig.emergency({}, "-o", "json")).out) as { outcome: string; steps: unknown[] };
    expect(again).toMatchObject({ outcome: "well", steps: [] });
    expect(pids()).toEqual(before);
    expect(pages()).toHaveLength(1);
  },
  longMs,
);

test(
  "SYN-5 workload, agent and watchdog killed at once: a dry run says so and does nothing, the one command brings all back",
  async () => {
    const { said: paged } = pager();
    const dry = await rig.emergency({}, "--dry-run");
    expect(dry).toMatchObject({ code: 0, out: expect.stringContaining("would: startAll watchdog") });
    expect(rig.pidsLike(".cjs")).toEqual([]);
    expect(existsSync(join(rig.dataDir, "logs", "emergency.log"))).toBe(false);
    const two = await Promise.all([rig.emergency({}), rig.emergency({})]);
    expect(two.map(({ code }) => code)).toEqual([0, 0]);
    // Two operators type it at the same moment: one of them works, or comes when all is well.
    expect(lines().filter(({ msg }) => msg.startsWith("startAll"))).toHaveLength(1);
    await back();
    expect(pids().map((leads) => leads.length)).toEqual([1, 1]);
    expect(rig.haltedRuns).toBe(false);
    expect(paged()).toMatchObject({ part: "emergency", by: "person", outcome: "mended" });
  },
  longMs,
);

test(
  "SYN-5 a store that is restored makes strangers of nobody: workloads that lived through it keep their PIDs",
  async () => {
    await rig.live();
    const before = pids();
    await rig.killGuards();
    rmSync(join(rig.dataDir, "store"), { recursive: true });
    expect(await rig.emergency({})).toMatchObject({ code: 0, out: expect.stringContaining("was mended (restore)") });
    await back();
    expect(pids()).toEqual(before);
    expect(rig.haltedRuns).toBe(false);
  },
  longMs,
);

test(
  "SYN-5 files of the store that vanish under an agent that lives: both guards end, the store comes back, no workload notices",
  async () => {
    await rig.live();
    const before = pids();
    rmSync(join(rig.dataDir, "store", "CURRENT"));
    let said = await rig.emergency({}, "-o", "json");
    if (said.code !== 0) {
      // On a busy machine the agent has noticed it, and its successor is just mending it: what is printed then works.
      console.log(`the first emergency ended with ${said.code}: ${said.out}${said.err}`);
      expect(said.out + said.err).toContain("blueflame-agent");
      said = await rig.emergency({}, "-o", "json");
    }
    expect(said.code, said.out + said.err).toBe(0);
    expect(existsSync(join(rig.dataDir, "store", "CURRENT"))).toBe(true);
    await back();
    expect(pids()).toEqual(before);
  },
  longMs,
);

test(
  "a config that nobody can use never becomes the good one: what the emergency puts back is the last that was in use",
  async () => {
    const used = `${readFileSync(rig.config, "utf8")}\n`; // a person has edited it since the installation
    const up = [...rig.program, "up", "--last-good", "--config", rig.config, "--data-dir", rig.dataDir];
    for (const text of [used, "workloads: [{ name: one, comand: [x] }]\n"]) {
      writeFileSync(rig.config, text);
      rmSync(join(rig.dataDir, "start.json"), { force: true });
      await rig.launch(up);
      await back();
      await rig.until("it has written down its start", async () => existsSync(join(rig.dataDir, "start.json")));
      await rig.killAll();
    }
    expect((await rig.emergency({})).code).toBe(0);
    expect(readFileSync(rig.config, "utf8")).toBe(used);
    await back();
  },
  longMs,
);

test(
  "SYN-6 (4) by itself it works once an hour, not after a person's word, and pages a person",
  async () => {
    const { said: paged } = pager();
    writeFileSync(join(rig.opt, "blueflame-watchdog.cjs"), "");
    rmSync(rig.config);
    expect(await rig.emergency({}, "--auto")).toMatchObject({ code: 0 });
    await back();
    expect(paged()).toMatchObject({ by: "itself", severity: "high", said: "the node was brought back" });
    await rig.killAll();
    const soon = await rig.emergency({}, "--auto");
    expect(soon).toMatchObject({ code: 75, out: "", err: expect.stringContaining("once an hour at most") });
    expect(rig.pidsLike(".cjs")).toEqual([]);
    rmSync(join(rig.dataDir, "emergency.json"));
    writeFileSync(
      join(rig.dataDir, "intent.json"),
      JSON.stringify({ format: 1, word: "down", by: "person", at: "", boot: "" }),
    );
    const down = await rig.emergency({}, "--auto");
    expect(down).toMatchObject({ code: 0, out: "", err: expect.stringContaining("a person said 'down'") });
    expect(rig.pidsLike(".cjs")).toEqual([]);
    // A person who asks gets it mended, and is told how to take the word back.
    const asked = await rig.emergency({});
    expect(asked).toMatchObject({ code: 0, out: expect.stringContaining("emergency --start") });
    expect(rig.pidsLike(".cjs")).toEqual([]);
    expect(await rig.emergency({}, "--start")).toMatchObject({ code: 0 });
    await back();
  },
  longMs,
);

test(
  "SYN-6 (4) everything fails: the watchdog's starts are used up, the emergency runs by itself, all services are back",
  async () => {
    // Neither the program nor its good copy can start over this.
    writeFileSync(join(rig.dataDir, "logs", "keep"), "");
    rmSync(join(rig.dataDir, "agent.sock"), { force: true });
    writeFileSync(join(rig.dataDir, "agent.sock"), "");
    const figures = ["--restarts", "2", "--cooldown", "1s", "--slow-retry", "1s"];
    const words = [
      "watchdog",
      "--data-dir",
      rig.dataDir,
      ...figures,
      "--",
      "up",
      "--config",
      rig.config,
      "--data-dir",
      rig.dataDir,
    ];
    await rig.launch([...rig.program, ...words]);
    await back();
    expect(lines().some(({ msg }) => msg.startsWith("moveAside"))).toBe(true);
    await rig.until("the emergency has ended", async () => pages().length === 1);
    const watchdogs = readFileSync(join(rig.dataDir, "logs", "watchdog.log"), "utf8");
    expect(watchdogs).toMatch(/"to":"cooldown"/);
    expect(watchdogs).toMatch(/"to":"emergency"/);
    expect(rig.haltedRuns).toBe(false);
  },
  longMs,
);

test(
  "the kill switch keeps every workload down; the node itself is brought back",
  async () => {
    writeFileSync(join(rig.dataDir, "kill-switch.json"), "{}");
    chmodSync(join(rig.dataDir, "kill-switch.json"), 0o600);
    const said = await rig.emergency({}, "-o", "json");
    const { verdicts } = JSON.parse(said.out) as { verdicts: { part: string; state: string }[] };
    const stateOf = (part: string) => verdicts.find((verdict) => verdict.part === part)?.state;
    expect([said.code, stateOf("kill switch"), stateOf("agent"), stateOf("workload one")]).toEqual([
      0,
      "rests",
      "mended",
      "rests",
    ]);
    expect(pids()).toEqual([[], []]);
  },
  longMs,
);

test(
  "a person looks at the store, gives it a new life, and puts a snapshot or nothing in its place; each time the old one is kept",
  async () => {
    const store = (...words: string[]) => rig.run([...rig.program, "store", ...words, "--data-dir", rig.dataDir]);
    const mended = async (...words: string[]) => {
      const said = await store(...words, "-o", "json");
      const givenUp = words.includes("--snapshot")
        ? /^the snapshot is of \S+Z: what was written since is given up\n/
        : /^$/;
      expect(said).toMatchObject({ code: 0, err: expect.stringMatching(givenUp) });
      return JSON.parse(said.out) as { is: string; by: string; kept: string };
    };
    expect(await store("verify")).toMatchObject({ code: 0, err: "", out: expect.stringMatching(/^store +sound/m) });
    expect(await mended("repair")).toMatchObject({ is: "sound" });
    expect(await store("restore")).toMatchObject({ code: 6, err: expect.stringContaining("[STORE_HOLDS_MORE]") });
    expect(await store("restore", "--snapshot", "99")).toMatchObject({
      code: 3,
      err: expect.stringContaining("[NOT_FOUND]"),
    });
    const [number = ""] = readdirSync(join(rig.dataDir, "snapshots")).sort().reverse();
    for (const [by, words] of [
      ["reopen", ["repair", "--new-life"]],
      ["restore", ["restore", "--snapshot", number]],
      ["empty", ["restore", "--empty"]],
    ] as const) {
      const done = await mended(...words);
      expect(done.by).toBe(by);
      expect(readdirSync(done.kept).length).toBeGreaterThan(2);
    }
    const full = await store("restore", "--from", join(rig.dataDir, "snapshots", number));
    expect(full).toMatchObject({ code: 1, err: expect.stringContaining("[LIMIT_REACHED]") });
    expect(await store("restore", "--empty", "--snapshot", "1")).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^\[USAGE\]/),
    });
    expect((await rig.emergency({})).code).toBe(0);
    await back();
    expect(rig.haltedRuns).toBe(false); // stopped.json has remembered it through three other stores
    expect(await store("verify")).toMatchObject({ code: 1, out: "", err: expect.stringContaining("[STORE_LOCKED]") });
  },
  longMs,
);

interface Said {
  readonly verdicts: readonly { part: string; state: string; saw: string }[];
  readonly troubles: readonly { code: string; because: string; commands: readonly string[] }[];
}
const verdictOf = (out: string, part: string) => (JSON.parse(out) as Said).verdicts.find((one) => one.part === part);

test(
  "`npx blueflame-agent emergency` where nobody has written down how the agent was started: it took bare Node for its program and saw no damaged store",
  async () => {
    for (const name of ["start.json", "good", "store"]) rmSync(join(rig.dataDir, name), { recursive: true });
    const link = join(rig.dir, "blueflame-agent"); // as npm makes one in node_modules/.bin
    symlinkSync(inRoot("agent", "bin.mjs"), link);
    const said = await rig.run([process.execPath, link, "emergency", "-o", "json", "--data-dir", rig.dataDir]);
    expect(verdictOf(said.out, "program")).toMatchObject({ state: "well", saw: expect.stringContaining("bin.mjs") });
    expect(verdictOf(said.out, "store")).toMatchObject({ state: "mended" });
    const [trouble] = (JSON.parse(said.out) as Said).troubles; // only a person knows how it is started
    expect(trouble?.commands.at(-1)).toContain(`${inRoot("agent", "bin.mjs")} up --config`);
  },
  longMs,
);

test(
  "`blueflame-agent --data-dir DIR emergency` is refused, although each other command takes the flag before it",
  async () => {
    const words = ["--data-dir", rig.dataDir, "emergency", "--dry-run"];
    const byLink = [process.execPath, inRoot("agent", "bin.mjs"), ...words];
    for (const command of [[...rig.program, ...words], byLink])
      expect(await rig.run(command)).toMatchObject({ code: 0, err: "", out: expect.stringContaining("would: ") });
    const watchdog = await rig.run([...byLink.slice(0, 4), "watchdog", "--help"]);
    expect(watchdog).toMatchObject({ code: 0, out: expect.stringContaining("Usage: blueflame-agent watchdog") });
  },
  longMs,
);

test(
  "a config that cannot be used: what the emergency says is cut before the line that is wrong",
  async () => {
    rmSync(join(rig.dataDir, "good"), { recursive: true });
    writeFileSync(rig.config, "workloads: [{ name: one, comand: [x] }]\n");
    const used = await rig.emergency({}, "--dry-run", "-o", "json");
    const line = `${rig.config} is invalid: ${rig.config}:1:`;
    expect(verdictOf(used.out, "config")?.saw).toMatch(
      /comand: unknown key;.* did you mean "command"\?; the last good one/,
    );
    rmSync(join(rig.dataDir, "last-good-config.json"));
    const said = await rig.emergency({}, "--dry-run");
    expect(said.err).toContain(`[CONFIG_INVALID] ${line}`);
    expect(said.err).toMatch(/workloads\[0\]\.command: missing.*\n +# write/);
  },
  longMs,
);

test(
  "a node whose start folder is gone and whose store files have mode 000 is brought back, and its program is not called damaged",
  async () => {
    const start = JSON.parse(readFileSync(join(rig.dataDir, "start.json"), "utf8")) as object;
    writeFileSync(join(rig.dataDir, "start.json"), JSON.stringify({ ...start, cwd: join(rig.dir, "gone") }));
    const store = join(rig.dataDir, "store");
    for (const name of readdirSync(store)) chmodSync(join(store, name), 0);
    const said = await rig.emergency({}, "-o", "json");
    expect(said.code).toBe(0);
    expect(verdictOf(said.out, "program")?.state).toBe("well");
    expect(verdictOf(said.out, "files")?.state).toBe("mended");
    expect(verdictOf(said.out, "store")?.state).toBe("well");
    await back();
  },
  longMs,
);
