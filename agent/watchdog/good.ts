/** The second, checksummed copy that `install` keeps (design.md, rule 21): when to run it, and whether it is whole. */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { places } from "../constants.ts";
import { crypto, onPromises } from "./lazily.ts";

const format = 1;

interface Kept {
  readonly name: string;
  readonly sha256: string;
  readonly size: number;
  /** Where it is installed. */
  readonly target: string;
}

/** The command of the good copy, when all its files are as they were kept; undefined otherwise. Never rejects. */
export async function goodProgram(dataDir: string): Promise<readonly string[] | undefined> {
  const kept = await manifest(dataDir);
  const at = (name: string) => join(dataDir, places.good, name);
  for (const file of kept) if (!(await matches(at(file.name), file))) return undefined;
  const has = (name: string) => kept.some((file) => file.name === name);
  if (has("binary")) return [at("binary")];
  // Not packaged: the bundle, on the Node that was kept with it, else on ours.
  return has("blueflame-agent.cjs")
    ? [has("node") ? at("node") : process.execPath, at("blueflame-agent.cjs")]
    : undefined;
}

/** True when an installed program file is not what was installed. A config may change. False without a copy to compare with. */
export async function isDamaged(dataDir: string): Promise<boolean> {
  for (const file of await manifest(dataDir)) {
    if (!/\.(ya?ml|json)$/.test(file.name) && !(await matches(file.target, file))) return true;
  }
  return false;
}

async function manifest(dataDir: string): Promise<readonly Kept[]> {
  try {
    const read: unknown = JSON.parse(await onPromises().readFile(join(dataDir, places.good, "manifest.json"), "utf8"));
    const { format: of, files } = read as { format?: unknown; files?: unknown };
    return of === format && Array.isArray(files) ? files.filter(isKept) : [];
  } catch {
    return [];
  }
}

function isKept(read: unknown): read is Kept {
  const { name, sha256, size, target } = read as Partial<Record<keyof Kept, unknown>>;
  return (
    typeof name === "string" && typeof sha256 === "string" && typeof size === "number" && typeof target === "string"
  );
}

async function matches(path: string, { size, sha256 }: Kept): Promise<boolean> {
  try {
    if ((await onPromises().stat(path)).size !== size) return false; // cut: no need to read it
    const hash = crypto().createHash("sha256");
    for await (const chunk of createReadStream(path)) hash.update(chunk);
    return hash.digest("hex") === sha256;
  } catch {
    return false;
  }
}
