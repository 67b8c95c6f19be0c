/** The emergency of a story's node: the real plan, over what stands in this world; its steps take their time. */
import type { Findings, ProcessFound } from "@blueflame/agent/bootstrap/findings.ts";
import { plan } from "@blueflame/agent/bootstrap/plan.ts";
import type { Done, Step } from "@blueflame/agent/bootstrap/steps.ts";
import { standsOf } from "@blueflame/agent/supervise/stands.ts";
import { well } from "../support/node-findings.ts";
import type { Guards } from "./node-guard.ts";
import type { NodeWorld } from "./node-world.ts";

const stepMs = 200;
const lookEveryMs = 200;
/** Who was started answers within this. */
const startMs = 60_000;
/** A plan that is not through after so many steps never will be. */
const stepsMax = 50;

/** Runs it; `person` empty: by itself. */
export function emergency(world: NodeWorld, guards: Guards, person: string, then: (because: string) => void): void {
  const say = (what: string) => world.see({ is: "life", who: "emergency", what });
  say(person ? `begins, asked by ${person}` : "begins by itself");
  const go = (done: readonly Done[]): void => {
    const { leave, steps, verdicts, troubles } = plan(findings(world, guards, person === ""), done);
    const [step] = steps;
    if (!step || done.length >= stepsMax) {
      const mended = verdicts.filter(({ state }) => state === "mended").map(({ part }) => part);
      const words = leave ?? `${mended.length > 0 ? `mended ${mended.join(", ")}` : "nothing was to be mended"}`;
      for (const { code, because } of troubles) say(`[${code}] ${because}`);
      if (leave === undefined && (person === "" || mended.length > 0 || troubles.length > 0))
        world.see({ is: "told", workload: "", page: true, because: `emergency: ${words}` });
      say(`ends: ${words}`);
      then(words);
      return;
    }
    say(Object.values(step).join(" "));
    make(world, guards, step, (because) => go([...done, { step, ok: true, because }]));
  };
  go([]);
}

function make(world: NodeWorld, guards: Guards, step: Step, then: (because: string) => void): void {
  const until = (isDone: () => boolean, limitMs: number): void => {
    const done = isDone();
    if (done || limitMs <= 0) then(done ? "done" : "its time was over");
    else world.later(lookEveryMs, () => until(isDone, limitMs - lookEveryMs));
  };
  const answers = () => guards.lives("agent") === "answers";
  switch (step.do) {
    case "wait":
      until(() => answers() && findings(world, guards, false).workloads.every(({ is }) => is !== "down"), step.forMs);
      break;
    case "startAll":
    case "startAgent":
      guards.start(step.do === "startAll" ? "watchdog" : "agent");
      until(answers, startMs);
      break;
    case "endGuards":
      guards.kill("watchdog");
      guards.kill("agent");
      until(() => true, 0);
      break;
    case "endAgent":
      guards.kill("agent");
      until(() => true, 0);
      break;
    case "restart":
      world.tell(step.workload, { is: "restart", who: "person:emergency" });
      until(() => true, 0);
      break;
    default:
      world.later(stepMs, () => then("done"));
  }
}

function findings(world: NodeWorld, guards: Guards, auto: boolean): Findings {
  const found = (name: "agent" | "watchdog", pid: number): ProcessFound => {
    const is = guards.lives(name);
    return { is, pid: is === "dead" ? undefined : pid, because: is === "dead" ? "none lives" : "it lives" };
  };
  const agent = found("agent", 2);
  const folder = { path: "/d", ours: true, is: "there", uid: 0, mode: 0o700, refuses: undefined } as const;
  const store = agent.is === "answers" ? "in-use" : "sound";
  return {
    asked: { auto, start: false },
    lastAutoAgoMs: undefined,
    word: undefined,
    killSwitch: world.killSwitch,
    dataDir: folder,
    folders: [],
    owner: { uid: 0, gid: 0 },
    self: 0,
    foreign: { count: 0, first: "" },
    closed: { count: 0, first: "" },
    disk: { freeBytes: 2 ** 30, totalBytes: 2 ** 34, mount: "/" },
    good: { is: "sound", because: "as installed" },
    files: [],
    program: { words: ["/bin/bf"], starts: true, because: "", version: "1", goodVersion: "1" },
    works: ["/bin/bf"],
    config: { path: "/etc/bf.yaml", is: "sound", because: "", copy: "sound", lastGood: true },
    secrets: [],
    key: well.key,
    store: { is: store, code: "", because: "it opens", holder: undefined, snapshots: 3, copies: [] },
    socket: agent.is === "answers" ? "listens" : "left-over",
    lock: agent.is === "answers" ? "held" : "left-over",
    watchdog: found("watchdog", 1),
    agent,
    workloads: [...world.actors].map(([name, { state, instance }]) => ({
      name,
      is: instance ? "runs" : ["stopped", "well"].includes(standsOf(state)) ? "rests" : "down",
      because: state.because,
    })),
    start: { by: "words" },
  };
}
