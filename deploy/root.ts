import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The clone's top folder, absolute. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** An absolute path inside the clone. */
export const inRoot = (...parts: string[]): string => join(root, ...parts);

/** The product's version, from the top package.json. */
export function version(): string {
  const parsed: unknown = JSON.parse(readFileSync(inRoot("package.json"), "utf8"));
  if (typeof parsed === "object" && parsed !== null && "version" in parsed) return String(parsed.version);
  throw new Error("package.json has no version");
}
