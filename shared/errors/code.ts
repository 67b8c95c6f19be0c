/**
 * `ENOENT` and the like, else the error's name: what may be told of an error whose message quotes what was handed over. Node's
 * names the program and the arguments of a process that cannot be started.
 */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}
