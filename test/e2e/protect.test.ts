// Limits and the search for zombies, under the shipped agent: what they find reaches the supervision, the audit and a person.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  AuditOutcome,
  type AuditRecord,
  type Incident,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { allPids, environOf, procStat } from "../../agent/supervise/proc.driver.ts";
import { SystemRig } from "../prove/systems-rig.ts";
import { built } from "./built.ts";

const pace = { backoff: { reset_after: "500ms" }, probation: "1s" };
const limits = { memory: "100MiB" };
/** Takes half as much again as its limit, and keeps it. */
const takes = `globalThis.taken = Buffer.alloc(150 * 2 ** 20, 1); setInterval(() => undefined, 1000)`;
/** A fifth of a core is enough to be seen, and leaves the others theirs. Its event loop never turns: that alone would write. */
const rests = "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)";
const burns = `for (;;) { for (const end = Date.now() + 25; Date.now() < end; ); ${rests}; }`;

let rig: SystemRig;
beforeAll(async () => {
  await built("blueflame-agent");
  rig = new SystemRig({ workloads: [] });
  /** As long as it has lives to be sick in, each of them with its own file; a beat that came before anybody looks would be none. */
  const sick = (name: string, script: string, more: object = {}, lives = 1) => {
    const cwd = join(rig.dir, name);
    mkdirSync(cwd);
    for (let life = 0; life < lives; life++) writeFileSync(join(cwd, `sick-${life}`), "");
    const well = "exec sleep 1000";
    const command = [
      "/bin/sh",
      "-c",
      `(sleep 1; touch beat) & for one in sick-*; do [ -e $one ] || ${well}; rm $one; ${script} ${well}; done`,
    ];
    return { ...pace, name, command, cwd, ...more };
  };
  const node = (script: string) => `'${process.execPath}' -e '${script}'`;
  rig.configure({
    sensors: { every: "1s" },
    exorcism: { every: "1s", cpu: "10%", stuck_after: "5s" },
    workloads: [
      sick("hoarder", `${node(takes)} &`, { limits }),
      sick("glutton", `exec ${node(takes)};`, { limits, probation: "1m" }, 2),
      sick("haunted", `${node(burns)} &`),
      sick("frozen", `exec ${node(burns)};`, {
        beat: { file: join(rig.dir, "frozen", "beat"), timeout: "1h" },
      }),
    ],
  });
  await rig.start();
});
afterAll(() => rig.close());

const audited = async (action: string, workload: string, because: string): Promise<AuditRecord[]> =>
  (await rig.audit()).filter(
    (one) => one.action === action && one.target === `workload/${workload}` && one.because.includes(because),
  );

/** The first incident of a workload, when it is over. */
async function healed(workload: string): Promise<Incident> {
  const { id } = await rig.opened(workload, 0, 120_000);
  return rig.closed(id, 120_000);
}

test("DOL-5 a family that holds more than its 100 MiB is started anew as over its limit, and the audit has the figures", async () => {
  const incident = await healed("hoarder");
  expect(incident).toMatchObject({ symptom: "over_limit", state: IncidentState.CLOSED, needsPerson: false });
  expect(incident.summary).toContain("100 MiB");
  expect(await audited("limit.memory", "hoarder", "100 MiB")).toMatchObject([{ outcome: AuditOutcome.SUCCESS }]);
  expect(rig.seen("hoarder")?.restarts).toBe(1n);
  await rig.until("what took too much is gone", async () => familyOf("hoarder").length === 1);
});

test("DOL-5 a main process that takes too much twice is diagnosed as out of memory, whoever ended it", async () => {
  // It is ended by the kernel where a cgroup holds it, and then only the limits know why; else by the supervision.
  const { diagnosis } = await rig.wait("its relapse is diagnosed", () =>
    rig.incidentsOf("glutton").find((one) => one.diagnosis),
  );
  expect(diagnosis).toMatchObject({
    cause: "exhaustion",
    evidence: [expect.stringMatching(/memory limit.* 100 MiB/)],
  });
});

test("PHX-8 a helper that spins is ended, and the audit has the evidence and what was freed", async () => {
  const told = () => audited("workload.exorcise", "haunted", "stuck");
  await rig.until("it is exorcised", async () => (await told()).length > 0, 120_000);
  const [record] = await told();
  expect(record?.because).toMatch(/^stuck, ended: pid \d+ \(.+\): it has burned CPU for \d+ s, now \d+ % of a core/);
  expect(JSON.parse(record?.afterJson ?? "")).toMatchObject({
    did: "ended",
    freed: { cpuRatio: expect.any(Number), memoryBytes: expect.any(Number) },
  });
  expect(JSON.parse(record?.afterJson ?? "").freed.memoryBytes).toBeGreaterThan(2 ** 20);
  await rig.until("one is left", async () => familyOf("haunted").length === 1);
  expect(rig.incidentsOf("haunted")).toEqual([]);
});

test("PHX-8 a main process that spins and owes signs is started anew, and that it was told stands in the audit", async () => {
  expect(await healed("frozen")).toMatchObject({ symptom: "no_progress", state: IncidentState.CLOSED });
  expect(await audited("workload.exorcise", "frozen", "stuck, told: ")).toMatchObject([
    { outcome: AuditOutcome.SUCCESS },
  ]);
});

/** Who lives of it, by the marker of this agent. */
function familyOf(workload: string): number[] {
  return allPids().filter((pid) => {
    if (environOf(pid, "BLUEFLAME_WORKLOAD") !== workload) return false;
    return environOf(pid, "BLUEFLAME_SOCKET")?.startsWith(rig.dataDir) && procStat(pid)?.state !== "Z";
  });
}
