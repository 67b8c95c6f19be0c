import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LocalApi, serveLocalApi } from "@blueflame/agent/api/server.driver.ts";
import { type Agent, type ConnectOptions, connect } from "@blueflame/agent/client/client.driver.ts";
import type { MemorySpace } from "./memory-space.ts";
import { memoryNode } from "./node.ts";

/** A workload `firewall` and its agent: a node in memory behind a real socket that can go down and come up. Whoever opened closes. */
export class ClientRig {
  readonly node = memoryNode(["firewall"]);
  readonly #dir = mkdtempSync(join(tmpdir(), "bf-client-"));
  readonly socket = join(this.#dir, "agent.sock");
  readonly #lines: { close(): void }[] = [];
  #api: LocalApi | undefined;

  static async open(): Promise<ClientRig> {
    const rig = new ClientRig();
    await rig.up();
    return rig;
  }

  async up(): Promise<void> {
    this.#api = await serveLocalApi({ node: this.node, socketPath: this.socket, log: () => {} });
  }
  async down(): Promise<void> {
    await this.#api?.close();
  }
  /** A line of the workload, closed with the rig. */
  connected(options: ConnectOptions = {}): Agent {
    return this.closes(connect({ socket: this.socket, token: "token-of-firewall", ...options }));
  }
  closes<T extends { close(): void }>(line: T): T {
    this.#lines.push(line);
    return line;
  }
  /** What the workload keeps. */
  get space(): MemorySpace {
    const found = this.node.workloads.get("firewall")?.state;
    if (!found) throw new Error("there is a workload");
    return found;
  }
  async close(): Promise<void> {
    for (const line of this.#lines) line.close();
    await this.down();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
