import { rmSync } from "node:fs";
import { isIP } from "node:net";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { interruption, runCli } from "@blueflame/shared/cli/run.ts";
import { configManual } from "@blueflame/shared/config/manual.ts";
import { asksForConfigManual } from "@blueflame/shared/config/manual-asked.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { HubConfigSchema } from "@blueflame/shared/gen/blueflame/config/v1/hub_config_pb.ts";
import { makeFolder } from "@blueflame/shared/store/folder.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { version } from "@blueflame/shared/version.ts";
import { Command, Option } from "commander";
import { pino } from "pino";
import { readHubConfig } from "./config.driver.ts";
import { type Listen, startHub } from "./hub.driver.ts";
import { openAuthority, writeIssued } from "./trust/authority.driver.ts";
import type { Identity } from "./trust/identity.ts";
import { replaceFile } from "./trust/place-file.driver.ts";

interface ServeOptions {
  readonly config?: string;
  readonly dataDir?: string;
  readonly grpc: string;
  readonly http: string;
  readonly name: readonly string[];
}
interface CertOptions {
  readonly node?: string;
  readonly operator?: string;
  readonly out: string;
  readonly dataDir?: string;
}

/** Where a hub keeps everything of its own when nothing else is said; beside an agent on the same machine, not in it. */
function dataDirOf(given: string | undefined): string {
  if (given !== undefined) return resolve(given);
  if (process.getuid?.() === 0) return "/var/lib/blueflame-hub";
  const { XDG_STATE_HOME: state, HOME: home } = process.env;
  return join(state?.startsWith("/") ? state : join(home ?? homedir(), ".local", "state"), "blueflame-hub");
}

/** HOST:PORT, with [brackets] around an IPv6 address. Throws USAGE. */
function listenOf(option: string, text: string): Listen {
  const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})$/.exec(text) ?? [];
  if (host === undefined || Number(port) > 65_535) {
    throw new Fault("USAGE", `${option} ${text} is not HOST:PORT`);
  }
  return { host: host.replace(/^\[|\]$/g, ""), port: Number(port) };
}

/** What agents may write before the port: a host name or an address, without brackets. Throws USAGE. */
function hostOf(text: string): string {
  const host = text.replace(/^\[([0-9a-fA-F:.]+)\]$/, "$1");
  // As the certificate writes it: one that looks different would be issued anew again and again.
  if (isIP(host) === 6) return new URL(`http://[${host}]/`).hostname.slice(1, -1);
  if (isIP(host) === 4 || /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(host)) return host;
  throw new Fault("USAGE", `--name ${text} is no host name and no address`);
}

async function serve(options: ServeOptions): Promise<void> {
  const log = pino(
    { base: { part: "hub" }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
  const leaving = interruption();
  const grpc = listenOf("--grpc", options.grpc);
  const http = listenOf("--http", options.http);
  const config = readHubConfig(options.config, process.env);
  const dataDir = dataDirOf(options.dataDir);
  makeFolder(dataDir);
  const fatal = Promise.withResolvers<unknown>();
  const clock = realClock();
  const hub = await startHub({
    dataDir,
    config,
    grpc,
    http,
    names: options.name.map(hostOf),
    clock,
    random: Math.random,
    log,
    onFatal: fatal.resolve,
  });
  const ready = join(dataDir, "hub.json");
  const { grpcAddress, httpAddress } = hub;
  replaceFile(ready, `${JSON.stringify({ grpc: grpcAddress, http: httpAddress, pid: process.pid })}\n`, 0o600);
  log.info({ grpc: grpcAddress, http: httpAddress, dataDir, version }, "listening");
  const left = new Promise<undefined>((done) => {
    if (leaving.aborted) done(undefined);
    leaving.addEventListener("abort", () => done(undefined), { once: true });
  });
  const failure = await Promise.race([left, fatal.promise]);
  log.info(
    { because: failure === undefined ? "asked to stop" : String(failure) },
    "stopping: every node is told to come back",
  );
  rmSync(ready, { force: true });
  await hub.close();
  if (failure !== undefined) throw failure;
}

async function cert(options: CertOptions): Promise<void> {
  const { node, operator } = options;
  const name = node ?? operator;
  if (name === undefined || (node !== undefined && operator !== undefined)) {
    throw new Fault("USAGE", "cert needs --node ID or --operator NAME, one of them");
  }
  const role: Identity["role"] = node === undefined ? "operator" : "node";
  const dataDir = dataDirOf(options.dataDir);
  makeFolder(dataDir);
  const authority = await openAuthority(join(dataDir, "trust"), () => Date.now());
  const issued = await authority.issue({ role, name });
  const paths = writeIssued(resolve(options.out), role, issued);
  process.stdout.write(
    `${JSON.stringify({ role, name, ...paths, notAfter: new Date(issued.notAfterMs).toISOString() })}\n`,
  );
}

const program = new Command("blueflame-hub")
  .description("The hub of a Blue Flame fleet: listens to its nodes, decides escalation, remembers.")
  .version(version, "-V, --version");
program
  .command("serve")
  .description("run the hub until it is asked to stop")
  .option("--config <file>", "the hub's config, YAML; every default without it; see examples/hub.yaml")
  .option("--data-dir <dir>", "where everything is kept")
  .option("--grpc <host:port>", "where agents and operators connect, with mutual TLS", "127.0.0.1:7443")
  .addOption(
    new Option("--name <host>", "a name or address by which agents call it, for its certificate; may be given again")
      .argParser((one, before: string[]) => [...before, one])
      .default([], "this machine's own, which are always in it"),
  )
  .option("--http <host:port>", "status page, API and metrics; loopback only", "127.0.0.1:7480")
  .action(serve);
program
  .command("cert")
  .description("issue a certificate for a node or an operator; prints its files as JSON")
  .option("--node <id>", "for the agent of this node")
  .option("--operator <name>", "for this person or tool")
  .requiredOption("--out <dir>", "where ca.crt, the certificate and its key are written")
  .option("--data-dir <dir>", "the hub's")
  .action(cert);

program.addHelpText(
  "after",
  "\nEvery key of the config file: blueflame-hub --help config\nWhat each of them means: examples/hub.yaml",
);

if (asksForConfigManual(process.argv.slice(2))) {
  const { isTTY, columns } = process.stdout;
  process.stdout.write(configManual(HubConfigSchema, isTTY ? columns : undefined));
} else process.exitCode = await runCli(program, process.argv.slice(2));
