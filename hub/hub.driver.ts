import { LinkService } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { SnapshotService } from "@blueflame/shared/gen/blueflame/link/v1/snapshot_service_pb.ts";
import { OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { Health } from "@blueflame/shared/gen/grpc/health/v1/health_pb.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import { addService } from "@blueflame/shared/rpc/definition.ts";
import { addHealth } from "@blueflame/shared/rpc/health.ts";
import { addReflection } from "@blueflame/shared/rpc/reflection.ts";
import { openLevelEngine } from "@blueflame/shared/store/level/engine.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { Recovery } from "./actions/recovery.driver.ts";
import { operatorHandlers } from "./api/grpc.driver.ts";
import { serveHttp } from "./api/http.driver.ts";
import { type Countersigner, countersigned } from "./audit-heads.ts";
import type { HubConfig } from "./config.ts";
import { closeQuietClones, linkDesk } from "./desk.ts";
import type { Policy } from "./escalation/policy.ts";
import type { Fleet } from "./fleet.ts";
import { type AdmissionRate, admittedWithinMs, defaultAdmission } from "./ingest/admission.ts";
import { type Links, links } from "./ingest/link.driver.ts";
import { openQuarantine } from "./ingest/quarantine.driver.ts";
import { serveGrpc } from "./ingest/server.driver.ts";
import { type SnapshotDeskOptions, snapshotHandlers } from "./ingest/snapshots.driver.ts";
import { Judge, type Log } from "./judge/judge.ts";
import { restore } from "./judge/restore.ts";
import { startSweeps } from "./judge/sweeps.driver.ts";
import { type HubStore, openHubStore } from "./store/hub-store.ts";
import { openAuthority } from "./trust/authority.driver.ts";
import { HubCredentials } from "./trust/credentials.driver.ts";
import { openRevokedList } from "./trust/revoked.driver.ts";
import { fleetView, type View, type ViewOptions } from "./view.ts";
import { certifiedBy, namesOf, operatorsOnly, portsOf, repeat } from "./wiring.driver.ts";

/** HOST and PORT to listen on; port 0 takes a free one. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

export interface HubOptions {
  readonly dataDir: string;
  readonly config: HubConfig;
  readonly grpc: Listen;
  /** A loopback address; null serves no HTTP. */
  readonly http: Listen | null;
  /** Host names and addresses by which it is called besides its own: behind NAT, by an alias. */
  readonly names?: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Figures that are no settings of an operator, for drills and tests. */
  readonly policy?: Partial<Policy>;
  readonly admission?: AdmissionRate;
  /** In place of the commands of the config. */
  readonly recovery?: Recovery;
  /** Called once when this hub must not go on: another one has taken over its store, or a decision cannot be written. */
  readonly onFatal?: (error: unknown) => void;
}

/** A running hub; whoever started it closes it. */
export interface Hub {
  /** HOST:PORT. */
  readonly grpcAddress: string;
  readonly httpAddress: string | undefined;
  readonly fleet: Fleet;
  /** Tells every node to come back later, stores what has arrived, and ends; at most about `withinMs`. */
  close(withinMs?: number): Promise<void>;
}

/** Until then after its start, who has not been heard yet may live all the same. */
const firstWordMs = 3_600_000;
const closeWithinMs = 5_000;
/** An agent without a hub tries again after at most 30 s; a fleet with shorter intervals is judged sooner all the same. */
const settleMs = 30_000;
const settleIntervals = 2;
/** Trimming and renewing need no precision. */
const houseworkMs = 600_000;

/**
 * Starts a hub in `dataDir`: its CA and store are made on the first run. What was known is restored, and nobody is blamed
 * for the time in which this hub was away. Throws DATA_DIR_UNUSABLE, CERT_UNUSABLE, PORT_IN_USE, LISTEN_NOT_LOOPBACK and
 * the codes of the store; then nothing is left running.
 */
