import fc from "fast-check";
import { expect, test } from "vitest";
import type { Symptom } from "../triggers/symptom.ts";
import { nextNodeLookMs, stepNode } from "./node-machine.ts";
import { calmNode, type NodeEffect, type NodeEvent, type NodeState } from "./node-state.ts";

const full: Symptom = {
  trigger: "disk-high",
  workload: "",
  severity: "high",
  playbook: "resource-cleanup",
  because: "disk_used_ratio is 93 %, above 90 %",
  sinceMs: 0,
};

type Node = ReturnType<typeof node>;
function node() {
  let state: NodeState = calmNode;
  let nowMs = 1_000_000;
  let wallLessMs = 1e12;
  let ids = 0;
  const effects: NodeEffect[] = [];
  const self = {
    effects,
    get state() {
      return state;
    },
    tell(event: NodeEvent): void {
      const result = stepNode(state, event, { ms: nowMs, wallMs: nowMs + wallLessMs, id: `id-${ids++}` });
      state = JSON.parse(JSON.stringify(result.state)) as NodeState;
      effects.push(...result.effects);
    },
    fire: (over: Partial<Symptom> = {}, maintenance = false) =>
      self.tell({ is: "symptom", symptom: { ...full, sinceMs: nowMs, ...over }, maintenance }),
    plays: () => effects.filter((effect) => effect.do === "play"),
    answer: (ok: boolean, through?: true) =>
      self.tell({
        is: "played",
        id: self.plays().at(-1)?.id ?? "",
        ok,
        because: "freed 3 GiB",
        ...(through && { through }),
      }),
    /** Down for so long; monotonic time begins anew. */
    reboot(downMs: number): void {
      wallLessMs += nowMs + downMs - 5000;
      nowMs = 5000;
      self.tell({ is: "boot", rebooted: true });
    },
    incidents: () => effects.flatMap((effect) => (effect.do === "incident" ? [effect.facts] : [])),
    pass(ms: number): void {
      const untilMs = nowMs + ms;
      for (let due = nextNodeLookMs(state); due !== undefined && due <= untilMs; due = nextNodeLookMs(state)) {
        nowMs = Math.max(nowMs, due);
        self.tell({ is: "look" });
      }
      nowMs = untilMs;
    },
  };
  return self;
}

test("a full disk: its playbook plays, the trigger is over, probation, closed", () => {
  const one = node();
  one.fire();
  expect(one.plays()).toMatchObject([{ playbook: "resource-cleanup" }]);
  one.answer(true);
  one.pass(10_000);
  one.tell({ is: "cleared", trigger: "disk-high" });
  expect(one.incidents().at(-1)).toMatchObject({ at: "probation", recoverTookMs: 10_000 });
  one.pass(300_000);
  expect(one.incidents().at(-1)).toMatchObject({ at: "closed", needsPerson: false });
  expect(one.state).toEqual(calmNode);
});

test("its trigger is over before its playbook, which hangs: it is called off and the case recovers, with nobody called", () => {
  const one = node();
  one.fire();
  one.pass(60_000);
  one.tell({ is: "cleared", trigger: "disk-high" });
  one.pass(600_000);
  expect(one.effects.filter((effect) => effect.do === "cancel")).toHaveLength(1);
  expect(one.incidents().at(-1)).toMatchObject({ at: "probation", needsPerson: false });
  one.pass(300_000);
  expect(one.state).toEqual(calmNode);
});

