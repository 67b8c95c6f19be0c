// What the recovery does first and what it does next, on real processes.
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ask, type Desk } from "@blueflame/agent/cli/ask.driver.ts";
import { IncidentState, Rung } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { Breaker } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { beforeAll, expect, test } from "vitest";
import { AgentRig, freePort } from "../prove/rig.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

/**
 * Accepts on its port until there is a file, and takes the process that the file names along in the same moment; a new process accepts
 * whatever there is.
 */
const controlPlane = `
const { existsSync, readFileSync } = require("node:fs");
const server = require("node:net").createServer((socket) => socket.end());
server.listen(Number(process.argv[1]), "127.0.0.1");
const before = existsSync(process.argv[2]);
const looking = setInterval(() => {
  if (before || !existsSync(process.argv[2])) return;
  clearInterval(looking);
  server.close();
  process.kill(Number(readFileSync(process.argv[2], "utf8")), "SIGKILL");
}, 100);
setInterval(() => {}, 1000);
`;

test("DOL-3 a DEAD node: first the control plane whose port refuses, then the process that is missing, then the job", async () => {
  const port = await freePort();
  // Its folder is part of the config, which is written below.
  const rig = new AgentRig({ workloads: [] });
  const [refuse, done] = [join(rig.dir, "refuse"), join(rig.dir, "job-ran")];
  const config = {
    node: { id: "prove" },
    workloads: [
      {
        name: "plane",
        command: [process.execPath, "-e", controlPlane, String(port), refuse],
        probation: "1s",
        backoff: { reset_after: "100ms" },
      },
      // It would wait for a minute by its own config: the order of a DEAD node starts it before.
      { name: "engine", command: ["/bin/sleep", "1000"], backoff: { delay: "60s", reset_after: "100ms" } },
    ],
    meta: { every: "1s", control_plane: ["plane"], ports: [`127.0.0.1:${port}`] },
    jobs: [{ name: "scan", every: "1h", file: done, command: ["/usr/bin/touch", done] }],
  };
  writeFileSync(join(rig.dir, "agent.yaml"), JSON.stringify(config));
  try {
    await rig.start();
    await rig.until("all run", async () => (await rig.status()).every(({ pid }) => pid > 0));
    await rig.until("the node is well", async () => (await rig.node()).metaStatus === "GREEN");
    const [first, engine] = [(await rig.workload("plane")).pid, (await rig.workload("engine")).pid];
    expect(engine).toBeGreaterThan(0);
    // Both in one moment: a look between the two would find the node DEAD for one of them only. Whole: half a number is another process.
    writeFileSync(`${refuse}.new`, String(engine));
    renameSync(`${refuse}.new`, refuse);
    const audit = async () =>
      (await ask(rig.dataDir, (desk: Desk) => desk.listAudit({ limit: 200 }))).records
        .map(({ action }) => action)
        .reverse();
    await rig.until("the job is triggered", async () => (await audit()).includes("meta.job"), 60_000);
    const order = (await audit()).filter((action) => action.startsWith("meta."));
    expect(order).toEqual(["meta.control_plane", "meta.process", "meta.job"]);
    await rig.until("the node is well again", async () => (await rig.node()).metaStatus === "GREEN", 60_000);
    expect((await rig.workload("plane")).pid).not.toBe(first);
    expect((await rig.workload("engine")).pid).toBeGreaterThan(0);
  } finally {
    await rig.close();
  }
});

test("PRA-4 SYN-4 a relapse on probation goes on with the next rung; good through it closes the breaker and the incident", async () => {
  // Its full config works for a moment only, its reduced one for good.
  const script = '[ "$BLUEFLAME_SAFE_MODE" = 1 ] && exec sleep 1000; sleep 3; exit 7';
  const rig = new AgentRig({
    workloads: [{ name: "api", command: ["/bin/sh", "-c", script], safe_mode: {}, probation: "6s" }],
  });
  try {
    await rig.start();
    const state = async () => (await rig.incidents("api"))[0];
    await rig.until("it is on probation", async () => (await state())?.state === IncidentState.PROBATION, 60_000);
    await rig.until(
      "it relapsed and safe mode helps",
      async () => (await state())?.attempts.some(({ rung, ok }) => rung === Rung.SAFE_MODE && ok === true) ?? false,
      60_000,
    );
    const seen = await rig.workload("api");
    expect(seen).toMatchObject({ safeMode: true, breaker: Breaker.HALF_OPEN });
    await rig.until("it is closed", async () => (await state())?.state === IncidentState.CLOSED, 60_000);
    expect((await rig.workload("api")).breaker).toBe(Breaker.CLOSED);
    const incident = await state();
    expect(incident?.attempts.map(({ rung }) => rung)).toEqual([Rung.QUICK_RESTART, Rung.SAFE_MODE]);
    expect(incident?.timeline.some(({ what }) => what === "relapse")).toBe(true);
  } finally {
    await rig.close();
  }
});
