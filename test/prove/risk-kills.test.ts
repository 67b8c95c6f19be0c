// The short form of `npm run prove -- risk-kills`, and the lock at a real node.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { ask } from "@blueflame/agent/cli/ask.driver.ts";
import { environOf } from "@blueflame/agent/supervise/proc.driver.ts";
import { RiskLockCause } from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import { afterEach, beforeAll, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { built } from "../e2e/built.ts";
import { AgentRig } from "./rig.ts";
import { riskKills } from "./risk-kills.ts";
import { broken } from "./trial.ts";

const run = promisify(execFile);
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));

let rig: AgentRig | undefined;
beforeAll(() => built("blueflame-agent"));
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

/** What a command ended with. */
async function ran(command: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const [file = "", ...args] = command;
  return run(file, args, { env: { ...process.env, NO_COLOR: "1", ...env } }).then(
    ({ stdout }) => ({ code: 0, out: stdout, err: "" }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      out: error.stdout,
      err: error.stderr,
    }),
  );
}

test("PHX-9 the agent is killed three times while four lines tell it trades: each is there once, and the lock stays", async () => {
  console.log(`risk-kills: SEED=${seed}`);
  const rows = await riskKills.run({ rounds: 3, seed, say: (line) => console.log(`  ${line}`) });
  expect(broken(rows)).toEqual([]);
});

test("PHX-9 GRC-7 a workload's lock outlives kill -9 and a restored store, its own processes cannot open it, and a person does, in the audit", async () => {
  const curl = `${inRoot("node_modules/.bin/buf")} curl --http2-prior-knowledge --protocol grpc`;
  const call = (method: string, body: string, auth: string) =>
    `${curl} --unix-socket "$BLUEFLAME_SOCKET" ${auth} -d '${body}' http://localhost/blueflame.node.v1.${method}`;
  const lock = call(
    "StateService/LockRisk",
    '{"because":"the daily limit is reached"}',
    '-H "authorization: Bearer $BLUEFLAME_TOKEN"',
  );
  const open = call("NodeService/UnlockRisk", '{"workload":"engine","person":"asha","reason":"let me"}', "");
  // In a session of its own and without a marker in its environment: its parent, or a cgroup, still says whose it is.
  const down = `${curl} --unix-socket "$0" -d "{}" http://localhost/blueflame.node.v1.NodeService/Down`;
  const hidden = `setsid env -i PATH="$PATH" HOME="$HOME" /bin/sh -c '${down}' "$BLUEFLAME_SOCKET"`;
  rig = new AgentRig({
    workloads: [
      {
        name: "engine",
        command: ["/bin/sh", "-c", `${lock}; ${open}; ${hidden}; echo tried; while :; do sleep 1; done`],
      },
    ],
  });
  await rig.start();
  const node = rig;
  const state = () =>
    ask(node.dataDir, async (desk) => (await desk.listState({ workload: "engine" })).workloads[0]?.risk);
  const output = async () => (await ran(node.command("logs", "engine"))).out;
  await rig.until("the workload has tried", async () => (await output()).includes("tried"));
  expect((await output()).match(/of workload 'engine' asks what only people may/g)).toHaveLength(2);
  expect(await state())?.toMatchObject({
    lock: { cause: RiskLockCause.WORKLOAD, because: "the daily limit is reached" },
  });
  await rig.kill();
  await rig.start();
  expect((await state())?.lock).toMatchObject({ because: "the daily limit is reached" });
  const token = environOf(rig.leads()[0]?.pid ?? 0, "BLUEFLAME_TOKEN") ?? "";
  const unlock = (...words: string[]) => node.command("state", "unlock", "engine", ...words);
  expect(await ran(unlock("--reason", "x"), { BLUEFLAME_TOKEN: token })).toMatchObject({ code: 4 });
  expect(await ran(unlock("--reason", " "))).toMatchObject({ code: 2 });
  expect((await state())?.lock).toBeDefined();
  expect(await ran(unlock("--reason", "compared with the broker"))).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^opened: since \S+Z: the daily limit is reached\nengine is open, 0 losses in a row\n$/),
  });
  expect((await state())?.mayTrade).toBe(true);
  const audit = JSON.parse((await ran(rig.command("audit", "-n", "500", "-o", "json"))).out) as Record<
    string,
    string
  >[];
  expect(
    audit
      .filter(({ action }) => /^(risk|api)\./.test(action ?? ""))
      .map(({ action, actor, because }) => [action, actor, because]),
  ).toEqual([
    [
      "risk.release",
      expect.stringMatching(/^person:/),
      "compared with the broker (opened: the daily limit is reached)",
    ],
    ["api.down", "workload:engine", expect.stringContaining("asks what only people may")],
    ["api.unlockRisk", "workload:engine", expect.stringContaining("asks what only people may")],
    ["risk.lock", "workload:engine", "the daily limit is reached"],
  ]);
  // An older copy of the store was put back: what was lost since is not known.
  await rig.kill();
  expect(await ran(rig.command("store", "repair", "--new-life"))).toMatchObject({ code: 0 });
  await rig.start();
  expect((await state())?.lock).toMatchObject({ cause: RiskLockCause.RESTORED });
});
