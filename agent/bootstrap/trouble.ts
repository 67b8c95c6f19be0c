/** What error lines of the agent or of its commands say of the store. */
import { codeIn } from "./child.ts";

/** A store that is not opened for want of its key is not damaged. */
export function isOfKey(code: string): boolean {
  return code.startsWith("STORE_KEY_");
}

/** What is refused may be taken again: nothing is damaged. */
export function isOfDisk(code: string): boolean {
  return code === "STORE_WRITE_FAILED" || code === "DATA_DIR_UNUSABLE";
}

/** The worst that a living agent says of its store; that no snapshot was taken is no trouble of the store. */
export function troubleOf(lines: readonly string[]): string | undefined {
  const worst = lines.find((line) => /^\[STORE_(DAMAGED|MISSING|KEY_\w+)\]/.test(line));
  return worst ?? lines.find((line) => isOfDisk(codeIn(line)) && !/\b(no|a) snapshot\b/.test(line));
}

/** Is this why the agent guards from memory? */
export function keepsShut(line: string | undefined): boolean {
  const code = codeIn(line ?? "");
  return isOfKey(code) || isOfDisk(code);
}
