import { formatDuration } from "@blueflame/shared/cli/text.ts";
import type { Check, Findings } from "./checkup.ts";

/** What was found out of what keeps the node coming back; gathered by examine-recovery.driver.ts. */
export interface RecoveryFindings {
  /** Absent while the kill switch is off. */
  readonly killed?: { readonly person: string; readonly reason: string; readonly at: string };
  /** A person's word that no agent shall run: until `up`, or until the next boot. */
  readonly word?: "down" | "stop";
  /** `silent`: it holds its place and does not answer; `pid` is who, as far as /proc tells. */
  readonly watchdog:
    | { readonly is: "answers"; readonly pid: number; readonly init: boolean }
    | { readonly is: "silent"; readonly pid?: number; readonly stopped?: boolean }
    | { readonly is: "none" };
  readonly goodCopy:
    | { readonly is: "sound"; readonly version: string; readonly files: number }
    | { readonly is: "absent" }
    | { readonly is: "damaged"; readonly because: string };
  /** Of the youngest: when it was taken, or why it is of no use; neither when there is none. */
  readonly snapshots: { readonly count: number; readonly takenWallMs?: number; readonly problem?: string };
  /** Each limit of a workload that runs, and who holds it. */
  readonly limits: readonly {
    readonly workload: string;
    readonly what: "tasks" | "memory" | "cpu";
    readonly by: "cgroup" | "watching" | "nobody";
  }[];
  /** C functions can be called: posix_spawn, and the sockets of systemd's notify protocol. */
  readonly native: boolean;
}

/** The agent takes one at its start and each hour; twice that is late. */
const snapshotLateMs = 2 * 3_600_000;

/** Judges what keeps the node coming back, in the order in which a person would mend it. Pure. */
export function recoveryChecks({ recovery, agent, clock }: Findings): Check[] {
  const runs = agent.is === "well";
  return [
    killSwitchCheck(recovery),
    ...(recovery.word && !runs ? [wordCheck(recovery.word)] : []),
    watchdogCheck(recovery.watchdog, runs),
    snapshotCheck(recovery.snapshots, runs, clock.nowMs),
    goodCopyCheck(recovery.goodCopy),
    ...(recovery.limits.length > 0 ? [limitCheck(recovery.limits)] : []),
    nativeCheck(recovery.native),
  ];
}

function killSwitchCheck({ killed }: RecoveryFindings): Check {
  if (!killed) return { check: "kill switch", state: "ok", saw: "off", remedy: "" };
  const reason = killed.reason === "" ? "" : `: ${killed.reason}`;
  return {
    check: "kill switch",
    state: "warn",
    saw: `on since ${killed.at || "an unknown time"}, by ${killed.person}${reason}`,
    remedy: "Nothing is started or healed until `blueflame-agent kill-switch off`.",
  };
}

function wordCheck(word: "down" | "stop"): Check {
  const saw =
    word === "down"
      ? "a person's `down` holds: nobody starts the agent"
      : "the agent was stopped by a signal: nobody starts it before the next boot";
  return { check: "intent", state: "warn", saw, remedy: "`blueflame-agent up` takes it back." };
}

function watchdogCheck(watchdog: RecoveryFindings["watchdog"], runs: boolean): Check {
  const check = "watchdog";
  if (watchdog.is === "answers") {
    const saw = `pid ${watchdog.pid} answers, ${watchdog.init ? "guarded by init" : "guarded by the agent"}`;
    return { check, state: "ok", saw, remedy: "" };
  }
  if (watchdog.is === "silent") {
    const who = watchdog.pid === undefined ? "it" : `pid ${watchdog.pid}`;
    const remedy = runs
      ? "The agent replaces it within seconds; if this stays, look at logs/watchdog.log."
      : "`blueflame-agent emergency` ends it and brings the node back; its workloads go on.";
    const why = watchdog.stopped ? ": it was stopped by a signal (state T)" : "";
    return { check, state: "warn", saw: `${who} holds its place and does not answer${why}`, remedy };
  }
  // Without an agent there is nothing to guard, and that is said already.
  if (!runs) return { check, state: "ok", saw: "none runs", remedy: "" };
  const remedy =
    "`blueflame-agent up` starts one, unless it was told --no-watchdog or a service manager guards the agent itself.";
  return { check, state: "warn", saw: "none runs: nobody of ours starts the agent again", remedy };
}

function snapshotCheck(snapshots: RecoveryFindings["snapshots"], runs: boolean, nowMs: number): Check {
  const { count, takenWallMs, problem } = snapshots;
  const check = "snapshots";
  if (problem !== undefined)
    return {
      check,
      state: "warn",
      saw: problem,
      remedy: "With the agent stopped (`kill PID`), `blueflame-agent store verify` looks at each of them.",
    };
  const remedy = "The agent takes one at its start and each hour; see its warnings, and the space on its disk.";
  if (takenWallMs === undefined)
    return { check, state: runs ? "warn" : "ok", saw: "there is none yet", remedy: runs ? remedy : "" };
  const ageMs = Math.max(0, nowMs - takenWallMs);
  const saw = `${count} kept, the youngest is sound and ${formatDuration(ageMs)} old`;
  return runs && ageMs > snapshotLateMs
    ? { check, state: "warn", saw, remedy }
    : { check, state: "ok", saw, remedy: "" };
}

function goodCopyCheck(goodCopy: RecoveryFindings["goodCopy"]): Check {
  const check = "good copy";
  if (goodCopy.is === "sound") {
    const files = goodCopy.files === 1 ? "1 file" : `${goodCopy.files} files`;
    return { check, state: "ok", saw: `version ${goodCopy.version}, ${files} as their checksums say`, remedy: "" };
  }
  const remedy = "`blueflame-agent install` makes one: what a damaged program or config is mended from.";
  if (goodCopy.is === "absent") return { check, state: "warn", saw: "there is none", remedy };
  return { check, state: "fail", saw: goodCopy.because, remedy: remedy.replace("one:", "a new one:") };
}

function limitCheck(limits: RecoveryFindings["limits"]): Check {
  const check = "limits";
  const open = limits.filter(({ by }) => by !== "cgroup");
  const count = limits.length === 1 ? "1 limit is" : `${limits.length} limits are`;
  if (open.length === 0) return { check, state: "ok", saw: `${count} held by cgroups`, remedy: "" };
  const names = (by: "watching" | "nobody") => {
    const found = open.filter((one) => one.by === by).map(({ workload, what }) => `${what} of ${workload}`);
    return found.length > 5 ? `${found.slice(0, 5).join(", ")} and ${found.length - 5} more` : found.join(", ");
  };
  const watched = names("watching") && `${names("watching")} by watching`;
  const told = names("nobody") && `${names("nobody")} by nobody, an excess is only told`;
  const held = limits.length > open.length ? `${limits.length - open.length} of ${limits.length} by cgroups; ` : "";
  return {
    check,
    state: "warn",
    saw: `${held}${[watched, told].filter(Boolean).join("; ")}`,
    remedy: "Watching ends a runaway within seconds. For cgroups the agent needs root, or Delegate=yes of its unit.",
  };
}

function nativeCheck(native: boolean): Check {
  const check = "native calls";
  if (native)
    return { check, state: "ok", saw: "posix_spawn, systemd's notify protocol and who calls are there", remedy: "" };
  return {
    check,
    state: "warn",
    saw: "not on this system: starts are slower, `notify` is guarded without the protocol, and nobody can open a risk lock: who asks is not seen",
    remedy: "Install with optional packages on Linux (x64, arm64), or go on without.",
  };
}
