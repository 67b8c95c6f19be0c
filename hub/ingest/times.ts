import type { DescField, DescMessage, Message } from "@bufbuild/protobuf";
import { DurationSchema, type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";

/** The seconds and nanos that JSON and people can read: the years 1 to 9999, and as many years either way for a span. */
const firstSecond = -62_135_596_800n;
const lastSecond = 253_402_300_799n;
const spanSeconds = 315_576_000_000n;
const nanosMax = 999_999_999;

/**
 * Takes out of a message from a node, in place, each time and each span that cannot be printed: one of them would fail
 * every list that it stands in, and a log could not take it. Everything else stays, unknown fields too.
 */
export function dropWrongTimes(schema: DescMessage, message: Message): void {
  const fields = message as unknown as Record<string, unknown>;
  for (const member of schema.members) {
    if (member.kind === "field") {
      if (isWrong(member, fields[member.localName])) delete fields[member.localName];
      else descend(member, fields[member.localName]);
      continue;
    }
    const chosen = fields[member.localName] as { readonly case?: string; readonly value?: unknown };
    const field = member.fields.find(({ localName }) => localName === chosen.case);
    if (field) descend(field, chosen.value);
  }
}

function descend(field: DescField, value: unknown): void {
  if (value === undefined) return;
  if (field.fieldKind === "message") dropWrongTimes(field.message, value as Message);
  if (field.fieldKind === "list" && field.listKind === "message") {
    for (const one of value as Message[]) dropWrongTimes(field.message, one);
  }
}

function isWrong(field: DescField, value: unknown): boolean {
  if (field.fieldKind !== "message" || value === undefined) return false;
  const { typeName } = field.message;
  if (typeName !== TimestampSchema.typeName && typeName !== DurationSchema.typeName) return false;
  const { seconds, nanos } = value as Timestamp;
  if (typeName === TimestampSchema.typeName) {
    return seconds < firstSecond || seconds > lastSecond || nanos < 0 || nanos > nanosMax;
  }
  const mixed = (seconds > 0n && nanos < 0) || (seconds < 0n && nanos > 0);
  return mixed || seconds < -spanSeconds || seconds > spanSeconds || Math.abs(nanos) > nanosMax;
}
