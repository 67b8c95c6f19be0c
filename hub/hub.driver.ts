import { hostname, networkInterfaces } from "node:os";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { LinkService } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { Health } from "@blueflame/shared/gen/grpc/health/v1/health_pb.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import { addService } from "@blueflame/shared/rpc/definition.ts";
import { addHealth } from "@blueflame/shared/rpc/health.ts";
import { addReflection } from "@blueflame/shared/rpc/reflection.ts";
import { openLevelEngine } from "@blueflame/shared/store/level/engine.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { budgetDefaults } from "./actions/budget.ts";
import { type Recovery, recoveryDrivers } from "./actions/recovery.driver.ts";
import { operatorHandlers } from "./api/grpc.driver.ts";
import { type HttpDoor, serveHttp } from "./api/http.driver.ts";
import type { HubConfig } from "./config.ts";
import { closeQuietClones, linkDesk } from "./desk.ts";
import { massPolicyOf } from "./escalation/mass.ts";
import { type Policy, policyOf } from "./escalation/policy.ts";
import type { Fleet } from "./fleet.ts";
import { type AdmissionRate, defaultAdmission } from "./ingest/admission.ts";
import { type Links, links } from "./ingest/link.driver.ts";
import { openQuarantine } from "./ingest/quarantine.driver.ts";
import { serveGrpc } from "./ingest/server.driver.ts";
import { Judge, type Log } from "./judge/judge.ts";
import { restore } from "./judge/restore.ts";
import { startSweeps } from "./judge/sweeps.driver.ts";
import { openAlerts } from "./notify/alerts.driver.ts";
import { openHubStore } from "./store/hub-store.ts";
import { openAuthority } from "./trust/authority.driver.ts";
import { caller, HubCredentials } from "./trust/credentials.driver.ts";
import { openRevokedList } from "./trust/revoked.driver.ts";
import { fleetView, type View } from "./view.ts";

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
  const { dataDir, config, clock, log } = options;
  const closing: (() => Promise<void> | void)[] = [];
  const closeAll = async () => {
    for (const close of closing.splice(0).reverse()) await close();
  };
  try {
    const engine = await openLevelEngine(dataDir, { clock });
    closing.push(() => engine.close());
    for (const note of engine.notes) log.warn({ note }, "the store was opened with a remark");
    const authority = await openAuthority(`${dataDir}/trust`, () => clock.wallMs());
    const revoked = openRevokedList(`${dataDir}/trust`);
    const hosts = namesOf(options.grpc.host);
    const credentials = new HubCredentials(await authority.serverCertificate(hosts));
    const store = await openHubStore(engine.state, engine.log, () => Math.floor(clock.wallMs()));

    let streams: Links | undefined;
    let view: View | undefined;
    const judge = new Judge(
      portsOf(options, {
        epoch: () => store.epoch(),
        save: (step) => store.save(step),
        send: (nodeId, order) => streams?.send(nodeId, order) ?? false,
        nodeChanged: (id) => view?.nodeChanged(id),
        fatal: (error) => options.onFatal?.(error),
      }),
    );
    closing.push(() => judge.close());
    const startedWallMs = Math.floor(clock.wallMs());
    await restore(judge, store);
    if (judge.entries.size > 0) {
      judge.settle(Math.min(settleMs, settleIntervals * config.escalation.heartbeatIntervalMs));
    }
    const started = `epoch ${store.epoch()}, ${judge.entries.size} nodes known`;
    judge.carrier.act(judge.now(), { action: "hub.start", target: "hub", because: started, nodeId: "" });
    judge.write();

    const sweeps = startSweeps({
      clock,
      everyMs: Math.min(1_000, config.escalation.heartbeatIntervalMs / 4),
      sweep: () => judge.sweep(),
      amnesty: (byMs) => judge.amnesty(byMs),
      look: () => {
        revoked.refresh();
        streams?.endRevoked();
      },
      log,
    });
    closing.push(sweeps.stop);
    view = fleetView({
      judge,
      history: store,
      epoch: store.epoch,
      startedWallMs,
      worstLagMs: sweeps.worstLagMs,
      links: () => streams?.counters ?? noStreams,
    });
    const seen = view;
    judge.carrier.onIncident = seen.incidentChanged;
    const desk = linkDesk({
      judge,
      store,
      quarantine: openQuarantine(`${dataDir}/quarantine`),
      heartbeatIntervalMs: config.escalation.heartbeatIntervalMs,
      nodeChanged: seen.nodeChanged,
    });
    const opened = links({
      clock,
      desk,
      rate: options.admission ?? defaultAdmission,
      certified(call) {
        const { identity, fingerprint } = caller(call);
        if (identity.role !== "node") throw new Fault("CERT_REFUSED", `${identity.name} is an operator and no node`);
        let answeredAt = -1;
        let answer = false;
        return {
          nodeId: identity.name,
          revoked() {
            if (answeredAt !== revoked.version()) answer = revoked.has(identity, fingerprint);
            answeredAt = revoked.version();
            return answer;
          },
        };
      },
    });
    streams = opened;

    let http: HttpDoor | undefined;
    if (options.http) {
      const checks = {
        store: () => {
          const trouble = engine.trouble();
          if (trouble !== undefined) throw new Error(trouble);
        },
      };
      http = await serveHttp({ fleet: seen, ...options.http, log, checks, clock });
      const door = http;
      closing.push(() => door.close());
    }
    const grpc = await serveGrpc(options.grpc, credentials, (server) => {
      addService(server, LinkService, { link: (call) => opened.handle(call) }, { tolerant: true });
      addService(server, OperatorService, operatorHandlers(seen));
      addHealth(server);
      addReflection(server, [LinkService, OperatorService, Health]);
    });
    closing.push(() => grpc.close());

    const housework = async () => {
      await store.trim(config.retention, [...judge.entries.keys()]);
      closeQuietClones(judge, opened.lastContestMs, clock.monotonicMs() - houseworkMs);
      credentials.renew(await authority.serverCertificate(hosts));
    };
    closing.push(repeat(clock, houseworkMs, housework, log));
    return {
      grpcAddress: grpc.address,
      httpAddress: http?.address,
      fleet: seen,
      async close(withinMs = closeWithinMs) {
        grpc.stopListening();
        judge.carrier.act(judge.now(), { action: "hub.stop", target: "hub", because: "asked to stop", nodeId: "" });
        await opened.stop(withinMs);
        judge.write();
        await closeAll();
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

const noStreams = {
  open: 0,
  opened: 0,
  replaced: 0,
  duplicates: 0,
  stored: 0,
  beats: 0,
  quarantined: 0,
  unknown: 0,
  turnedAway: 0,
};

type Wired = Pick<Judge["ports"], "epoch" | "save" | "send" | "nodeChanged" | "fatal">;

/** The judge's ports: policies from the config, deeds through the drivers. */
function portsOf(options: HubOptions, wired: Wired): Judge["ports"] {
  const { config, clock, random, log, dataDir } = options;
  const common = { ...config.escalation, ...options.policy };
  const plain = policyOf(common);
  const special = new Map(
    [...config.respawns.values()].map(({ node, probe, exec }) => [
      node,
      policyOf({ ...common, secondPath: probe !== undefined, respawn: exec !== undefined }),
    ]),
  );
  const drivers = new Map(
    [...config.respawns.values()].map(({ node, probe, exec }) => {
      const command = (spec: typeof probe) => spec && { argv: spec.command, cwd: spec.cwd, timeoutMs: spec.timeoutMs };
      return [node, { probe: command(probe), exec: command(exec) }];
    }),
  );
  const recovery = options.recovery ?? recoveryDrivers(drivers, `${dataDir}/logs`);
  const alerts = openAlerts(`${dataDir}/alerts`);
  return {
    clock,
    random,
    log,
    // One object for all nodes with the same means: a fleet of ten thousand holds two or three of them.
    policyOf: (nodeId) => special.get(nodeId) ?? plain,
    mass: massPolicyOf(plain, config.massSilence),
    budget: { ...budgetDefaults, ...config.budget },
    askSecondPath: (nodeId) => recovery.askSecondPath(nodeId),
    respawn: (nodeId, attempt) => recovery.respawn(nodeId, attempt),
    tell: (alert) => alerts.tell(alert),
    ...wired,
  };
}

/** What agents may call this hub in their config; an address that means "all of them" stands for each. */
function namesOf(host: string): string[] {
  const everywhere = host === "0.0.0.0" || host === "::";
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  // A link-local address is none that anybody writes into a config, and carries a scope.
  const named = everywhere ? addresses.map(({ address }) => address).filter((one) => !one.startsWith("fe80:")) : [host];
  return [...new Set(["localhost", "127.0.0.1", "::1", hostname(), ...named])];
}

/** Runs `work` every `everyMs`, never twice at once; what fails is said and tried again. Returns what ends it. */
function repeat(clock: Clock, everyMs: number, work: () => Promise<void>, log: Log): () => void {
  let cancel = () => {};
  let ended = false;
  const plan = () => {
    if (!ended) cancel = clock.wakeAt(clock.monotonicMs() + everyMs, run);
  };
  const run = () => {
    work()
      .catch((error: unknown) => log.error({ because: isFault(error) ? error.saw : String(error) }, "housework failed"))
      .finally(plan);
  };
  plan();
  return () => {
    ended = true;
    cancel();
  };
}
