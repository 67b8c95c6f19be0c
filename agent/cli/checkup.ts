import { formatDuration, type Tone } from "@blueflame/shared/cli/text.ts";
import { catalogue, type Fault, type FaultCode } from "@blueflame/shared/errors/fault.ts";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { type GetStatusResponse, LinkState } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { printSize } from "@blueflame/shared/units/units.ts";
import { type RecoveryFindings, recoveryChecks } from "./checkup-recovery.ts";

/** What was found out about the machine and the agent; gathered by examine.driver.ts. */
export interface Findings {
  readonly nodeVersion: { readonly version: string; readonly newEnough: boolean };
  readonly dataDir: { readonly path: string; readonly is: "usable" | "missing" | "refused"; readonly because: string };
  readonly disk: { readonly freeBytes: number; readonly totalBytes: number } | undefined;
  readonly agent:
    | { readonly is: "well"; readonly status: GetStatusResponse }
    /** `stopped`: its process, when a signal has stopped it. */
    | { readonly is: "away"; readonly fault: Fault; readonly stopped?: number };
  /** Absent when no config was named. */
  readonly config?: { readonly file: string; readonly fault?: Fault };
  readonly certificates: readonly Certificate[];
  /** Wall time, and the newest time stamp in the data directory. */
  readonly clock: { readonly nowMs: number; readonly newestFileMs: number | undefined };
  readonly cgroup: "v2" | "v1" | "none";
  readonly proc: boolean;
  /** Processes that were started as workloads of this data directory. */
  readonly processes: readonly { readonly pid: number; readonly workload: string }[];
  readonly recovery: RecoveryFindings;
}

/** A certificate file as it was read. */
export type Certificate =
  | { readonly file: string; readonly fromMs: number; readonly toMs: number }
  | { readonly file: string; readonly problem: string };

/** One line of the doctor. */
export interface Check {
  readonly check: string;
  readonly state: "ok" | "warn" | "fail";
  readonly saw: string;
  /** What to do; empty when there is nothing to do. */
  readonly remedy: string;
}

const diskFloorBytes = 64 * 1024 * 1024;
const diskLowBytes = 512 * 1024 * 1024;
const certificateSoonMs = 7 * 24 * 3_600_000;
/** Files a little ahead are a network disk's clock; much ahead, our own went back. */
const clockAheadMs = 5 * 60_000;
/** This program is younger than any correct clock. */
const programMadeMs = Date.UTC(2026, 0, 1);

/** Judges the findings, in the order in which a person would mend them. Pure. */
export function checkup(found: Findings): Check[] {
  return [
    nodeCheck(found),
    procCheck(found),
    cgroupCheck(found),
    clockCheck(found),
    dataDirCheck(found),
    diskCheck(found),
    ...configChecks(found),
    ...found.certificates.map((certificate) => certificateCheck(certificate, found.clock.nowMs)),
    agentCheck(found),
    ...agentWarnings(found),
    ...recoveryChecks(found),
    ...linkChecks(found),
    orphanCheck(found),
  ];
}

export function checkTone(check: Check): Tone {
  return ({ ok: "good", warn: "warn", fail: "worst" } as const)[check.state];
}

function ok(check: string, saw: string): Check {
  return { check, state: "ok", saw, remedy: "" };
}

function nodeCheck({ nodeVersion }: Findings): Check {
  const saw = `Node ${nodeVersion.version}`;
  return nodeVersion.newEnough ? ok("node", saw) : fail("node", saw, catalogue.NODE_VERSION.remedy);
}

function procCheck({ proc }: Findings): Check {
  if (proc) return ok("proc", "/proc is readable");
  return fail("proc", "/proc is missing", "Mount it: without it processes cannot be told apart or adopted.");
}

function cgroupCheck({ cgroup }: Findings): Check {
  if (cgroup === "v2") return ok("cgroup", "version 2");
  const remedy = "Nothing must be done: left-over children are found by a mark in their environment, which is slower.";
  return { check: "cgroup", state: "warn", saw: cgroup === "v1" ? "version 1 only" : "none is mounted", remedy };
}

function clockCheck({ clock }: Findings): Check {
  const { nowMs, newestFileMs } = clock;
  const shown = new Date(nowMs).toISOString();
  const aheadMs = (newestFileMs ?? 0) - nowMs;
  if (nowMs < programMadeMs)
    return fail("clock", `${shown} is before this program was made`, catalogue.CLOCK_WRONG.remedy);
  if (aheadMs <= clockAheadMs) return ok("clock", shown);
  const saw = `files here were written ${formatDuration(aheadMs)} in the future: the date went back`;
  return { check: "clock", state: "warn", saw, remedy: catalogue.CLOCK_WRONG.remedy };
}

function dataDirCheck({ dataDir }: Findings): Check {
  const { path, is, because } = dataDir;
  if (is === "usable") return ok("data dir", path);
  if (is === "refused") return fail("data dir", `${path}: ${because}`, catalogue.DATA_DIR_UNUSABLE.remedy);
  return {
    check: "data dir",
    state: "warn",
    saw: `${path} is not there yet`,
    remedy: "`blueflame-agent up` makes it.",
  };
}

function diskCheck({ disk }: Findings): Check {
  if (disk === undefined)
    return { check: "disk", state: "warn", saw: "its space is unknown", remedy: "Look at it with df." };
  const saw = `${printSize(roundMiB(disk.freeBytes))} free of ${printSize(roundMiB(disk.totalBytes))}`;
  if (disk.freeBytes < diskFloorBytes) return fail("disk", saw, catalogue.STORE_WRITE_FAILED.remedy);
  if (disk.freeBytes >= diskLowBytes) return ok("disk", saw);
  return {
    check: "disk",
    state: "warn",
    saw,
    remedy: "Free space before the agent's store cannot be written any more.",
  };
}

