/** What error lines of the agent or of its commands say of the store. */
import { codeIn } from "./child.ts";
import type { StoreFound } from "./findings.ts";
import { sawIn } from "./steps.ts";

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

/** The store of an agent that lives. `lost`: its files are gone, which no disk and no mode explains, whatever the agent says of its writes. */
export function storeUnder(
  pid: number | undefined,
  lost: boolean,
  trouble: string | undefined,
): Pick<StoreFound, "is" | "code" | "because"> {
  const code = codeIn(trouble ?? "");
  if (isOfKey(code)) return { is: "closed", code, because: sawIn(trouble ?? "") };
  if (lost) return { is: "damaged", code: "STORE_MISSING", because: "the agent lives, and its store's files are gone" };
  if (trouble === undefined) return { is: "in-use", code: "", because: `the agent (pid ${pid}) has it` };
  if (isOfDisk(code)) return { is: "refused", code, because: sawIn(trouble) };
  return { is: "damaged", code, because: trouble };
}

/** Is this why the agent guards from memory? */
export function keepsShut(line: string | undefined): boolean {
  const code = codeIn(line ?? "");
  return isOfKey(code) || isOfDisk(code);
}
