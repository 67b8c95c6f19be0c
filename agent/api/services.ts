import { headerLine } from "@blueflame/shared/audit/lines.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type {
  BeatService,
  NodeService,
  ReportService,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import type { Handlers } from "@blueflame/shared/rpc/definition.ts";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Node } from "../node.ts";
import type { Page } from "../store/rows.ts";
import { oneLine, personOf, tokenOf } from "./caller.ts";
import { stateDesk } from "./state-services.ts";

const statusCharsMax = 200;
const reasonCharsMax = 300;
const requestsMax = 1000;
const listDefault = 50;
const listMax = 500;
/** With the largest record that there is it stays below what one message may be (`messageBytesMax`). */
const pageBytes = 2 * 1024 * 1024;

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

/**
 * What people ask; `admission.ts` has looked at who they are. `onDown` runs after the answer to Down was given: the process may end now.
 */
export function nodeService(node: Node, onDown: () => void): Handlers<typeof NodeService> {
  return {
    ...stateDesk(node),
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
    listIncidents: async ({ limit, skip, openOnly }) => ({
      incidents: await node.incidents(pageOf(limit, skip), openOnly),
    }),
    listAudit: async ({ limit, skip }) => ({ records: await node.audit(pageOf(limit, skip)) }),
    readAudit: async ({ after }) => {
      const { header, records, next } = await node.readAudit(after);
      return { chainJson: header ? headerLine(header) : "", records: [...records], next };
    },
    listDecisions: async ({ limit, skip }) => ({ records: await node.decisions(pageOf(limit, skip)) }),
    listTriggers: () => ({ triggers: node.triggers() }),
    listPlaybooks: () => ({ playbooks: node.playbooks() }),
    runPlaybook: ({ name, workload, dryRun, person }) => node.runPlaybook(name, workload, dryRun, personOf(person)),
    getHealth: () => node.health(),
    listConfigVersions: () => ({ versions: node.configVersions() }),
    getConfigVersion: async ({ version }) => ({ text: await node.configText(version) }),
    setKillSwitch: async ({ on, person, reason }) => ({
      workloads: await node.setKillSwitch(on, personOf(person), oneLine(reason, reasonCharsMax)),
    }),
    rotateStoreKey: async ({ kek, escrowPublicKey, person }) => ({
      keyId: await node.changeStoreKey(kek ? "kek" : "data", escrowPublicKey, personOf(person)),
    }),
  };
}

function pageOf(limit: number, skip: number): Page {
  return { limit: limit === 0 ? listDefault : Math.min(limit, listMax), skip, bytesMax: pageBytes };
}
