/** What an error or a record may show of a text that a person has written: enough to find it by, and nothing that may be a secret. Pure. */

const shownMax = 60;
/** As long as the path of a file may be: a longer text is neither one nor a word. */
const quotedMax = 4096;

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
 * A value of a config in quotes, for what is wrong with it; undefined when nothing of it may be shown: it is long, of several
 * lines, or a key or certificate itself. Whoever wrote it finds it by its place.
 */
export function quoted(text: string): string | undefined {
  const kept = text.length > quotedMax || /\p{Cc}/u.test(text) || isPem(text);
  return kept ? undefined : `"${printable(keyless(text))}"`;
}

/** A key or certificate itself, where a text names a file. */
export function isPem(text: string): boolean {
  return text.includes("-----BEGIN");
}

/**
 * `path` with one of its keys. A key that is written in one with its value (`TOKEN=…` for `TOKEN: …`) ends where the value could
 * begin, for that may be a secret.
 */
export function keyPath(path: string, key: string): string {
  const name = /^[^\s=:@?]*/.exec(key)?.[0] ?? "";
  const shown = printable(name === key ? key : `${name}…`);
  const word = /^[A-Za-z0-9_-]{1,64}$/.test(shown) ? shown : JSON.stringify(shown);
  return path === "" ? word : `${path}.${word}`;
}

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
