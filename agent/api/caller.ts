import { Fault } from "@blueflame/shared/errors/fault.ts";

const personCharsMax = 100;

/** What of a call the services look at. */
export interface Caller {
  readonly metadata: { get(key: string): (string | Buffer)[] };
  /** The address of the connection, as `server.driver.ts` has named it. */
  getPeer(): string;
}

/** The workload's token. Throws DENIED when none was sent. */
export function tokenOf(call: Caller): string {
  const token = sentToken(call);
  if (token === undefined) {
    throw new Fault(
      "DENIED",
      "no token was sent: metadata 'authorization: Bearer TOKEN' is missing, see BLUEFLAME_TOKEN",
    );
  }
  return token;
}

/** The token that was sent, whoever holds it; undefined for none. */
export function sentToken(call: Caller): string | undefined {
  const sent = String(call.metadata.get("authorization")[0] ?? "");
  return /^Bearer ([\x21-\x7e]{1,256})$/i.exec(sent)?.[1];
}

/** One line without control characters: it goes into the audit as it is. */
export function personOf(person: string): string {
  return oneLine(person, personCharsMax) || "unnamed";
}

export function oneLine(text: string, charsMax: number): string {
  return text
    .replace(/[\p{Cc}\p{Cf}]/gu, "")
    .trim()
    .slice(0, charsMax);
}
