import { hostname, networkInterfaces } from "node:os";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { budgetDefaults } from "./actions/budget.ts";
import { recoveryDrivers } from "./actions/recovery.driver.ts";
import { massPolicyOf } from "./escalation/mass.ts";
import { policyOf } from "./escalation/policy.ts";
import type { HubOptions } from "./hub.driver.ts";
import type { Certified } from "./ingest/desk.ts";
import type { Judge, Log } from "./judge/judge.ts";
import { openAlerts } from "./notify/alerts.driver.ts";
import { caller, type PeerCall } from "./trust/credentials.driver.ts";
import type { RevokedList } from "./trust/revoked.driver.ts";

/** The node behind a call; throws CERT_REFUSED for an operator. Whether it was taken back is asked again at each message. */
export function certifiedBy(revoked: RevokedList): (call: PeerCall) => Certified {
  return (call) => {
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
  };
}

/** Lets operators in whose certificate was not taken back, and asks again for what streams; throws DENIED, CERT_REFUSED. */
export function operatorsOnly(revoked: RevokedList): (call: PeerCall) => () => void {
  return (call) => {
    const { identity, fingerprint } = caller(call);
    if (identity.role !== "operator") {
      throw new Fault("DENIED", `the node '${identity.name}' asked for what only operators may see`);
    }
    const still = () => {
      if (!revoked.has(identity, fingerprint)) return;
      throw new Fault("CERT_REFUSED", `the certificate of ${identity.name} was taken back`);
    };
    still();
    return still;
  };
}

type Wired = Pick<Judge["ports"], "epoch" | "save" | "send" | "nodeChanged" | "fatal">;

/** The judge's ports: policies from the config, deeds through the drivers. */
export function portsOf(options: HubOptions, wired: Wired): Judge["ports"] {
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
export function namesOf(host: string): string[] {
  const everywhere = host === "0.0.0.0" || host === "::";
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  // A link-local address is none that anybody writes into a config, and carries a scope.
  const named = everywhere ? addresses.map(({ address }) => address).filter((one) => !one.startsWith("fe80:")) : [host];
  return [...new Set(["localhost", "127.0.0.1", "::1", hostname(), ...named])];
}

/** Runs `work` every `everyMs`, never twice at once; what fails is said and tried again. Returns what ends it. */
export function repeat(clock: Clock, everyMs: number, work: () => Promise<void>, log: Log): () => void {
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