test("SYN-10 SYN-7 its playbook waits for its place and then takes a minute: the deed is its first step, and the audit says how long it all took", () => {
  const one = node();
  one.fire();
  const [play] = one.plays();
  one.pass(20_000);
  one.tell({ is: "acted", id: "another" });
  one.tell({ is: "acted", id: play?.id ?? "" });
  one.pass(60_000);
  one.answer(true);
  const { decidedWallMs = 0, actedWallMs = 0 } = one.incidents().at(-1) ?? {};
  expect(actedWallMs - decidedWallMs).toBe(20_000);
  const audits = one.effects.flatMap((effect) => (effect.do === "audit" ? [effect] : []));
  expect(audits.map(({ action, tookMs }) => [action, tookMs])).toEqual([
    ["playbook.resource-cleanup", undefined],
    ["playbook.resource-cleanup", 80_000],
  ]);
  // A check has no incident: it is known by its turn.
  one.fire({ trigger: "nightly", playbook: "run-diagnostics" }, true);
  one.pass(5000);
  one.answer(true);
  expect(one.effects.at(-1)).toMatchObject({ action: "playbook.run-diagnostics", tookMs: 5000 });
});

test("a check had failed, and its trigger was taken out of the config: its incident asked for a person for ever", () => {
  const one = node();
  one.fire({ trigger: "nightly", playbook: "mine" }, true);
  one.answer(false);
  expect(one.incidents().at(-1)).toMatchObject({ at: "open", needsPerson: true });
  one.tell({ is: "retired", trigger: "another" });
  one.tell({ is: "retired", trigger: "nightly" });
  expect(one.incidents().at(-1)).toMatchObject({ at: "closed", needsPerson: false, personCalled: true });
  expect(one.incidents().at(-1)?.timeline.at(-1)?.because).toContain("does not have the trigger nightly any more");
  expect(one.state).toEqual(calmNode);
  // One that is at work is called off.
  one.fire({ trigger: "nightly", playbook: "mine" }, true);
  one.tell({ is: "retired", trigger: "nightly" });
  expect(one.effects.at(-1)).toMatchObject({ do: "cancel" });
});

test("SYN-14 a person who was called stays in the books when all is well again", () => {
  const one = node();
  one.fire();
  one.answer(true);
  one.pass(121_000);
  one.tell({ is: "cleared", trigger: "disk-high" });
  one.pass(300_000);
  expect(one.incidents().at(-1)).toMatchObject({ at: "closed", needsPerson: false, personCalled: true });
});

test("what does not help is told to a person, once, and is over when the trigger is", () => {
  const one = node();
  one.fire();
  one.answer(true);
  one.pass(121_000);
  expect(one.incidents().at(-1)).toMatchObject({ at: "open", needsPerson: true });
  for (let n = 0; n < 10; n++) one.fire();
  expect(one.plays()).toHaveLength(1);
  one.tell({ is: "cleared", trigger: "disk-high" });
  expect(one.incidents().at(-1)?.at).toBe("probation");
});

test("a step that may fail and has failed calls nobody: it is written down, and the trigger's end is waited for", () => {
  const one = node();
  one.fire();
  one.answer(false, true);
  expect(one.incidents().at(-1)).toMatchObject({ at: "verifying", needsPerson: false });
  expect(one.incidents().at(-1)?.timeline.at(-1)?.because).toContain("a step was passed over: freed 3 GiB");
  one.pass(8000);
  one.tell({ is: "cleared", trigger: "disk-high" });
  expect(one.incidents().at(-1)).toMatchObject({ at: "probation", needsPerson: false });
});

test("a step was passed over, and the trigger still holds when its time is over: a person is told", () => {
  const one = node();
  one.fire();
  one.answer(false, true);
  one.pass(121_000);
  expect(one.incidents().at(-1)).toMatchObject({ at: "open", needsPerson: true });
});

test("a playbook that breaks off is told at once, unless its trigger is over already", () => {
  const [one, other] = [node(), node()];
  one.fire();
  one.answer(false);
  expect(one.incidents().at(-1)).toMatchObject({ at: "open", needsPerson: true });
  other.fire();
  other.tell({ is: "cleared", trigger: "disk-high" });
  other.answer(false);
  expect(other.incidents().at(-1)).toMatchObject({ at: "probation", needsPerson: false });
});