function configChecks({ config }: Findings): Check[] {
  if (config === undefined) return [];
  return [config.fault ? faultCheck("config", config.fault) : ok("config", config.file)];
}

function certificateCheck(certificate: Certificate, nowMs: number): Check {
  const { file } = certificate;
  if ("problem" in certificate)
    return fail("certificate", `${file}: ${certificate.problem}`, catalogue.CERT_UNUSABLE.remedy);
  const { fromMs, toMs } = certificate;
  const until = `${file} is valid until ${new Date(toMs).toISOString().slice(0, 10)}`;
  if (nowMs < fromMs)
    return fail(
      "certificate",
      `${file} is valid only in ${formatDuration(fromMs - nowMs)}`,
      catalogue.CLOCK_WRONG.remedy,
    );
  if (nowMs > toMs)
    return fail("certificate", `${file} expired ${formatDuration(nowMs - toMs)} ago`, catalogue.CERT_EXPIRED.remedy);
  if (toMs - nowMs > certificateSoonMs) return ok("certificate", until);
  return { check: "certificate", state: "warn", saw: until, remedy: "Issue a new one with `blueflame-hub cert`." };
}

const emergencyRemedy = "`blueflame-agent emergency` brings the node back; its workloads go on.";

function agentCheck({ agent, clock }: Findings): Check {
  if (agent.is === "away" && agent.stopped !== undefined) {
    const saw = `process ${agent.stopped} was stopped by a signal (state T): it lives and answers nobody`;
    return fail("agent", saw, emergencyRemedy);
  }
  if (agent.is === "away") return faultCheck("agent", agent.fault);
  const { pid, version, startedAt } = agent.status;
  const up = startedAt ? formatDuration(clock.nowMs - Number(startedAt.seconds) * 1000) : "-";
  return ok("agent", `version ${version}, pid ${pid}, up ${up}`);
}

/** What the agent itself complains about: a store that cannot be written is a failure, the rest are warnings. */
function agentWarnings({ agent }: Findings): Check[] {
  if (agent.is === "away") return [];
  // The kill switch has a line of its own.
  const told = agent.status.warnings.filter((warning) => !warning.startsWith("the kill switch is on"));
  const warnings = told.map((warning): Check => {
    const code = codeIn(warning);
    const state = code?.startsWith("STORE_") ? "fail" : "warn";
    return {
      check: code?.startsWith("STORE_") ? "store" : "agent",
      state,
      saw: bare(warning, code),
      remedy: remedyOf(code),
    };
  });
  return warnings.some((check) => check.check === "store") ? warnings : [ok("store", "writes are taken"), ...warnings];
}

function linkChecks({ agent }: Findings): Check[] {
  if (agent.is === "away") return [];
  const { link, hub, linkBecause } = agent.status;
  if (link === LinkState.CONNECTED) return [ok("hub link", `connected to ${hub}`)];
  if (link === LinkState.NONE) return [ok("hub link", "no hub is configured: the node works alone")];
  const code = codeIn(linkBecause);
  const saw = linkBecause === "" ? `connecting to ${hub}` : bare(linkBecause, code);
  return [{ check: "hub link", state: "warn", saw, remedy: remedyOf(code ?? "HUB_UNREACHABLE") }];
}

function orphanCheck({ agent, processes }: Findings): Check {
  const shown = (of: Findings["processes"]) =>
    of
      .slice(0, 8)
      .map(({ pid, workload }) => `${workload} (${pid})`)
      .join(", ");
  if (agent.is === "away") {
    if (processes.length === 0) return ok("orphans", "no workload runs without its agent");
    const saw = `${processes.length === 1 ? "1 process runs" : `${processes.length} processes run`} without an agent: ${shown(processes)}`;
    return { check: "orphans", state: "warn", saw, remedy: "`blueflame-agent up` adopts them." };
  }
  const over = [WorkloadPhase.STOPPED, WorkloadPhase.COMPLETED, WorkloadPhase.BACKOFF];
  const running = new Set(agent.status.workloads.filter(({ phase }) => !over.includes(phase)).map(({ name }) => name));
  const orphans = processes.filter(({ workload }) => !running.has(workload));
  if (orphans.length === 0) return ok("orphans", "every process belongs to a running workload");
  const saw = `${orphans.length === 1 ? "1 process belongs" : `${orphans.length} processes belong`} to no running workload: ${shown(orphans)}`;
  return { check: "orphans", state: "warn", saw, remedy: "Look at them with ps, and end them if they are of no use." };
}

function fail(check: string, saw: string, remedy: string): Check {
  return { check, state: "fail", saw, remedy };
}

function faultCheck(check: string, fault: Fault): Check {
  return fail(check, fault.saw, catalogue[fault.code].remedy);
}

function codeIn(text: string): FaultCode | undefined {
  const code = /^\[([A-Z_]+)\]/.exec(text)?.[1];
  return code !== undefined && Object.hasOwn(catalogue, code) ? (code as FaultCode) : undefined;
}

function remedyOf(code: FaultCode | undefined): string {
  return code === undefined ? "" : catalogue[code].remedy;
}

/** An error line without its code and remedy, which stand in columns of their own. */
function bare(text: string, code: FaultCode | undefined): string {
  if (code === undefined) return text;
  return text
    .slice(code.length + 2)
    .replace(remedyOf(code), "")
    .trim()
    .replace(/\.$/, "");
}

function roundMiB(bytes: number): number {
  const unit = bytes >= 1024 ** 3 ? 1024 ** 3 : 1024 ** 2;
  return Math.floor(bytes / unit) * unit;
}
