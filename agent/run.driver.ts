import { join } from "node:path";
import { type Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { InventorySchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { WorkloadStatus } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import { makeFolder } from "@blueflame/shared/store/folder.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { version } from "@blueflame/shared/version.ts";
import { create } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import { peerOf } from "./api/peer.driver.ts";
import { checkSocketPath } from "./api/socket.driver.ts";
import { outputOf, socketOf } from "./cli/place.ts";
import type { AgentConfig } from "./config/config.ts";
import { ConfigKeeper, type GivenConfigs } from "./config/memory.driver.ts";
import { criticalFile, startedByWatchdog } from "./critical.driver.ts";
import { type Door, openDoor } from "./door.driver.ts";
import { type Guard, type GuardOptions, openGuard } from "./guard.driver.ts";
import { defaultNodeId, nodeIdOf, readTarget } from "./identity.driver.ts";
import { RunningNode } from "./loop.ts";
import { notifyFor } from "./notify/notify-for.driver.ts";
import { openRecovery } from "./recovery/open-recovery.driver.ts";
import { Excesses, type Protection, protect } from "./recovery/protect.driver.ts";
import { inventory } from "./sensors/inventory.driver.ts";
import { Signs } from "./sensors/signs.driver.ts";
import { changedAt, metaHealthFile } from "./sensors/status-file.driver.ts";
import { startStore } from "./store/deferred-store.ts";
import { startSnapshots } from "./store/snapshot.ts";
import { ownLife } from "./supervise/copied.driver.ts";
import { bootId } from "./supervise/proc.driver.ts";
import { realProcesses } from "./supervise/process.driver.ts";
import { rests } from "./supervise/rest.ts";
import { type Supervisor, superviseAll } from "./supervise/supervisor.driver.ts";
import { knownTokens, Tokens } from "./tokens.driver.ts";
import { giveBackUnused } from "./unused-memory.driver.ts";
import { openUplink } from "./uplink/link.driver.ts";
import type { HubTarget, LinkView, Uplink } from "./uplink/ports.ts";
import { sendSnapshots } from "./uplink/snapshot-sending.driver.ts";
import type { Farewell } from "./watchdog/state.ts";

/** After a late opening the states of all workloads are written again within a second; then the process may leave. */
const lateRestartMs = 3000;
/** What a damaged store is restored from, at the worst so old. */
const snapshotEveryMs = 3_600_000;
const snapshotsKept = 3;
const snapshotDaysKept = 7;

/** What an agent is started with. */
export interface RunOptions {
  readonly dataDir: string;
  readonly config: AgentConfig;
  /** Where it came from, and what was refused in its favour; absent: a person's word. */
  readonly given?: GivenConfigs;
  /** Why what was asked for does not run; people see it until it does. */
  readonly refusedConfig?: Fault | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** The local API answered `down`: everything is stopped, the process may end. */
  readonly onDown: () => void;
  /** The hub ordered a restart of the agent's own process. */
  readonly onRestart: () => void;
  /** What no remedy may ever write, absolute: the binary, the config, certificates and keys. */
  readonly guarded?: readonly string[];
  /** The emergency bootstrap as a command, for the last rung; absent: there is none. */
  readonly emergency?: readonly [file: string, ...args: string[]];
  /** How the agent and its watchdog guard each other; absent: nobody guards it. */
  readonly guard?: Pick<GuardOptions, "command" | "starts">;
}

/** A running agent; whoever ran it closes it. */
export interface RunningAgent {
  readonly nodeId: string;
  /** Tells the watchdog first. True when it will start the next agent, should one be wanted. */
  leave(because: Farewell): Promise<boolean>;
  /** Says goodbye to the hub and leaves the workloads running. `because`: stop, down, agent_restart. */
  close(because: string): Promise<void>;
}

/**
 * Runs an agent until it is closed. Rejects, with nothing started, with DATA_DIR_UNUSABLE, DATA_DIR_OF_ANOTHER, STORE_*,
 * SOCKET_PATH_TOO_LONG, PORT_IN_USE. What is wrong with hub or certificates, and with a disk that has held this node before, is a
 * warning in its status: the workloads are guarded all the same.
 */
export async function runAgent(options: RunOptions): Promise<RunningAgent> {
  const { dataDir, clock, random, log } = options;
  checkSocketPath(socketOf(dataDir)); // before anything is made that nobody would use
  makeFolder(join(dataDir, "logs"));
  const guard = options.guard ? await openGuard({ ...options.guard, dataDir, clock, random, log }) : unguarded;
  try {
    return await runGuarded(options, guard);
  } catch (error) {
    guard.close();
    throw error;
  }
}

async function runGuarded(options: RunOptions, guard: Guard): Promise<RunningAgent> {
  const { dataDir, config, clock, random, log } = options;
  const [socketPath, guardedUntilWallMs] = [socketOf(dataDir), changedAt(join(dataDir, metaHealthFile))];
  const [warnings, excesses] = [new Map<string, string>(), new Excesses(clock)];
  const target = readHub(config, warnings, log);
  const [certifiedId, boot] = [target && nodeIdOf(target.cert), bootId()];
  const store = await startStore(dataDir, {
    clock,
    random,
    nodeId: config.nodeId ?? certifiedId,
    defaultNodeId: defaultNodeId(),
    bootId: boot,
    ...rests,
    told: (text) => log.info(text),
    riskLimits: new Map(config.workloads.flatMap(({ name, risk }) => (risk ? [[name, risk] as const] : []))),
    onOpened: (newLife, notes) => {
      for (const note of [...notes, "the store is open: the agent starts again, with all it knew"]) log.warn(note);
      if (!newLife) uplink?.storeOpened(); // of another life the hub hears from the next agent, from its first word on
      clock.wakeAt(clock.monotonicMs() + lateRestartMs, () => goesDown || options.onRestart());
    },
  });
  for (const note of store.notes) log.warn(note);
  const life = await ownLife(dataDir, { owner: store.identity.owner, bootId: boot }, (text) => log.warn(text));
  const warn = (key: string, text: string | undefined) => {
    if (text === undefined) warnings.delete(key);
    else if (warnings.get(key) !== text) {
      warnings.set(key, text);
      log.warn(text);
    }
  };
  if (options.refusedConfig)
    warnings.set("config", `${options.refusedConfig.message} Until then the last good config is used.`);
  let [door, uplink]: [Door?, Uplink?] = [];
  let supervisor: Supervisor | undefined;
  let protection: Protection | undefined;
  let configs: ConfigKeeper | undefined;
  let sending: { close(): Promise<void> } | undefined;
  let goesDown = false;
  const closeAll = async (because: string) => {
    await uplink?.close(because, because !== "down");
    await sending?.close();
    await door?.close();
    signs.close();
    notify.close();
    await protection?.close();
    // Before the recovery: a remedy that is broken off by the agent's end has not failed, and nobody climbs on.
    supervisor?.close();
    await recovery.close();
    await snapshots.close();
    await configs?.close();
    await store.close();
  };
  const signs = new Signs({
    clock,
    random,
    beat: (workload) => supervisor?.post(workload, { is: "beat", ready: true, status: "" }),
    probed: (workload, probe, { ok, because, unasked }) => {
      if (unasked) log.warn({ workload, probe }, `the agent could not ask: ${because}`);
      else supervisor?.post(workload, { is: "probed", probe, ok, because });
    },
  });
  const processes = realProcesses({
    owner: life.owner,
    logDir: outputOf(dataDir),
    clock,
    guards: () => guard.pids(),
    others: startedByWatchdog(dataDir, life.owner, clock),
    outputLost: (workload, because) =>
      warn(`output:${workload}`, because && `the output of '${workload}' is lost until its next start: ${because}`),
  });
  const tokens = new Tokens(knownTokens(await store.tokenHashes(), await processes.find()), (workload, hash) => {
    // Lost with a power cut at worst, and then the workload that holds the token is gone too.
    void store.saveTokenHash(workload, hash).catch(() => undefined);
  });
  const beatIt = (workload: string, ready: boolean, status: string) =>
    supervisor?.post(workload, { is: "beat", ready, status });
  const notify = notifyFor({
    dataDir,
    owner: life.owner,
    specs: config.workloads,
    clock,
    phaseOf: (workload) => supervisor?.state(workload).phase,
    beat: (workload, { ready, status }) => beatIt(workload, ready, status),
    log: (level, fields, message) => log[level](fields, message),
    notOffered: (workload, because) => warn(`notify:${workload}`, because),
  });
  const snapshots = startSnapshots({
    store,
    clock,
    dataDir,
    everyMs: snapshotEveryMs,
    keep: snapshotsKept,
    keepDays: snapshotDaysKept,
    missed: (because) => warn("snapshot", because),
  });
  const recovery = await openRecovery({
    config,
    specs: notify.specs,
    dataDir,
    outputDir: outputOf(dataDir),
    store,
    bootId: boot,
    sameBoot: store.identity.previousBootId === boot,
    clock,
    random,
    log,
    guarded: options.guarded ?? [],
    emergency: options.emergency,
    cgroupOf: (workload) => processes.families.cgroupRoot && `${processes.families.cgroupRoot}/${workload}`,
    exhausted: (workload) => {
      const killed = protection?.killedForMemory(workload);
      return [...excesses.of(workload), ...(killed ? [killed] : [])];
    },
    warn,
  });
  const placeFor = (workload: string) => ({ BLUEFLAME_SOCKET: socketPath, BLUEFLAME_WORKLOAD: workload });
  supervisor = await superviseAll({
    nodeId: store.identity.nodeId,
    site: config.site,
    bootId: life.bootId,
    ...(guardedUntilWallMs !== undefined && { guardedUntilWallMs }),
    specs: notify.specs,
    store,
    arrears: recovery.voice.arrears,
    processes,
    signs,
    remedies: recovery.remedies,
    held: recovery.killSwitch(),
    pools: config.pools,
    clock,
    random,
    envFor: (workload) => ({
      ...placeFor(workload),
      ...notify.envFor(workload),
      BLUEFLAME_TOKEN: tokens.issue(workload),
    }),
    stageAlerts: recovery.voice.stageAlerts,
    incident: (workload, facts, state) => recovery.incident(workload, facts, state),
    spawned: (workload, instance, adopted) => recovery.spawned(workload, instance, adopted),
    known: (workload) => ({ ...recovery.known(workload), limits: protection?.applied(workload) ?? [] }),
    late: (byMs, pausedMs) => recovery.late(byMs, pausedMs),
    changed: () => {
      node.changed();
      keepCritical();
    },
    log: (level, fields, message) => {
      log[level](fields, message);
      recovery.voice.launcher(level, fields, message);
    },
  });
  recovery.turner.over(supervisor);
  const keepCritical = criticalFile({
    dataDir,
    owner: life.owner,
    specs: config.workloads,
    state: supervisor.state.bind(supervisor),
    envFor: placeFor,
    outputOf: (workload) => join(outputOf(dataDir), `${workload}.log`),
  });
  const guarding = supervisor;
  configs = new ConfigKeeper({
    store,
    clock,
    given: options.given ?? { inUse: { text: "", origin: "operator", from: "" } },
    health: () => guarding.health(),
    trouble: () => unwell(guarding.statuses()),
  });
  const noLink: LinkView = {
    state: "none",
    hub: "",
    because: config.hub ? (warnings.get("hub") ?? "") : "no hub is configured",
  };
  const node = new RunningNode({
    version,
    startedWallMs: clock.wallMs(),
    pid: process.pid,
    dataDir,
    store,
    supervisor,
    recovery,
    arrears: recovery.voice.arrears,
    configs,
    tokens,
    clock,
    random,
    readings: () => recovery.readings(),
    link: () => uplink?.view() ?? noLink,
    warnings: () => [
      ...warnings.values(),
      ...recovery.warnings(),
      ...(protection?.warnings ?? []),
      ...[store.trouble(), supervisor?.trouble(), guard.trouble()].filter((line) => line !== undefined),
    ],
    restartSelf: options.onRestart,
    goesDown: (person) => {
      goesDown = true;
      return guard.goesDown(person);
    },
  });
  try {
    // The door first: a workload beats from its first moment on.
    const assumeBeat = (workload: string) =>
      supervisor?.post(workload, { is: "beat", ready: true, status: "assumed: there is no socket to beat on" });
    door = await openDoor(
      {
        node,
        socketPath,
        log: (fact) => log.info(fact, "local API"),
        onDown: options.onDown,
        whoCalls: (calling) => peerOf(calling, (one) => processes.families.whose(one)),
        holderOf: (token) => tokens.known(token),
        refused: (said) => recovery.voice.audit({ ...said, outcome: "refused" }),
        clock,
        specs: config.workloads,
        assumeBeat,
        closedBecause: (fault) => warn("door", fault?.message),
      },
      store.deferred,
    );
    recovery.turner.heed(); // turned since we have read it, by one who found no door
    await supervisor.boot();
    recovery.begin(supervisor);
    protection = protect(
      {
        config,
        families: processes.families,
        clock,
        supervisor,
        voice: recovery.voice,
        figures: (workload) => recovery.figures(workload),
        killSwitch: () => recovery.killSwitch(),
        spare: () => guard.pids(),
        restartSelf: options.onRestart,
      },
      excesses,
    );
  } catch (error) {
    await closeAll("stop");
    throw error;
  }
  if (target) {
    const link = await openLink(target);
    uplink = link;
    sending = sendSnapshots({ target, dataDir, link: () => link.view(), clock, log });
  }
  log.info(
    { nodeId: store.identity.nodeId, session: String(store.identity.session), socket: socketPath },
    "the agent guards its node",
  );
  keepCritical();
  guard.guarding();
  const cancelGivingBack = giveBackUnused(clock);
  const close = (because: string) => {
    cancelGivingBack();
    return closeAll(because).finally(() => guard.close());
  };
  return { nodeId: store.identity.nodeId, leave: (because) => guard.leave(because), close };

  async function openLink(hub: HubTarget): Promise<Uplink> {
    const [{ identity }, found] = [store, await inventory()];
    const self = {
      nodeId: identity.nodeId,
      incarnation: identity.incarnation,
      session: identity.session,
      bootId: boot,
      version,
      storeGeneration: identity.generation,
      site: config.site,
      labels: config.labels,
      inventory: create(InventorySchema, { ...found, memoryBytes: BigInt(found.memoryBytes) }),
    };
    return openUplink({ target: hub, self, node: node.forHub(), outbox: store.outbox, clock, random, log });
  }
}

/** Which workloads are not well, for whoever asks later what was wrong with a config. */
function unwell(statuses: readonly WorkloadStatus[]): string {
  const names = statuses.filter(({ incidentId }) => incidentId !== "").map(({ name }) => `'${name}'`);
  return names.length === 0 ? "the node had failed" : `${names.join(", ")} could not be brought back`;
}

const unguarded: Guard = {
  guarding: () => undefined,
  goesDown: async () => undefined,
  leave: async () => false,
  trouble: () => undefined,
  pids: () => [],
  close: () => undefined,
};

/** A certificate that cannot be read is a warning: the node is guarded without a hub until somebody mends it. */
function readHub(config: AgentConfig, warnings: Map<string, string>, log: Logger): HubTarget | undefined {
  if (!config.hub) return undefined;
  try {
    return readTarget(config.hub.addresses, config.hub);
  } catch (error) {
    if (!isFault(error)) throw error;
    warnings.set("hub", error.message);
    log.error({ code: error.code }, error.message);
    return undefined;
  }
}