test("a trigger that fires again while its playbook plays is not over: a full disk was told as recovered", () => {
  const one = node();
  one.fire();
  one.tell({ is: "cleared", trigger: "disk-high" });
  one.fire();
  one.answer(true);
  expect(one.incidents().at(-1)).toMatchObject({ at: "verifying" });
});

test("a relapse on probation is the same incident, and its playbook plays again", () => {
  const one = node();
  one.fire();
  one.answer(true);
  one.tell({ is: "cleared", trigger: "disk-high" });
  one.pass(60_000);
  one.fire();
  expect(one.plays()).toHaveLength(2);
  expect(new Set(one.incidents().map(({ id }) => id)).size).toBe(1);
});

test("GRC-3 a daily check is no incident unless it fails", () => {
  const one = node();
  one.fire({ trigger: "daily-check", playbook: "daily-maintenance", severity: "low" }, true);
  one.answer(true);
  expect([one.incidents(), one.state]).toEqual([[], calmNode]);
  one.fire({ trigger: "daily-check", playbook: "daily-maintenance", severity: "low" }, true);
  one.answer(false);
  expect(one.incidents().at(-1)).toMatchObject({ at: "open", needsPerson: false, trigger: "daily-check" });
});

test("GRC-3 a daily check that failed once is made again the next day, and one that goes well closes the incident", () => {
  const one = node();
  const daily = () => one.fire({ trigger: "daily-check", playbook: "daily-maintenance", severity: "low" }, true);
  daily();
  one.answer(false);
  daily();
  one.answer(false);
  expect(one.plays()).toHaveLength(2);
  daily();
  one.answer(true);
  expect(one.incidents().at(-1)).toMatchObject({ at: "probation" });
  one.pass(300_000);
  expect(one.incidents().at(-1)?.at).toBe("closed");
  expect(new Set(one.incidents().map(({ id }) => id)).size).toBe(1);
  expect(one.state).toEqual(calmNode);
});

test("GRC-3 a daily check that never ends is called off, and is a failure like any other", () => {
  const one = node();
  one.fire({ trigger: "daily-check", playbook: "daily-maintenance", severity: "low" }, true);
  one.fire();
  expect(one.plays()).toHaveLength(2); // and meanwhile nobody waits for it
  one.answer(true);
  one.tell({ is: "cleared", trigger: "disk-high" });
  one.pass(5 * 3_600_000);
  expect(one.state.cases["daily-check"]?.at).toBe("playing");
  one.pass(3_600_000);
  expect(one.effects.some((effect) => effect.do === "cancel")).toBe(true);
  expect(one.incidents().at(-1)).toMatchObject({ at: "open", trigger: "daily-check" });
});

test("the agent's own absence is not held against what it played or watched", () => {
  const one = node();
  one.fire();
  one.answer(true);
  one.tell({ is: "late", byMs: 3_600_000 });
  one.pass(3_500_000);
  expect(one.state.cases["disk-high"]?.at).toBe("watching");
});

test("over a reboot, how long a recovery took is told by the wall clock", () => {
  const one = node();
  one.fire();
  one.answer(true);
  one.reboot(90_000);
  one.tell({ is: "cleared", trigger: "disk-high" });
  expect(one.incidents().at(-1)).toMatchObject({ at: "probation", recoverTookMs: 90_000 });
});

test("GRC-7 a playbook at work when the kill switch goes on is held by it, pages nobody, and has its turn when it goes off", () => {
  const one = node();
  one.fire();
  one.fire({ trigger: "memory-high", severity: "medium" });
  one.tell({ is: "held" });
  expect(one.effects.filter(({ do: it }) => it === "cancel")).toHaveLength(1);
  expect(one.effects).toContainEqual(
    expect.objectContaining({ because: "held by the kill switch", outcome: "refused" }),
  );
  // What it answers when it was called off changes nothing.
  one.answer(false);
  one.pass(3_600_000);
  expect(one.plays()).toHaveLength(1);
  expect(one.incidents().filter(({ needsPerson }) => needsPerson)).toEqual([]);
  expect(one.incidents().map(({ at }) => at)).toContain("open");
  one.tell({ is: "released" });
  expect(one.plays()).toHaveLength(2);
  one.answer(true);
  expect(one.plays()).toHaveLength(3);
});

