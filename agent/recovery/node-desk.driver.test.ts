// The node's own machine on a disk that refuses, on virtual time.
import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { RefusingDisk } from "../../test/support/refusing-disk.ts";
import { calmNode, type NodeState } from "../ladder/node-state.ts";
import { Arrears } from "../store/arrears.ts";
import type { Symptom } from "../triggers/symptom.ts";
import { NodeDesk } from "./node-desk.driver.ts";

function deskOn(disk: RefusingDisk) {
  const clock = new VirtualClock(1_000_000);
  const random = seeded(1);
  const store = new Arrears({ nodeId: "n1", store: disk, clock, random, log: () => undefined });
  const desk = new NodeDesk({
    ...{ nodeId: "n1", site: "s", stored: calmNode, rebooted: false, store, clock, random },
    remedies: { play: () => new Promise(() => undefined), cancel: () => undefined },
    incident: () => undefined,
    stageAlerts: () => undefined,
    log: () => undefined,
  });
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 500) {
      clock.advance(500);
      for (let n = 0; n < 6; n++) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { clock, desk, pass };
}
const symptom = (trigger: string, sinceMs: number): Symptom => ({
  ...{ trigger, workload: "", severity: "low", playbook: "", because: "it holds", sinceMs },
});
/** What the disk remembers of the node. */
const remembered = (disk: RefusingDisk) => disk.writes.flatMap(({ memory }) => memory ?? []).at(-1)?.value as NodeState;

test("PHX-11 a node's incident that was closed in the second in which the disk refused stayed open for ever", async () => {
  const disk = new RefusingDisk();
  const { clock, desk, pass } = deskOn(disk);
  desk.tell({ is: "symptom", symptom: symptom("disk_full", clock.monotonicMs()), maintenance: false });
  await pass(1000);
  desk.tell({ is: "cleared", trigger: "disk_full" });
  await pass(1000);
  expect(disk.open()).toHaveLength(1);
  disk.refuses = true;
  while (Object.keys(desk.state().cases).length > 0) await pass(500);
  expect(disk.open()).toHaveLength(1);
  disk.refuses = false;
  await pass(2000);
  expect(disk.open()).toEqual([]);
  expect(remembered(disk)).toEqual({ cases: {} });
  expect(disk.holes()).toMatchObject([{ missing: { decisions: 1, audit: 0, incidents: 0 } }]);
});

test("a step that is about two cases of the node is one write: an agent that died between two left an incident open for ever", async () => {
  const disk = new RefusingDisk();
  const { clock, desk, pass } = deskOn(disk);
  for (const trigger of ["disk_full", "clock_skew"]) {
    desk.tell({ is: "symptom", symptom: symptom(trigger, clock.monotonicMs()), maintenance: false });
    desk.tell({ is: "cleared", trigger });
  }
  await pass(1000);
  expect(disk.open()).toHaveLength(2);
  const before = disk.writes.length;
  while (Object.keys(desk.state().cases).length > 0) await pass(500);
  await pass(500);
  expect(disk.open()).toEqual([]);
  expect(disk.writes.length).toBe(before + 1);
});