export async function startHub(options: HubOptions): Promise<Hub> {
  const closing = new Closing();
  try {
    const memory = await openMemory(options, closing);
    const link: Late = {};
    const judge = await openJudge(options, memory, link, closing);
    memory.heard.of = judge;
    const { view, streams } = openStreams(options, memory, judge, link, closing);
    const http = await openHttp(options, memory, view, closing);
    const grpc = await serveGrpc(options.grpc, memory.credentials, (server) => {
      addService(server, LinkService, { link: (call) => streams.handle(call) }, { tolerant: true });
      addService(server, OperatorService, operatorHandlers(view, { authorize: operatorsOnly(memory.revoked) }));
      addService(server, SnapshotService, snapshotHandlers(snapshotDesk(options, memory, judge)));
      addHealth(server);
      addReflection(server, [LinkService, SnapshotService, OperatorService, Health]);
    });
    closing.later(() => grpc.close());
    closing.later(repeat(options.clock, houseworkMs, () => housework(options, memory, judge, streams), options.log));
    return {
      grpcAddress: grpc.address,
      httpAddress: http?.address,
      fleet: view,
      async close(withinMs = closeWithinMs) {
        grpc.stopListening();
        judge.carrier.act(judge.now(), { action: "hub.stop", target: "hub", because: "asked to stop", nodeId: "" });
        await streams.stop(withinMs);
        judge.write();
        await closing.close();
      },
    };
  } catch (error) {
    await closing.close();
    throw error;
  }
}

