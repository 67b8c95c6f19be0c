import { Fault } from "@blueflame/shared/errors/fault.ts";
import type {
  BeatService,
  NodeService,
  ReportService,
  StateService,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import type { Handlers } from "@blueflame/shared/rpc/definition.ts";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Node } from "../node.ts";

const keyForm = /^[A-Za-z0-9._/-]{1,128}$/;
const valueBytesMax = 256 * 1024;
const statusCharsMax = 200;
const personCharsMax = 100;
const reasonCharsMax = 300;
const requestsMax = 1000;
const listDefault = 50;
const listMax = 500;

/** What of a call these services look at. */
interface Caller {
  readonly metadata: { get(key: string): (string | Buffer)[] };
}

/** Beats of workloads. DENIED without a known token. */
export function beatService(node: Node): Handlers<typeof BeatService> {
  return {
    beat(request, call) {
      // Longer texts are cut, not refused: a beat says that a workload lives, and must not fail over its words.
      const status = request.status.slice(0, statusCharsMax);
      const { nextWithinMs } = node.beat(tokenOf(call), request.ready ?? true, status);
      return { nextWithin: { seconds: BigInt(Math.floor(nextWithinMs / 1000)), nanos: (nextWithinMs % 1000) * 1e6 } };
    },
  };
}

/** Finished requests of workloads. DENIED without a known token. */
export function reportService(node: Node): Handlers<typeof ReportService> {
  return {
    report({ requests }, call) {
      if (requests.length > requestsMax)
        throw new Fault("BAD_REQUEST", `${requests.length} requests in one report; at most ${requestsMax} are taken`);
      node.report(
        tokenOf(call),
        requests.map(({ latency, ok, timedOut }) => ({
          latencyMs: latency ? Math.max(0, durationMs(latency)) : 0,
          ok,
          timedOut,
        })),
      );
      return {};
    },
  };
}

/** The state of workloads: each sees its own. */
export function stateService(node: Node): Handlers<typeof StateService> {
  return {
    async get(request, call) {
      const entry = await node.stateGet(tokenOf(call), keyOf(request.key));
      if (entry === undefined) throw new Fault("NOT_FOUND", `key '${request.key}' was never put`);
      return entry;
    },
    async put(request, call) {
      const token = tokenOf(call);
      const key = keyOf(request.key);
      if (request.value.length > valueBytesMax) {
        throw new Fault(
          "BAD_REQUEST",
          `value of ${request.value.length} bytes; at most ${valueBytesMax} are kept per key`,
        );
      }
      return { revision: await node.statePut(token, key, request.value, request.expectedRevision) };
    },
  };
}

/** What people ask. `onDown` runs after the answer to Down was given: the process may end now. */
export function nodeService(node: Node, onDown: () => void): Handlers<typeof NodeService> {
  return {
    getStatus: () => node.status(),
    startWorkload: async ({ name, person }) => ({ workload: await node.startWorkload(name, personOf(person)) }),
    stopWorkload: async ({ name, person }) => ({ workload: await node.stopWorkload(name, personOf(person)) }),
    restartWorkload: async ({ name, person }) => ({
      workload: await node.restartWorkload(name, `person:${personOf(person)}`),
    }),
    async down({ person }) {
      const stopped = await node.down(personOf(person));
      onDown();
      return { stopped };
    },
    listIncidents: async ({ limit, openOnly }) => ({ incidents: await node.incidents(bounded(limit), openOnly) }),
    listAudit: async ({ limit }) => ({ records: await node.audit(bounded(limit)) }),
    listDecisions: async ({ limit }) => ({ records: await node.decisions(bounded(limit)) }),
    listTriggers: () => ({ triggers: node.triggers() }),
    listPlaybooks: () => ({ playbooks: node.playbooks() }),
    runPlaybook: ({ name, workload, dryRun, person }) => node.runPlaybook(name, workload, dryRun, personOf(person)),
    getHealth: () => node.health(),
    listConfigVersions: () => ({ versions: node.configVersions() }),
    getConfigVersion: async ({ version }) => ({ text: await node.configText(version) }),
    setKillSwitch: async ({ on, person, reason }) => ({
      workloads: await node.setKillSwitch(on, personOf(person), oneLine(reason, reasonCharsMax)),
    }),
  };
}

function tokenOf(call: Caller): string {
  const sent = String(call.metadata.get("authorization")[0] ?? "");
  const token = /^Bearer ([\x21-\x7e]{1,256})$/i.exec(sent)?.[1];
  if (token === undefined) {
    throw new Fault(
      "DENIED",
      "no token was sent: metadata 'authorization: Bearer TOKEN' is missing, see BLUEFLAME_TOKEN",
    );
  }
  return token;
}

function keyOf(key: string): string {
  if (!keyForm.test(key)) {
    const shown = JSON.stringify(key.slice(0, 140));
    throw new Fault(
      "BAD_REQUEST",
      `key ${shown} must be 1 to 128 letters, digits, dots, dashes, underscores and slashes`,
    );
  }
  return key;
}

/** One line without control characters: it goes into the audit as it is. */
function personOf(person: string): string {
  return oneLine(person, personCharsMax) || "unnamed";
}

function oneLine(text: string, charsMax: number): string {
  return text
    .replace(/[\p{Cc}\p{Cf}]/gu, "")
    .trim()
    .slice(0, charsMax);
}

function bounded(limit: number): number {
  return limit === 0 ? listDefault : Math.min(limit, listMax);
}
