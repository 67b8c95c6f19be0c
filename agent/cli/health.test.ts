import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { GetHealthResponseSchema } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type CliRig, openCliRig } from "../../test/support/cli-rig.ts";
import { type MemoryNode, memoryNode } from "../../test/support/node.ts";

let rig: CliRig;
let node: MemoryNode;

beforeEach(async () => {
  node = memoryNode(["web", "db"]);
  rig = await openCliRig(node);
});
afterEach(() => rig.close());

const cli = (...args: string[]) => rig.cli(...args);

const sick = create(GetHealthResponseSchema, {
  meta: {
    rmMeta: 0.5,
    status: "CRITICAL",
    m1Proc: 1,
    m2Heartbeat: 0.5,
    m3DataFreshness: 1,
    m4ControlPlane: 1,
    m5Coherence: 1,
    because: ["workload/web: no beat for 45 s", "source/prices: \u001b[2Jits data is 60 s old"],
  },
  workloads: [
    { name: "db", healthScore: -1, trust: 0.8 },
    {
      name: "web",
      healthScore: 61.4,
      trust: 0.7,
      backupAt: timestampFromMs(Date.now() - 65_000),
      objectives: [
        { name: "availability", target: "99.9%", actual: "99.95%", kept: true, budgetLeft: 0.5 },
        { name: "p95", target: "200ms", actual: "1400ms", kept: false },
        { name: "p99", target: "500ms", actual: "" },
      ],
    },
  ],
  metrics: {
    incidents: 4n,
    over: 4n,
    successRate: 1,
    unattendedRate: 0.75,
    escalationRate: 0.25,
    mttd: { seconds: 2n, nanos: 0 },
    mttr: { seconds: 3n, nanos: 500_000_000 },
  },
  suggestions: ["web fails at 03:00 on three days: look at what runs then"],
  agentTrust: 0.85,
});

test("DOL-2 health shows the product, its five sensors and what is wrong, then each workload's score and objectives", async () => {
  node.healthReport = sick;
  const { code, out, err } = await cli("health");
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(out).not.toContain("\u001b");
  const lines = out.trimEnd().split("\n");
  expect(lines).toEqual([
    "META-HEALTH  CRITICAL 0.50",
    "SENSORS      M1 process 1.0 · M2 heartbeat 0.5 · M3 data 1.0 · M4 control plane 1.0 · M5 coherence 1.0",
    "WHY          workload/web: no beat for 45 s; source/prices: its data is 60 s old",
    "TRUST        0.85 in this agent",
    "RECOVERIES   4 incidents, 25% needed more than one rung; of those that are over 100% healed, 75% with no person",
    expect.stringMatching(/^TIMES {8}to detect 2\.0s · to recover 3\.5s \(decide -, act -, verify -\)$/),
    "",
    "WORKLOAD  SCORE  TRUST     BACKUP  OBJECTIVES",
    "db            -   0.80          -  nothing measured yet",
    expect.stringMatching(
      /^web {10}61 {3}0\.70 {2}1m\d\ds ago {2}availability 99\.95% \(budget 50% left\) · p95 1400ms BROKEN, owed 200ms$/,
    ),
    "",
    "suggestion: web fails at 03:00 on three days: look at what runs then",
  ]);
});

test("what is not known yet is left out, and -o json is the API's own message", async () => {
  const { out } = await cli("health");
  expect(out).toBe(
    "META-HEALTH  not computed yet\nTRUST        0.00 in this agent\nRECOVERIES   none yet\n\nWORKLOAD  SCORE  TRUST  BACKUP  OBJECTIVES\n",
  );
  node.healthReport = sick;
  const json = JSON.parse((await cli("health", "-o", "json")).out);
  expect(json).toMatchObject({ meta: { status: "CRITICAL" }, workloads: [{ name: "db" }, { name: "web" }] });
});

test("GRC-7 kill-switch on and off are said in the name of who typed it, with the reason", async () => {
  const on = await cli("kill-switch", "on", "--reason", "wrong prices");
  expect(on).toEqual({
    code: 0,
    out: "the kill switch is on: 2 workloads stopped; nothing is started or healed until `kill-switch off`\n",
    err: "",
  });
  expect((await cli("kill-switch", "off", "-o", "json")).out).toBe('{\n  "killSwitch": false,\n  "workloads": 2\n}\n');
  const said = node.actions.map(({ actor, action, target }) => `${actor.split(":")[0]} ${action} ${target}`);
  expect(said).toEqual(["person kill-switch.on workload/wrong prices", "person kill-switch.off workload/"]);
});

test("GRC-7 the kill switch is turned without an agent too: its file is what everybody obeys, and doctor says it", async () => {
  await rig.leave();
  const nowhere = await cli("kill-switch", "on");
  expect(nowhere.code).toBe(5); // no agent has ever run here
  mkdirSync(join(rig.dir, "store"));
  const file = join(rig.dir, "kill-switch.json");
  const on = await cli("kill-switch", "on", "--reason", "flood");
  expect(on.code).toBe(0);
  expect(on.out).toMatch(/^the kill switch is on: no agent runs here, so nothing was stopped; nothing is started /);
  expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ reason: "flood", person: expect.stringMatching(/./) });
  const checks = JSON.parse((await cli("doctor", "-o", "json")).out) as { check: string; saw: string }[];
  expect(checks.find(({ check }) => check === "kill switch")?.saw).toMatch(/^on since 2.*Z, by .+: flood$/);
  expect((await cli("kill-switch", "off")).out).toMatch(/^the kill switch is off: no agent runs here/);
  expect(existsSync(file)).toBe(false);
});

test("GRC-7 an agent that opens its door while the kill switch is turned without it is asked too: it had read the switch before", async () => {
  mkdirSync(join(rig.dir, "store"), { recursive: true });
  const file = join(rig.dir, "kill-switch.json");
  const { setKillSwitch } = node;
  node.setKillSwitch = async (...words) => {
    node.setKillSwitch = async (...later) => {
      expect(existsSync(file)).toBe(true);
      return setKillSwitch(...later);
    };
    throw new Fault("AGENT_UNREACHABLE", `not there yet for ${words[1]}`);
  };
  const on = await cli("kill-switch", "on", "--reason", "flood");
  expect(on).toMatchObject({ code: 0, out: expect.stringMatching(/^the kill switch is on: 2 workloads stopped; /) });
  expect(node.actions.map(({ action }) => action)).toEqual(["kill-switch.on"]);
});

test("nonsense for health and kill-switch ends with 2, and says what is allowed; without an agent health ends with 5", async () => {
  const wrong: [string[], string][] = [
    [["kill-switch"], "on|off"],
    [["kill-switch", "maybe"], "'maybe' is neither on nor off"],
    [["kill-switch", "on", "now"], "too many arguments"],
    [["kill-switch", "on", "--reason"], "--reason"],
    [["kill-switch", "on", "--timeout", "5"], "'5' is no duration"],
    [["health", "web"], "too many arguments"],
    [["health", "-o", "xml"], "Allowed choices are table, json, jsonl, yaml"],
  ];
  for (const [args, said] of wrong) {
    const { code, out, err } = await cli(...args);
    expect({ args, code, out }).toEqual({ args, code: 2, out: "" });
    expect(err).toContain("[USAGE]");
    expect(err).toContain(said);
  }
  expect(node.actions).toEqual([]);
  await rig.leave();
  expect((await cli("health")).code).toBe(5);
});
