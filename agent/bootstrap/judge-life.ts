/** What lives on the node: the store, the watchdog, the agent, the workloads. Pure. */
import { basename } from "node:path";
import type { Findings } from "./findings.ts";
import { judgeClosed, judgeLosable } from "./judge-key.ts";
import { agentCommand, emergencyAgain } from "./judge-place.ts";
import { broken, type Done, type Judgement, nothing, type Step, sawIn, sound, tried, typed } from "./steps.ts";

/** An agent opens its store, adopts and starts: seconds, on a slow disk more. */
const startMs = 60_000;
/** A watchdog that lives finds a hung agent within 3 s and starts another. */
const watchdogMs = 15_000;
const workloadsMs = 60_000;

export function judgeStore(found: Findings, done: readonly Done[]): Judgement {
  const { store } = found;
  const part = "store";
  const mended = (step: Step) => step.do === "mendStore";
  const opened = (step: Step) => mended(step) || step.do === "awaitStore";
  switch (store.is) {
    case "sound":
      return { ...nothing, verdicts: [sound(part, store.because, done, mended)] };
    case "in-use":
      return judgeLosable(found, done) ?? { ...nothing, verdicts: [sound(part, store.because, done, opened)] };
    case "absent":
    case "unknown":
      return {
        ...nothing,
        verdicts: [{ part, state: store.is === "absent" ? "well" : "warning", saw: store.because }],
      };
    case "held": {
      const { pid, command, stopped = false } = store.holder ?? { pid: 0, command: "" };
      const state = stopped ? ", stopped by a signal" : "";
      const saw = `${store.because}${pid > 0 ? `: process ${pid} (${command})${state}` : ""}`;
      // Who is stopped hears of no signal but the last.
      const kill = typed(["kill", ...(stopped ? ["-9"] : []), String(pid)]);
      const commands = [...(pid > 0 ? [kill] : []), emergencyAgain(found)];
      return broken(part, saw, done, [], { code: "STORE_LOCKED", because: saw, commands, stops: true });
    }
    case "closed":
      return judgeClosed(found, done, store);
    case "refused":
      return judgeRefused(found, done);
    case "damaged":
      return judgeDamaged(found, done);
  }
}

/** Whoever guards from memory tries to open it every second: once the disk takes it again, nothing has to be started. */
const openMs = 5000;

/** The disk, or a file's mode, keeps the store from being opened or written. */
function judgeRefused(found: Findings, done: readonly Done[]): Judgement {
  const { store, agent, closed, foreign, dataDir } = found;
  const guarded =
    agent.is === "dead" ? "" : `; the agent (pid ${agent.pid}) guards the workloads from memory meanwhile`;
  const saw = `${store.because}${guarded}`;
  const steps: Step[] = agent.is === "dead" ? [] : [{ do: "awaitStore", forMs: openMs }];
  const open = typed([...(found.self === 0 ? [] : ["sudo"]), "chmod", "-R", "u+rwX", dataDir.path]);
  const commands = /\bE(ACCES|PERM)\b|Permission denied|may not be/.test(store.because)
    ? [open, emergencyAgain(found)]
    : storeCommands(found, "STORE_WRITE_FAILED", store.because);
  const judged = broken("store", saw, done, steps, { code: store.code, because: saw, commands });
  // A disk that is full or takes nothing, files that are closed and files of another owner were said there with their own commands.
  const isSaid = dataDir.refuses !== undefined || closed.count + foreign.count > 0;
  return isSaid ? { ...judged, troubles: [] } : judged;
}

function judgeDamaged(found: Findings, done: readonly Done[]): Judgement {
  const { store, agent, watchdog } = found;
  const lives = agent.is !== "dead" || watchdog.is !== "dead";
  const steps: Step[] = [...(lives ? [{ do: "endGuards" } as const] : []), { do: "mendStore" }];
  const failed = tried(done, { do: "mendStore" });
  const code = /^\[([A-Z_]+)\]/.exec(failed?.because ?? "")?.[1] ?? (store.code || "STORE_DAMAGED");
  // Nothing is mended that nobody can read; once it opens again, the next start or emergency mends it.
  if (failed && code.startsWith("STORE_KEY_")) {
    return judgeClosed(found, done, { code, because: `${store.because}; ${sawIn(failed.because)}` });
  }
  return broken("store", store.because, done, steps, {
    code,
    because: store.because,
    commands: storeCommands(found, code, failed?.because ?? store.because),
    // An agent on a full disk guards from memory.
    stops: code !== "STORE_WRITE_FAILED",
  });
}