test("GRC-7 what fires while the kill switch is on is told and not done, over the agent's death too", () => {
  const one = node();
  one.tell({ is: "boot", rebooted: false, held: true });
  one.fire();
  one.fire({ trigger: "daily-check", playbook: "weekly-maintenance" }, true);
  expect(one.plays()).toEqual([]);
  expect(one.incidents().at(-1)).toMatchObject({ at: "open", trigger: "disk-high", needsPerson: false });
  one.tell({ is: "boot", rebooted: true, held: true });
  expect(one.plays()).toEqual([]);
  // It was turned off while no agent was there to hear of it.
  one.tell({ is: "boot", rebooted: false, held: false });
  expect(one.plays()).toMatchObject([{ playbook: "resource-cleanup" }]);
});

test("a playbook that an earlier agent had begun is not resumed when the kill switch went on before its successor came", () => {
  const one = node();
  one.fire();
  one.tell({ is: "boot", rebooted: false, held: true });
  expect(one.plays()).toHaveLength(1);
  expect(one.state.cases["disk-high"]?.at).toBe("told");
});

test("one playbook at a time, the worst first, and the rest in their turn", () => {
  const one = node();
  one.fire({ trigger: "a", severity: "low", playbook: "run-diagnostics" });
  one.fire({ trigger: "b", severity: "medium" });
  one.fire({ trigger: "c", severity: "critical" });
  const order = () => one.plays().map(({ playbook }) => playbook);
  expect(order()).toHaveLength(1);
  one.answer(true);
  expect(one.state.cases.c?.at).toBe("playing");
  one.answer(true);
  expect(one.state.cases.b?.at).toBe("playing");
});

test("a playbook that never ends is called off within its budget", () => {
  const one = node();
  one.fire();
  one.pass(601_000);
  expect(one.effects.some((effect) => effect.do === "cancel")).toBe(true);
  expect(one.incidents().at(-1)).toMatchObject({ needsPerson: true });
});

test("after the agent's death what played is asked for again by the same id", () => {
  const one = node();
  one.fire();
  one.tell({ is: "boot", rebooted: false });
  const ids = one.plays().map(({ id }) => id);
  expect(ids).toHaveLength(2);
  expect(new Set(ids).size).toBe(1);
});

test("whatever happens in whatever order: never two playbooks at a time, and in the end all is closed or told", () => {
  const triggers = ["a", "b", "c"];
  const anything: fc.Arbitrary<(one: Node) => void> = fc.oneof(
    fc.constantFrom(...triggers).map((trigger) => (one: Node) => one.fire({ trigger })),
    fc.constantFrom(...triggers).map((trigger) => (one: Node) => one.tell({ is: "cleared", trigger })),
    fc.boolean().map((ok) => (one: Node) => one.answer(ok)),
    fc.boolean().map((rebooted) => (one: Node) => one.tell({ is: "boot", rebooted, held: one.state.held === true })),
    fc.constantFrom("held", "released").map((is) => (one: Node) => one.tell({ is })),
    fc.integer({ min: 0, max: 400_000 }).map((ms) => (one: Node) => one.pass(ms)),
  );
  fc.assert(
    fc.property(fc.array(anything, { maxLength: 60 }), (acts) => {
      const one = node();
      for (const act of acts) {
        act(one);
        expect(Object.values(one.state.cases).filter(({ at }) => at === "playing").length).toBeLessThanOrEqual(
          one.state.held ? 0 : 1,
        );
      }
      one.tell({ is: "released" });
      for (let n = 0; n < 10; n++) {
        one.answer(true);
        for (const trigger of triggers) one.tell({ is: "cleared", trigger });
        one.pass(400_000);
      }
      expect(one.state).toEqual(calmNode);
    }),
    { numRuns: 300 },
  );
});
