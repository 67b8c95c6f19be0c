import { readdirSync, readFileSync } from "node:fs";
import { relative, sep } from "node:path";
import { inRoot, root } from "../../deploy/root.ts";

const notOurs = new Set(["node_modules", ".git", "dist", "out", ".blueflame", "gen"]);

/** Every file of the clone that people wrote, as paths from its top, sorted. */
export const ourFiles: readonly string[] = walk(root).sort();

/** Every TypeScript file that people wrote. */
export const ourCode: readonly string[] = ourFiles.filter((path) => path.endsWith(".ts"));

/** A file's text; the path is from the clone's top. */
export const textOf = (path: string): string => readFileSync(inRoot(path), "utf8");

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}${sep}${entry.name}`;
    if (entry.isDirectory()) return notOurs.has(entry.name) ? [] : walk(path);
    return entry.isFile() ? [relative(root, path).split(sep).join("/")] : [];
  });
}