function storeCommands(found: Findings, code: string, because: string): string[] {
  const again = emergencyAgain(found);
  const [oldest] = found.store.copies;
  if (oldest !== undefined && /copies already lie/.test(found.store.because)) {
    return [
      "# keep it for who wants to know:",
      typed(["mv", oldest, `${found.dataDir.path}-${basename(oldest)}`]),
      again,
    ];
  }
  if (code === "STORE_NEWER") return ["# install the version that wrote it, or a newer one, then:", again];
  if (code === "STORE_WRITE_FAILED") {
    const disk = found.disk?.mount ?? "the disk";
    const isFull = /ENOSPC|EDQUOT|No space left|quota|are free/.test(because);
    const why = isFull
      ? `free space on ${disk}`
      : `look at ${disk}: its space, how it is mounted, what the kernel says of it`;
    return [`# ${why}, then:`, ...(isFull ? [] : ["#   dmesg --level=err,warn"]), again];
  }
  return [
    "# with a copy of a snapshot folder from elsewhere:",
    `# ${agentCommand(found, "store", "restore", "--from=FOLDER")}`,
    "# without one, giving up what the store knew (what a person stopped stays stopped, as far as stopped.json tells):",
    agentCommand(found, "store", "restore", "--empty"),
    again,
  ];
}

/** Left-overs that the agent's own start takes out of its way; only what is in the way of that is moved. */
export function judgeLeftOvers(found: Findings, done: readonly Done[]): Judgement {
  const path = `${found.dataDir.path}/agent.sock`;
  if (found.socket === "no-socket") {
    const commands = [typed(["mv", path, `${path}.aside`]), emergencyAgain(found)];
    const saw = `${path} is in the way and is no socket`;
    return broken("socket", saw, done, [{ do: "moveAside", path }], {
      code: "DATA_DIR_UNUSABLE",
      because: saw,
      commands,
    });
  }
  if (found.socket === "barred") {
    // Where an agent listens, it only needs to be let in; where none lives, the next one would stumble over it.
    const lives = found.agent.is !== "dead";
    const saw = `${path} may not be opened${lives ? "" : ", and nobody listens"}: its mode lets nobody in`;
    const step: Step = lives ? { do: "setMode", path, mode: 0o600 } : { do: "moveAside", path };
    const command = lives ? ["chmod", "600", path] : ["mv", path, `${path}.aside`];
    const commands = [typed(command), emergencyAgain(found)];
    return broken("socket", saw, done, [step], { code: "AGENT_UNREACHABLE", because: saw, commands });
  }
  const said = {
    none: "there is none",
    listens: "somebody listens",
    barred: "",
    "left-over": "its owner is gone: the next agent replaces it",
  };
  const lock = {
    none: "",
    held: "",
    "left-over": "; the store's lock is of a dead process: the next opening takes it",
  };
  const saw = `${said[found.socket]}${lock[found.lock]}`;
  return {
    ...nothing,
    verdicts: [sound("socket and lock", saw, done, (step) => "path" in step && step.path === path)],
  };
}

/** A person's word, for the verdict, and whether it forbids to start. */
export function judgeWord(found: Findings, done: readonly Done[]): Judgement & { readonly rests: boolean } {
  const verdicts = [];
  if (found.killSwitch) {
    const saw = "it is on: every workload stays down until a person takes it back";
    verdicts.push({ part: "kill switch", state: "rests", saw } as const);
  } else verdicts.push({ part: "kill switch", state: "well", saw: "it is off" } as const);
  if (found.word === undefined) return { ...nothing, verdicts, rests: false };
  if (found.asked.start) {
    const judged = broken("word", `a person said '${found.word}'`, done, [{ do: "takeBackDown" }], undefined);
    return { ...judged, verdicts: [...verdicts, ...judged.verdicts], rests: true };
  }
  const start = agentCommand(found, "emergency", "--start");
  const saw = `a person said '${found.word}': nothing is started; take it back with: ${start}`;
  return { ...nothing, verdicts: [...verdicts, { part: "word", state: "rests", saw }], rests: true };
}

export function judgeGuards(found: Findings, done: readonly Done[], rests: boolean): Judgement {
  const { watchdog, agent } = found;
  const started = (step: Step) => step.do === "startAll" || step.do === "startAgent" || step.do === "endAgent";
  if (rests) {
    const verdict = (part: string, is: string) =>
      ({ part, state: "rests", saw: is === "dead" ? "it does not run" : "it runs" }) as const;
    return { ...nothing, verdicts: [verdict("watchdog", watchdog.is), verdict("agent", agent.is)] };
  }
  const wellWatchdog = sound("watchdog", `pid ${watchdog.pid}`, done, (step) => step.do === "startAll");
  if (agent.is === "answers" && watchdog.is !== "dead") {
    return { ...nothing, verdicts: [wellWatchdog, sound("agent", `pid ${agent.pid} answers`, done, started)] };
  }
  const saw = agent.is === "answers" ? watchdog.because : agent.because;
  const judged = broken(agent.is === "answers" ? "watchdog" : "agent", saw, done, guardSteps(found), {
    code: "AGENT_UNREACHABLE",
    because: saw,
    commands: guardCommands(found),
  });
  const other =
    agent.is === "answers"
      ? sound("agent", `pid ${agent.pid} answers`, done, started)
      : watchdogVerdict(found, wellWatchdog);
  return { ...judged, verdicts: [...judged.verdicts, other] };
}

