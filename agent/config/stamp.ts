import { createHash } from "node:crypto";

/** The last line of a config file that says by checksum that it is whole; YAML takes it for a comment. */
const form = /^# blueflame-sum: sha256:([0-9a-f]{64})\n?$/;

/** What the last line of a config file says: nothing, that it is whole, or that it is not. */
export type Stamp = "none" | "whole" | "torn";

export function stampOf(given: string): Stamp {
  const text = plainLines(given);
  const at = text.trimEnd().lastIndexOf("\n") + 1;
  const sum = form.exec(text.slice(at))?.[1];
  if (sum === undefined) return text.includes("# blueflame-sum:") ? "torn" : "none";
  return sumOf(text.slice(0, at)) === sum ? "whole" : "torn";
}

/** The text with its checksum as last line; one that was there is replaced. */
export function stamped(text: string): string {
  const lines = text.split("\n").filter((line) => !line.startsWith("# blueflame-sum:"));
  const body = `${lines.join("\n").replace(/[\r\n]+$/, "")}\n`;
  return `${body}# blueflame-sum: sha256:${sumOf(plainLines(body))}\n`;
}

/** As every editor would save it: the end of a line and a mark at the beginning say nothing about a config. */
function plainLines(text: string): string {
  return text.replace(/^\ufeff/, "").replaceAll("\r\n", "\n");
}

/** SHA-256 of a text, in hexadecimal digits. */
export function sumOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/**
 * Why `text` cannot be a whole config file, given the one that ran last; undefined when it can be. A file that has lost its stamp has
 * lost its end; one that is the beginning of what ran before was cut, unless a stamp says that somebody meant it, or it ends where a
 * person ends it who takes the last sections away.
 */
export function tornBecause(given: string, ran: string | undefined): string | undefined {
  const stamp = stampOf(given);
  if (stamp === "whole") return undefined;
  if (stamp === "torn") return "it does not have the checksum that its last line names";
  if (ran === undefined) return undefined;
  if (stampOf(ran) === "whole") return "the one that ran before ended with its checksum, and this one does not";
  const [text, before] = [plainLines(given), plainLines(ran)];
  if (text.trim() === "" && before.trim() !== "") return "it is empty, and the one that ran before was not";
  if (text.length < before.length && before.startsWith(text.trimEnd()) && !lacksSections(text, before)) {
    return `it ends after ${text.length} of the ${before.length} characters of the one that ran before`;
  }
  return undefined;
}

/** Disks write whole blocks of so many bytes: what ends with one was cut by the machine. */
const blockBytes = 512;

/**
 * True when whole sections were taken away at the end. Never the workloads: that nothing is guarded any more has to be said in the
 * file or by its stamp. By chance a cut falls between two sections once in hundreds of times.
 */
function lacksSections(text: string, before: string): boolean {
  if (!text.endsWith("\n") || Buffer.byteLength(text) % blockBytes === 0) return false;
  const gone = before.slice(text.trimEnd().length);
  const first = gone.split("\n").find((line) => line.trim() !== "" && !line.startsWith("#"));
  return gone.startsWith("\n") && /^[a-z_]+:/.test(first ?? "") && !/^workloads:/m.test(gone);
}
