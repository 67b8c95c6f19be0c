import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { isPem } from "@blueflame/shared/config/quote.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type Command, Option } from "commander";

/** Where the hub is and with which certificate it is asked. */
export interface HubContext {
  /** `http://127.0.0.1:7480` for Connect, `https://HOST:7443` for gRPC with mutual TLS. */
  readonly hub: URL;
  /** PEM; all three for https, none for http. */
  readonly tls?: { readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer };
  /** Where the address came from, for messages: `--hub`, a file, or the default. */
  readonly from: string;
}

/** The flags that say where the hub is, as commander hands them over. */
export interface HubFlags {
  readonly hub?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

const standard = "http://127.0.0.1:7480";
const contextFile = join(".blueflame", "context.json");

/** Gives `command` the flags of {@link HubFlags}; each may come from the environment as well. */
export function hubFlags(command: Command): Command {
  return command
    .addOption(
      new Option("--hub <url>", `the hub: http://HOST:PORT or https://HOST:PORT (default: ${standard})`).env(
        "BLUEFLAME_HUB",
      ),
    )
    .addOption(new Option("--ca <file>", "the hub's CA certificate, for https").env("BLUEFLAME_CA"))
    .addOption(new Option("--cert <file>", "your operator certificate, for https").env("BLUEFLAME_CERT"))
    .addOption(new Option("--key <file>", "its key, for https").env("BLUEFLAME_KEY"));
}

/**
 * What the flags say; what they leave out comes from `.blueflame/context.json` in `directory` or the nearest folder above it,
 * its file names relative to that file; else the hub of this machine. USAGE for an address that is none, CERT_UNUSABLE for
 * files that cannot be read.
 */
export function findContext(flags: HubFlags, directory: string): HubContext {
  const file = flags.hub === undefined ? nearestFile(directory) : undefined;
  const kept = file === undefined ? {} : readContext(file);
  const place = (path: string | undefined) =>
    path === undefined || file === undefined ? undefined : resolve(dirname(file), path);
  const from = flags.hub !== undefined ? "--hub or BLUEFLAME_HUB" : (file ?? "the default");
  const hub = parseHub(flags.hub ?? kept.hub ?? standard, from);
  if (hub.protocol === "http:") return { hub, from };
  const ca = flags.ca ?? place(kept.ca);
  const cert = flags.cert ?? place(kept.cert);
  const key = flags.key ?? place(kept.key);
  if (ca === undefined || cert === undefined || key === undefined) {
    throw new Fault("USAGE", `${hub.origin} is asked with mutual TLS and needs --ca, --cert and --key`);
  }
  return { hub, from, tls: { ca: readPem(ca), cert: readPem(cert), key: readPem(key) } };
}

function nearestFile(directory: string): string | undefined {
  for (let at = resolve(directory); ; at = dirname(at)) {
    const file = join(at, contextFile);
    if (existsSync(file)) return file;
    if (dirname(at) === at) return undefined;
  }
}

function readContext(file: string): HubFlags {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new Fault("CONFIG_INVALID", `'${file}' cannot be read as JSON`, { cause: error });
  }
  const known = ["hub", "ca", "cert", "key"] as const;
  const fields = Object(value) as Record<string, unknown>;
  return Object.fromEntries(
    known.flatMap((name) => {
      const field = fields[name];
      if (field === undefined) return [];
      if (typeof field !== "string") throw new Fault("CONFIG_INVALID", `'${name}' in '${file}' is no text`);
      return [[name, field]];
    }),
  );
}

function parseHub(text: string, from: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:") || url.hostname === "") {
    throw new Fault(
      "USAGE",
      `'${text}' (from ${from}) is no address of a hub; write http://HOST:PORT or https://HOST:PORT`,
    );
  }
  return url;
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    if (isPem(path))
      throw new Fault("CERT_UNUSABLE", "a key or certificate itself was given where the path of its file belongs");
    throw new Fault("CERT_UNUSABLE", `'${path}' cannot be read`, { cause: error });
  }
}