function watchdogVerdict({ watchdog }: Findings, well: Judgement["verdicts"][number]) {
  return watchdog.is === "dead" ? ({ part: "watchdog", state: "broken", saw: watchdog.because } as const) : well;
}

function guardSteps({ agent, watchdog, start }: Findings): Step[] {
  const all: Step = { do: "startAll", by: start.by === "init" ? "init" : "watchdog" };
  // The agent starts its own watchdog, and a watchdog its agent: who lives is given the time for it.
  if (agent.is === "answers") return [{ do: "wait", forMs: watchdogMs }, all];
  if (start.by === "nobody") return [];
  if (agent.is === "silent") {
    return [watchdog.is === "dead" ? all : { do: "wait", forMs: watchdogMs }, { do: "endAgent" }, { do: "startAgent" }];
  }
  return watchdog.is === "dead" ? [all, { do: "startAgent" }] : [{ do: "startAgent" }, all];
}

function guardCommands(found: Findings): string[] {
  const { path } = found.config;
  const up = path === undefined ? undefined : agentCommand(found, "up", "--config", path);
  if (found.start.by === "nobody") {
    const asBefore = up ?? agentCommand(found, "up", "--config", "CONFIG");
    const { unread } = found.start;
    const closed = unread?.endsWith("EACCES") ? [typed(["chmod", "600", `${found.dataDir.path}/start.json`])] : [];
    if (closed.length > 0) return [...closed, emergencyAgain(found)];
    return [`# ${unread ?? "nobody has written down how it was started"}:`, `# ${asBefore}`];
  }
  const foreground = up === undefined ? [] : ["# in the foreground the agent says why it ends:", `# ${up}`];
  return [agentCommand(found, "doctor"), "# do what it says, then:", emergencyAgain(found), ...foreground];
}

export function judgeWorkloads(found: Findings, done: readonly Done[], rests: boolean): Judgement {
  const { workloads, asked, killSwitch } = found;
  const down = workloads.filter(({ is }) => is === "down");
  const lying = rests || killSwitch;
  const verdicts = workloads.map(({ name, is, because }) => ({
    part: `workload ${name}`,
    state: is === "down" ? (lying ? "rests" : "broken") : is === "rests" ? "rests" : "well",
    saw: because,
  })) satisfies Judgement["verdicts"];
  if (down.length === 0 || lying || found.agent.is !== "answers") return { ...nothing, verdicts };
  // The ladder of an agent that lives has called us, and goes on with what it was about.
  if (asked.auto && !done.some(({ step }) => step.do === "startAll" || step.do === "startAgent")) {
    return {
      ...nothing,
      verdicts: verdicts.map((one) => (one.state === "broken" ? { ...one, state: "warning" } : one)),
    };
  }
  const wait: Step = { do: "wait", forMs: workloadsMs };
  // By itself it was called because the ladder had tried everything: it starts none of them out of turn.
  const restarts: Step[] = asked.auto ? [] : down.map(({ name }) => ({ do: "restart", workload: name }));
  const open = restarts.filter((step) => !tried(done, step));
  if (!tried(done, wait)) return { verdicts, steps: [wait], troubles: [] };
  if (open.length > 0) return { verdicts, steps: open, troubles: [] };
  const again: Step = { do: "wait", forMs: workloadsMs + 1 };
  if (restarts.length > 0 && !tried(done, again)) return { verdicts, steps: [again], troubles: [] };
  const because = `${down.map(({ name }) => name).join(", ")} ${down.length === 1 ? "is" : "are"} down: ${down[0]?.because ?? ""}`;
  const commands = [
    ...down
      .slice(0, 5)
      .flatMap(({ name }) => [agentCommand(found, "incidents", "last"), agentCommand(found, "logs", name)]),
    "# mend what they say, then:",
    emergencyAgain(found),
  ];
  return { verdicts, steps: [], troubles: [{ code: "NODE_UNWELL", because, commands: [...new Set(commands)] }] };
}

export const limits = { startMs, watchdogMs, workloadsMs } as const;
