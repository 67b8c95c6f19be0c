import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { parseDocument } from "yaml";
import { freePort } from "./ports.ts";
import { inRoot } from "./root.ts";

const defaultPorts = { grpc: 7443, http: 7480, sample: 7490 };

/** Where `npm start` keeps everything; `git clean -fdX` removes it. */
export interface Installation {
  readonly dir: string;
  readonly nodeId: string;
  readonly workload: string;
  readonly grpc: string;
  readonly http: string;
  readonly ports: { readonly grpc: number; readonly http: number; readonly sample: number };
  /** The defaults that were taken, as `7443 → 7444`. */
  readonly moved: readonly string[];
  readonly hub: { readonly data: string; readonly config: string; readonly log: string };
  readonly agent: {
    readonly data: string;
    readonly config: string;
    readonly log: string;
    readonly certificates: string;
  };
  /** The commands, as argument lists. */
  readonly serve: readonly string[];
  readonly cert: readonly string[];
  readonly up: readonly string[];
  readonly status: readonly string[];
  readonly down: readonly string[];
}

/** The agent as `npm run build` makes it. */
export const builtAgent: readonly string[] = [process.execPath, inRoot("dist", "blueflame-agent.cjs")];

/** Chooses ports and names for an installation in `dir`, whose agent is `agentProgram`; writes nothing but the folder. */
export async function plan(dir: string, agentProgram: readonly string[]): Promise<Installation> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  chmodSync(dir, 0o700); // it holds private keys
  const taken = new Set<number>();
  const moved: string[] = [];
  const choose = async (wanted: number): Promise<number> => {
    const port = await freePort(wanted, taken);
    taken.add(port);
    if (port !== wanted) moved.push(`${wanted} → ${port}`);
    return port;
  };
  const ports = {
    grpc: await choose(defaultPorts.grpc),
    http: await choose(defaultPorts.http),
    sample: await choose(defaultPorts.sample),
  };
  const [grpc, http] = [`127.0.0.1:${ports.grpc}`, `127.0.0.1:${ports.http}`];
  const at = (...parts: string[]) => join(dir, ...parts);
  const hub = { data: at("hub"), config: at("hub.yaml"), log: at("hub.log") };
  const agent = { data: at("agent"), config: at("agent.yaml"), log: at("agent.log"), certificates: at("certificates") };
  const nodeId = nodeName(hostname());
  const hubProgram = [process.execPath, inRoot("dist", "blueflame-hub.mjs")];
  return {
    dir,
    nodeId,
    workload: "risk-firewall",
    grpc,
    http,
    ports,
    moved,
    hub,
    agent,
    serve: [...hubProgram, "serve", "--config", hub.config, "--data-dir", hub.data].concat(
      "--grpc",
      grpc,
      "--http",
      http,
    ),
    cert: [...hubProgram, "cert", "--data-dir", hub.data, "--node", nodeId].concat("--out", agent.certificates),
    up: [...agentProgram, "up", "--config", agent.config, "--data-dir", agent.data],
    status: [...agentProgram, "status", "--data-dir", agent.data],
    down: [...agentProgram, "down", "--data-dir", agent.data],
  };
}

/** The hub's defaults, and how this node is resurrected should its agent be killed: asked by a second path first. */
export function writeHubConfig(to: Installation): void {
  const detach = [process.execPath, inRoot("deploy", "detach.ts"), to.agent.log];
  const config = {
    respawns: [
      {
        node: to.nodeId,
        probe: { command: to.status, timeout: "5s" },
        exec: { command: [...detach, ...to.status, "--", ...to.up], timeout: "15s" },
      },
    ],
  };
  writeYaml(to.hub.config, config);
}

/** The sample's own config, with this clone's paths, ports and hub. */
export function writeAgentConfig(to: Installation): void {
  const folder = inRoot("examples", "risk-firewall");
  const file = parseDocument(readFileSync(join(folder, "blueflame.yaml"), "utf8"));
  if (file.errors[0]) throw file.errors[0];
  const sample: string[] = ["workloads", "0"];
  file.setIn(["node", "id"], to.nodeId);
  file.setIn(
    ["hub"],
    file.createNode({
      addresses: [to.grpc],
      ca: join(to.agent.certificates, "ca.crt"),
      cert: join(to.agent.certificates, "node.crt"),
      key: join(to.agent.certificates, "node.key"),
    }),
  );
  file.setIn([...sample, "command"], file.createNode([process.execPath, inRoot("dist", "risk-firewall.mjs")]));
  file.setIn([...sample, "cwd"], folder);
  file.setIn([...sample, "env", "RISK_FIREWALL_PORT"], String(to.ports.sample));
  // The probes ask where the sample listens; in the example that is its default port.
  const text = file
    .toString({ lineWidth: 0 })
    .replaceAll(`127.0.0.1:${defaultPorts.sample}`, `127.0.0.1:${to.ports.sample}`);
  writeFileSync(to.agent.config, text, { mode: 0o600 });
}

/** Where `npx blueflame …` looks for the hub when it is run in this clone. */
export function writeContext(to: Installation): void {
  writeFileSync(join(to.dir, "context.json"), `${JSON.stringify({ hub: `http://${to.http}` })}\n`);
}

/** True when the node's certificate was issued earlier, by the CA that the hub still has. */
export function hasCertificate(to: Installation): boolean {
  const issued = join(to.agent.certificates, "ca.crt");
  const current = join(to.hub.data, "trust", "ca.crt");
  return existsSync(issued) && existsSync(current) && readFileSync(issued, "utf8") === readFileSync(current, "utf8");
}

function writeYaml(file: string, value: object): void {
  // JSON is YAML, and leaves no doubt about quoting.
  writeFileSync(
    file,
    `# Written by npm start; changes are lost at the next one.\n${JSON.stringify(value, null, 2)}\n`,
    { mode: 0o600 },
  );
}

/** A host name as a node id: 1 to 63 of a-z, 0-9, dot and dash. */
export function nodeName(host: string): string {
  const name = host
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, "-")
    .replace(/^[^a-z0-9]+/, "")
    .slice(0, 63)
    .replace(/[^a-z0-9]+$/, "");
  return name === "" ? "node-1" : name;
}
