// A start that is good and takes its time, on real processes.
import { beforeAll, expect, test } from "vitest";
import { AgentRig, freePort } from "../prove/rig.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent"));

/** Its port opens two seconds after its start. */
const slow = `setTimeout(() => require("node:net").createServer((s) => s.end()).listen(Number(process.argv[1]), "127.0.0.1"), 2000)`;

test("a workload whose port opens after two seconds is up then, also when its probe asks every ten: it was restarted for ever", async () => {
  const port = await freePort();
  const command = [process.execPath, "-e", slow, String(port)];
  const probes = [{ name: "port", every: "10s", tcp: { address: `127.0.0.1:${port}` } }];
  const rig = new AgentRig({ workloads: [{ name: "slow", command, probes }] });
  try {
    await rig.start();
    const { restarts } = await rig.well("slow", 9000);
    expect(restarts).toBe(0n);
    expect(await rig.incidents("slow")).toEqual([]);
  } finally {
    await rig.close();
  }
});
