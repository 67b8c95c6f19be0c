import { type ChildProcess, spawn } from "node:child_process";
import { openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type IssuedCertificate, openAuthority, writeIssued } from "@blueflame/hub/trust/authority.driver.ts";
import type { AuditRecord, DecisionRecord, Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  Level,
  ListAuditResponseSchema,
  ListDecisionsResponseSchema,
  ListIncidentsResponseSchema,
  ListNodesResponseSchema,
  type Node,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { type DescMessage, fromJson, type JsonValue, type MessageShape } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { inRoot } from "../../deploy/root.ts";
import { looks } from "../support/looks.ts";
import { freePort } from "./rig.ts";

/** What the operator service lists at most. */
const pageMax = 500;

/** One change of a node's level, as the hub logged it. */
export interface LevelChange {
  readonly node: string;
  readonly to: string;
}

/** A real hub process on ports of its own, that can be killed and started again. Its opener ends it and removes `dir`. */
export class HubRig {
  readonly grpc: string;
  /** `http://HOST:PORT` */
  readonly url: string;
  readonly dir: string;
  #process: ChildProcess | undefined;

  private constructor(dir: string, grpc: string, url: string) {
    this.dir = dir;
    this.grpc = grpc;
    this.url = url;
  }

  /** Chooses ports and writes the config, in the words of its file; starts nothing. */
  static async open(dir: string, config: object): Promise<HubRig> {
    const hub = new HubRig(dir, `127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`);
    hub.configure(config);
    return hub;
  }

  /** Writes the config that the next start reads. */
  configure(config: object): void {
    writeFileSync(join(this.dir, "hub.yaml"), JSON.stringify(config));
  }

  /** Starts the hub; resolves when it answers. */
  async start(): Promise<void> {
    const log = openSync(join(this.dir, "hub.log"), "a");
    const files = ["--config", join(this.dir, "hub.yaml"), "--data-dir", join(this.dir, "hub")];
    const ports = ["--grpc", this.grpc, "--http", this.url.replace("http://", "")];
    const child = spawn(process.execPath, [inRoot("dist", "blueflame-hub.mjs"), "serve", ...files, ...ports], {
      stdio: ["ignore", log, log],
      detached: true,
    });
    this.#process = child;
    await this.until("the hub answers", async () => {
      if (child.exitCode !== null) throw new Error(`the hub ended: ${this.log().slice(-2000)}`);
      return (await this.nodes().catch(() => undefined)) !== undefined;
    });
  }

  /** Resolves when it is gone; by SIGTERM with the code it left with. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number | null> {
    const hub = this.#process;
    if (!hub || hub.exitCode !== null || hub.signalCode !== null) return hub?.exitCode ?? null;
    const ended = new Promise<number | null>((resolve) => hub.once("exit", resolve));
    hub.kill(signal);
    return ended;
  }

  /** SIGSTOP or SIGCONT: what is sent to it meanwhile waits in its socket. */
  freeze(frozen: boolean): void {
    this.#process?.kill(frozen ? "SIGSTOP" : "SIGCONT");
  }

  /** A certificate by this hub's own CA. */
  async issue(name: string, role: "node" | "operator" = "node"): Promise<IssuedCertificate> {
    const authority = await openAuthority(join(this.dir, "hub", "trust"), () => Date.now());
    return authority.issue({ role, name });
  }

  /** The section `hub` of a node's config, with its certificate in a folder of its own. */
  async section(nodeId: string): Promise<object> {
    const folder = join(this.dir, "certificates", nodeId);
    writeIssued(folder, "node", await this.issue(nodeId));
    const [ca, cert, key] = ["ca.crt", "node.crt", "node.key"].map((name) => join(folder, name));
    return { addresses: [this.grpc], ca, cert, key };
  }

  log(): string {
    return readFileSync(join(this.dir, "hub.log"), "utf8");
  }

  /** Every change of a level so far, over all lives of this hub. */
  levels(nodeId: string): string[] {
    return this.log()
      .split("\n")
      .filter((line) => line.includes('"msg":"level"'))
      .map((line): LevelChange => JSON.parse(line))
      .filter(({ node }) => node === nodeId)
      .map(({ to }) => to);
  }

  /** The alert files, oldest first. */
  alerts(): { readonly kind: string; readonly node?: string }[] {
    const folder = join(this.dir, "hub", "alerts");
    const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
    return names.sort().map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
  }

  async nodes(): Promise<Node[]> {
    return (await this.#ask("ListNodes", {}, ListNodesResponseSchema)).nodes;
  }
  async node(id: string): Promise<Node | undefined> {
    return (await this.nodes()).find((node) => node.id === id);
  }
  /** Newest first. */
  async incidents(nodeId: string): Promise<Incident[]> {
    return (await this.#ask("ListIncidents", { nodeId, limit: pageMax }, ListIncidentsResponseSchema)).incidents;
  }
  /** The newest decisions, at most 500: what the service lists. */
  async decisions(): Promise<DecisionRecord[]> {
    return (await this.#ask("ListDecisions", { limit: pageMax }, ListDecisionsResponseSchema)).records;
  }

  /** A node's whole audit, newest first. */
  async audit(nodeId: string): Promise<AuditRecord[]> {
    const all: AuditRecord[] = [];
    for (let before: string | undefined; ; ) {
      const asked = { nodeId, limit: pageMax, ...(before !== undefined && { before }) };
      const { records } = await this.#ask("ListAudit", asked, ListAuditResponseSchema);
      all.push(...records);
      const last = records.at(-1)?.at;
      if (records.length < pageMax || !last) return all;
      before = timestampDate(last).toISOString();
    }
  }

  /** Collects every node that is ORANGE or RED from now on. */
  watchLevels(): { stop(): Promise<string[]> } {
    const blamed = new Set<string>();
    const timer = setInterval(() => {
      void this.nodes()
        .then((nodes) => {
          for (const { id, level } of nodes) if (level >= Level.ORANGE) blamed.add(`${id} ${Level[level]}`);
        })
        .catch(() => undefined);
    }, 250);
    return {
      async stop() {
        clearInterval(timer);
        return [...blamed];
      },
    };
  }

  async until(what: string, holds: () => Promise<boolean>, withinMs = 30_000): Promise<void> {
    for await (const _ of looks(withinMs)) if (await holds()) return;
    throw new Error(
      `waited ${withinMs} ms in vain until ${what}; the hub's log ends with:\n${this.log().slice(-2000)}`,
    );
  }

  async #ask<D extends DescMessage>(method: string, body: object, schema: D): Promise<MessageShape<D>> {
    const answer = await fetch(`${this.url}/blueflame.operator.v1.OperatorService/${method}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    if (!answer.ok) throw new Error(`${method}: HTTP ${answer.status} ${await answer.text()}`);
    const json = (await answer.json()) as JsonValue;
    return fromJson(schema, json, { ignoreUnknownFields: true });
  }
}
