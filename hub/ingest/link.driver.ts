import type { Order } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { type Admission, type AdmissionRate, admit, openAdmission } from "./admission.ts";
import { type Contest, calm, contested } from "./clones.ts";
import type { Certified, LinkCounters, LinkDesk } from "./desk.ts";
import type { LinkCall } from "./outgoing.driver.ts";
import { LinkStream, type StreamHost } from "./stream.driver.ts";

export interface LinkOptions {
  readonly clock: Clock;
  readonly desk: LinkDesk;
  readonly rate: AdmissionRate;
  /** Who is behind the call; throws CERT_REFUSED. */
  readonly certified: (call: LinkCall) => Certified;
}

/** All streams of all nodes. */
export interface Links {
  readonly counters: Readonly<LinkCounters>;
  /** Serves one stream; returns at once. Throws CERT_REFUSED. */
  handle(call: LinkCall): void;
  /** False when the node has no open session. */
  send(nodeId: string, order: Order): boolean;
  /** When two live agents last took the session of this node from each other; -Infinity when never since the start. */
  lastContestMs(nodeId: string): number;
  /** Ends the streams of identities that were taken back. */
  endRevoked(): void;
  /** Tells every node to come back, stores what it has sent, ends the streams; returns when all are closed or time is up. */
  stop(withinMs: number): Promise<void>;
}

/** Streams that have not said Hello hold memory without a name; more than this are sent away. */
const ungreetedMax = 1_000;
/** Where nodes are told to come back later, at least this much time is given them to spread. */
const comeBackMs = 2_000;
/** One that lost its session to a newer one stays away for a while, so that two clones cannot keep each other out for good. */
const takenOverMs = 10_000;

export function links({ clock, desk, rate, certified }: LinkOptions): Links {
  const counters: LinkCounters = {
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
  const streams = new Set<LinkStream>();
  const newest = new Map<string, LinkStream>();
  const contests = new Map<string, Contest>();
  let admission: Admission = openAdmission(rate, clock.monotonicMs());
  let stopping = false;
  let ungreeted = 0;

  /** How long nodes are asked to spread their return: as long as it takes to admit them all. */
  const spreadMs = () => Math.max(comeBackMs, (streams.size / rate.perSecond) * 1000);
  const contest = (nodeId: string) => {
    const next = contested(contests.get(nodeId) ?? calm, clock.monotonicMs());
    contests.set(nodeId, next.contest);
    if (next.report) desk.clone(nodeId);
  };

  const host: StreamHost = {
    clock,
    desk,
    counters,
    admitted(stream) {
      if (stopping) {
        stream.move("hub_stop", spreadMs());
        return false;
      }
      const verdict = admit(admission, rate, clock.monotonicMs());
      admission = verdict.admission;
      if (verdict.admitted) return true;
      counters.turnedAway += 1;
      stream.move("admission", verdict.comeBackMs);
      return false;
    },
    // The newest session wins. Waits until the older one has nothing left to store, so that nothing is taken in twice.
    async takeOver(nodeId, stream) {
      const older = newest.get(nodeId);
      newest.set(nodeId, stream);
      if (!older || older === stream) return undefined;
      counters.replaced += 1;
      older.move("newer_session", takenOverMs, () => contest(nodeId));
      await older.settled();
      return older.session;
    },
    isNewest: (nodeId, stream) => newest.get(nodeId) === stream,
    hasNewer: (nodeId, stream) => (newest.get(nodeId) ?? stream) !== stream,
    greeted() {
      ungreeted -= 1;
    },
    closed(stream) {
      streams.delete(stream);
      if (stream.greeted) counters.open -= 1;
      else ungreeted -= 1;
      if (newest.get(stream.nodeId) === stream) newest.delete(stream.nodeId);
    },
  };

  return {
    counters,
    handle(call) {
      const who = certified(call);
      ungreeted += 1;
      const stream = new LinkStream(call, who, host);
      streams.add(stream);
      if (ungreeted > ungreetedMax) {
        counters.turnedAway += 1;
        stream.move("admission", comeBackMs);
      }
    },
    send: (nodeId, order) => newest.get(nodeId)?.order(order) ?? false,
    lastContestMs: (nodeId) => contests.get(nodeId)?.contestedMs.at(-1) ?? Number.NEGATIVE_INFINITY,
    endRevoked() {
      for (const stream of streams) stream.checkRevoked();
    },
    async stop(withinMs) {
      stopping = true;
      const spread = spreadMs();
      for (const stream of streams) stream.move("hub_stop", spread);
      const { promise: timeIsUp, resolve } = Promise.withResolvers<void>();
      const cancel = clock.wakeAt(clock.monotonicMs() + withinMs, resolve);
      await Promise.race([Promise.all([...streams].map((stream) => stream.closed)), timeIsUp]);
      cancel();
    },
  };
}