/** What was opened, closed in reverse order. */
class Closing {
  readonly #open: (() => Promise<void> | void)[] = [];
  later(close: () => Promise<void> | void): void {
    this.#open.push(close);
  }
  async close(): Promise<void> {
    for (const close of this.#open.splice(0).reverse()) await close();
  }
}

/** The judge comes before the streams and the view, and calls them. */
interface Late {
  streams?: Links;
  view?: View;
}

/** What is on disk: the store, the CA, the list of those taken back. */
async function openMemory({ dataDir, clock, log, grpc, names = [] }: HubOptions, closing: Closing) {
  const engine = await openLevelEngine(dataDir, { clock });
  closing.later(() => engine.close());
  for (const note of engine.notes) log.warn({ note }, "the store was opened with a remark");
  const authority = await openAuthority(`${dataDir}/trust`, () => clock.wallMs());
  const revoked = openRevokedList(`${dataDir}/trust`);
  const hosts = [...new Set([...namesOf(grpc.host), ...names])];
  const credentials = new HubCredentials(await authority.serverCertificate(hosts));
  const heard: { of?: Judge } = {};
  const wallMs = () => Math.floor(clock.wallMs());
  const store = await openHubStore(engine.state, engine.log, wallMs, heardBy(clock, heard));
  return { heard, engine, authority, revoked, hosts, credentials, store };
}

/** When something was heard of a node last. */
function heardBy(clock: Clock, late: { readonly of?: Judge }): (nodeId: string) => number {
  const openedMs = clock.monotonicMs();
  return (nodeId) => {
    const entry = late.of?.entries.get(nodeId);
    const agoMs = entry && late.of ? clock.monotonicMs() - late.of.beats.lastMs(entry.slot) : Number.NaN;
    if (Number.isFinite(agoMs)) return clock.wallMs() - agoMs;
    return clock.monotonicMs() - openedMs < firstWordMs ? clock.wallMs() : (entry?.row.seenWallMs ?? 0);
  };
}
type Memory = Awaited<ReturnType<typeof openMemory>>;

/** The judge, where the last hub on this store stood. */
async function openJudge(options: HubOptions, { store }: Memory, link: Late, closing: Closing): Promise<Judge> {
  const judge = new Judge(
    portsOf(options, {
      epoch: () => store.epoch(),
      save: (step) => store.save(step),
      send: (nodeId, order) => link.streams?.send(nodeId, order) ?? false,
      nodeChanged: (id) => link.view?.nodeChanged(id),
      fatal: (error) => options.onFatal?.(error),
    }),
  );
  closing.later(() => judge.close());
  await restore(judge, store);
  if (judge.entries.size > 0) {
    const longestWaitMs = Math.min(settleMs, settleIntervals * options.config.escalation.heartbeatIntervalMs);
    // Whom we send away ourselves is no more silent than who waits by its own choice.
    judge.settle(longestWaitMs + admittedWithinMs(options.admission ?? defaultAdmission, judge.entries.size));
  }
  const started = `epoch ${store.epoch()}, ${judge.entries.size} nodes known`;
  judge.carrier.act(judge.now(), { action: "hub.start", target: "hub", because: started, nodeId: "" });
  judge.write();
  return judge;
}

/** The sweeps, the streams, and the view over both. */
function openStreams(
  options: HubOptions,
  { store, revoked, authority }: Memory,
  judge: Judge,
  link: Late,
  closing: Closing,
) {
  const { clock, log, dataDir } = options;
  const { heartbeatIntervalMs } = options.config.escalation;
  const sweeps = startSweeps({
    clock,
    everyMs: Math.min(1_000, heartbeatIntervalMs / 4),
    sweep: () => judge.sweep(),
    amnesty: (byMs) => judge.amnesty(byMs),
    look: () => {
      revoked.refresh();
      link.streams?.endRevoked();
    },
    log,
  });
  closing.later(sweeps.stop);
  const countersigner = { sign: authority.sign, wallMs: () => clock.wallMs() };
  const view = fleetView({
    judge,
    audit: chainReader(store, countersigner, authority.ca),
    history: store,
    epoch: store.epoch,
    startedWallMs: Math.floor(clock.wallMs()),
    worstLagMs: sweeps.worstLagMs,
    links: () => streams.counters,
  });
  const quarantine = openQuarantine(`${dataDir}/quarantine`);
  const streams = links({
    clock,
    desk: linkDesk({ judge, store, quarantine, heartbeatIntervalMs, countersigner, nodeChanged: view.nodeChanged }),
    rate: options.admission ?? defaultAdmission,
    certified: certifiedBy(revoked),
  });
  judge.carrier.onIncident = view.incidentChanged;
  link.view = view;
  link.streams = streams;
  return { view, streams };
}

function snapshotDesk({ clock }: HubOptions, { store, revoked }: Memory, judge: Judge): SnapshotDeskOptions {
  const incarnationOf = (nodeId: string) => judge.entries.get(nodeId)?.row.incarnation ?? 0n;
  return { snapshots: store.snapshots, clock, certified: certifiedBy(revoked), incarnationOf };
}

/** What the doors need of a node's chains; what does not hang together gets no signature. */
function chainReader(store: HubStore, by: Countersigner, ca: string): ViewOptions["audit"] {
  return {
    ca,
    stands: (nodeId) => store.stands(nodeId),
    async signed(nodeId) {
      const newest = store.chains(nodeId).at(-1);
      return newest && newest.broken === undefined ? [await countersigned(by, nodeId, newest)] : [];
    },
  };
}

async function openHttp({ http, log, clock }: HubOptions, { engine }: Memory, fleet: View, closing: Closing) {
  if (!http) return undefined;
  const checks = {
    store: () => {
      const trouble = engine.trouble();
      if (trouble !== undefined) throw new Error(trouble);
    },
  };
  const door = await serveHttp({ fleet, ...http, log, checks, clock });
  closing.later(() => door.close());
  return door;
}

async function housework({ config, clock }: HubOptions, memory: Memory, judge: Judge, streams: Links): Promise<void> {
  judge.noteHeard();
  await memory.store.trim(config.retention, [...judge.entries.keys()]);
  closeQuietClones(judge, streams.lastContestMs, clock.monotonicMs() - houseworkMs);
  memory.credentials.renew(await memory.authority.serverCertificate(memory.hosts));
}
