/** grpc-js names the hub it calls to TLS also when that is an address, as in 127.0.0.1:7443. It works, and nobody can mend it. */
const harmless = new Set(["DEP0123"]);

/** Keeps warnings of Node that say nothing to a person off stderr, by their code; every other one is shown as ever. */
export function silenceKnownWarnings(): void {
  const emit = process.emitWarning;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]): void => {
    const [first, second] = rest;
    const named = typeof first === "object" && first !== null && "code" in first ? first.code : second;
    const code = warning instanceof Error && "code" in warning ? warning.code : named;
    if (typeof code === "string" && harmless.has(code)) return;
    Reflect.apply(emit, process, [warning, ...rest]);
  };
}
