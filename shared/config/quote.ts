/** What an error or a record may show of a text that a person has written: enough to find it by, and nothing that may be a secret. Pure. */

const shownMax = 60;

/** An address without the password before its host and the key behind its question mark, also where it is not written as it should be. */
export function keyless(text: string): string {
  return text.replace(/\?.*$/s, "?…").replace(/^(\w+:\/\/)?.*@/s, "$1…@");
}

/** Short, and without characters that would move the cursor of whoever reads it. */
export function printable(text: string): string {
  const cut = text.length > shownMax ? `${text.slice(0, shownMax)}…` : text;
  return cut.replaceAll(/\p{C}/gu, "?");
}

/** More of a program's path is not shown. */
const programShownMax = 200;

/**
 * Of the text that names a program, what cannot be an argument: where a whole command was written as one text
 * (`redis-cli -a PASSWORD`, `PASSWORD=… redis-cli`) it ends at the first blank or `=`.
 */
export function programWord(text: string): string {
  const word = firstWord(text);
  const shown = (word.includes("://") ? keyless(word) : word).slice(0, programShownMax).replaceAll(/\p{C}/gu, "?");
  return word === text ? shown : `${shown} …`;
}

function firstWord(text: string): string {
  return /^[^\s=]*/.exec(text.trimStart())?.[0] ?? "";
}

/** To be added to what is allowed, or to why a program cannot be started; empty when its text is no whole command. */
export function commandHint(text: string): string {
  return /\s/.test(text.trim()) ? "; the arguments are items of their own" : "";
}

/** The program's own name, by which one that was meant is looked for. */
export function programName(text: string): string {
  return firstWord(text).split("/").at(-1) ?? "";
}

/** What a config is told of a program that cannot be started; `refused` says why. */
export function programProblem(text: string, refused: string): { readonly saw: string; readonly allowed: string } {
  return {
    saw: `"${programWord(text)}" cannot be started: ${refused}`,
    allowed: `allowed is an executable file${commandHint(text)}`,
  };
}
