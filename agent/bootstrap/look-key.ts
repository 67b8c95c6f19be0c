/** The key of the sealed store, as it lies there: where it should come from, and who else can open the store. */
import { hkdfSync } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { places } from "../constants.ts";
import { namesIn } from "./disk.ts";
import type { Findings, KeyFound } from "./findings.ts";
import { environOf, readOr } from "./proc.ts";

/** What the service manager calls it. */
const credentialName = "blueflame-store-key";
/** In the ring: the id of an escrow key. */
const escrowPrefix = "escrow:";
/** More than any form of a key has. */
const bytesMax = 4096;
/** Where systemd looks for what a unit imports: systemd.exec(5), ImportCredential=. */
const stores = (user: boolean) =>
  user
    ? ["credstore", "credstore.encrypted"].map((name) =>
        join(process.env.XDG_CONFIG_HOME ?? join(homedir(), ".config"), name),
      )
    : ["/etc", "/run", "/usr/local/lib", "/usr/lib"].flatMap((top) =>
        ["credstore", "credstore.encrypted"].map((name) => join(top, name)),
      );
const dropIns = [
  "/etc/systemd/system",
  "/run/systemd/system",
  "/usr/local/lib/systemd/system",
  "/usr/lib/systemd/system",
];

/** `agentPid`: the agent that lives, if any. Never throws. */
export function keyOf(dataDir: string, start: Findings["start"], agentPid: number | undefined): KeyFound {
  const path = join(dataDir, places.storeKey);
  const ring = ringIn(dataDir);
  return {
    path,
    is: keyIs(path, ring),
    aside: freeAside(path),
    credential: credentialOf(start, agentPid),
    entrusted: ring?.find((id) => id.startsWith(escrowPrefix)),
    sealed: ring !== undefined,
  };
}

function keyIs(path: string, ring: readonly string[] | undefined): KeyFound["is"] {
  let bytes: Buffer;
  try {
    const found = statSync(path);
    // A pipe would hold us up for ever.
    if (!found.isFile() || found.size > bytesMax) return "no-key";
    bytes = readFileSync(path);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? "missing" : "unknown";
  }
  if (bytes.length === 0) return "empty";
  const text = bytes.toString("latin1").trim();
  const key = bytes.length === 32 ? bytes : /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, "hex") : undefined;
  if (!key) return "no-key";
  // As the store names it; a ring that cannot be read tells nothing.
  const id = Buffer.from(hkdfSync("sha256", key, "", "blueflame kek id", 8)).toString("hex");
  return ring === undefined || ring.includes(id) ? "there" : "another";
}

/** Whom the newest data key is wrapped for, by the copy beside the store; undefined when there is none that can be read. */
function ringIn(dataDir: string): readonly string[] | undefined {
  try {
    const { keys } = JSON.parse(readFileSync(join(dataDir, places.storeRing), "utf8")) as {
      keys: { readonly wraps: object }[];
    };
    const newest = keys.at(-1);
    return newest && Object.keys(newest.wraps);
  } catch {
    return undefined;
  }
}

/** A name beside it that nobody has: what lies in its place may be another store's only key. */
function freeAside(path: string): string {
  for (let at = 0; ; at++) {
    const name = `${path}.aside${at === 0 ? "" : `-${at}`}`;
    if (!existsSync(name)) return name;
  }
}

/** Where the service manager has the key for this node; undefined: nobody can tell that it has one. */
function credentialOf(start: Findings["start"], agentPid: number | undefined): string | undefined {
  const folders = [
    process.env.CREDENTIALS_DIRECTORY,
    agentPid === undefined ? undefined : environOf(agentPid, "CREDENTIALS_DIRECTORY"),
    ...(start.by === "init" ? [join("/run/credentials", start.unit), ...stores(start.user)] : []),
  ];
  const found = folders
    .map((folder) => folder && join(folder, credentialName))
    .find((path) => path !== undefined && path !== "" && existsSync(path));
  if (found !== undefined || start.by !== "init") return found;
  const { unit } = start;
  return dropIns
    .flatMap((folder) => namesIn(join(folder, `${unit}.d`)).map((name) => join(folder, `${unit}.d`, name)))
    .find((path) => new RegExp(`^(Load|Set)Credential\\w*=${credentialName}:`, "m").test(readOr(path)));
}
