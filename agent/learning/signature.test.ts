import { normalised } from "@blueflame/shared/words/known.ts";
import { alarming, vocabulary } from "@blueflame/shared/words/vocabulary.ts";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { seedsOr } from "../../test/support/seeds.ts";
import { signatureOf } from "./signature.ts";

test.each([
  ["Error: connect ECONNREFUSED 127.0.0.1:5432", "error connect ECONNREFUSED …"],
  ["TypeError: Cannot read properties of undefined (reading 'foo')", "TypeError cannot read … of undefined reading …"],
  [
    "Exception in thread main java.lang.OutOfMemoryError: Java heap space",
    "exception in thread main OutOfMemoryError … heap space",
  ],
  ["sqlite3.OperationalError: database disk image is malformed", "…Error database disk … is malformed"],
  ["BankVaultError: balance 17 is wrong", "…Error balance … is wrong"],
  ["panic: runtime error: invalid memory address", "panic runtime error invalid memory address"],
  ["\u001b[31mFATAL\u001b[0m out-of-memory in worker-7", "fatal out-of-memory in …"],
  [
    "2026-01-02T03:04:05Z [error] can't open file '/etc/x': No such file or directory",
    "… error cant open file … no such file or directory",
  ],
  ["fatal: password for the vault is open sesame", "fatal …"],
  ["    at Object.open (node:fs:601:3) failed", ""],
])("SYN-12 %s is remembered as: %s", (line, words) => expect(normalised(line).join(" ")).toBe(words));

test("SYN-12 the same failure has the same signature at another time, port, path and process; another one has not", () => {
  const at = (time: string, port: number, path: string) =>
    signatureOf({
      symptom: "crash",
      code: 1,
      lines: [
        `${time} listening on ${port}`,
        `${time} Error: cannot open '${path}': permission denied`,
        `${time} fatal: connection to 10.0.0.${port % 200}:${port} refused`,
        `${time} bye`,
      ],
    });
  const one = at("2026-01-02T03:04:05.678Z", 8080, "/var/lib/a.db");
  expect(at("Mar 05 17:00:01", 9191, "/srv/other/b.sqlite")).toEqual(one);
  expect(one.id).toMatch(/^[0-9a-f]{12}$/);
  expect(one.text).toBe("crash, exit 1: … error cannot open … permission denied: … fatal connection to … refused");
  expect(signatureOf({ symptom: "crash", code: 2 }).id).not.toBe(signatureOf({ symptom: "crash", code: 1 }).id);
  expect(signatureOf({ symptom: "crash", signal: "SIGKILL", code: null }).text).toBe("crash, SIGKILL");
  expect(signatureOf({ symptom: "frozen", trigger: "memory_high" }).text).toBe("frozen, memory_high");
});

test("SYN-12 a line that repeats counts once, and lines that speak of no failure do not count", () => {
  const lines = ["Error: disk is full", ...new Array<string>(30).fill("Error: queue is closed"), "good bye", "started"];
  expect(signatureOf({ symptom: "crash", lines }).text).toBe("crash: error disk is full: error queue is closed");
  expect(signatureOf({ symptom: "crash", lines: ["listening", "order 17 done", ""] }).text).toBe("crash");
});

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const word = (alphabet: string, minLength: number, maxLength: number) =>
  fc.array(fc.constantFrom(...alphabet), { minLength, maxLength }).map((parts) => parts.join(""));
const lower = letters.slice(0, 26);
/** Secrets as they come: keys in hex and base64, UUIDs, passwords with signs, and such that look like words. */
const secret = fc.oneof(
  word("0123456789abcdef", 16, 64),
  word(`${letters}0123456789+/`, 20, 64).map((text) => `${text}==`),
  fc.uuid(),
  word(`${letters}0123456789_-.~`, 8, 40),
  word(`${letters}0123456789!#$%&()*+,/:;<=>?@[]^{|}~`, 8, 40),
  word(letters, 8, 24),
  word(lower, 8, 16),
  fc.tuple(word(lower, 6, 10), word(lower, 6, 10)).map(([a, b]) => `${a}-${b}`),
  fc.tuple(fc.nat(255), fc.nat(255), fc.nat(65_535)).map(([a, b, port]) => `10.${a}.${b}.1:${port}`),
);
/** What a program may print around a secret; `§` is its place. */
const around = fc.constantFrom(
  "Error: §",
  "fatal: cannot open /run/§/socket",
  "error: key=§ rejected",
  'failed to connect to "https://admin:§@host.example/path?x=1"',
  "Error: connect to postgres://app:§@db:5432/x refused",
  "authentication failed for § (denied)",
  "panic: invalid value '§' in config",
  "TypeError: § is not a function",
  "Authorization: Bearer § failed",
  "error: password is §",
  '{"level":"error","msg":"request failed","apiKey":"§"}',
  "§",
  "error § § timeout",
  "Error: ENOENT: no such file or directory, open §",
  "2026-01-02T03:04:05.678Z error [§] connection reset",
  "com.example.§Error: refused",
);

test("SYN-12 of a secret in the output nothing survives in the signature, wherever it stands", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(around, secret), { minLength: 1, maxLength: 4 }), (planted) => {
      const lines = planted.map(([line, value]) => line.replaceAll("§", value));
      const { text } = signatureOf({ symptom: "crash", code: 1, lines });
      const harmless = new Set([...vocabulary, "crash", "exit", "typeerror", "enoent"]);
      for (const [, value] of planted) {
        expect(text).not.toContain(value);
        // No piece of it either, but for words that every text may hold.
        for (const piece of value.split(/[^A-Za-z0-9]+/).filter((one) => one.length >= 4)) {
          if (!harmless.has(piece.toLowerCase()))
            expect(text.toLowerCase().split(/[^a-z0-9]+/)).not.toContain(piece.toLowerCase());
        }
      }
      // Nothing but listed words passes at all.
      for (const one of text.split(/[\s:,…-]+/).filter((part) => part !== "")) {
        expect(harmless.has(one.toLowerCase()) || one === "1" || /^([A-Z][a-z]+)*Error$/.test(one), one).toBe(true);
      }
    }),
    { seed: 12, numRuns: seedsOr(1000).length },
  );
});

test("SYN-12 the signature does not depend on the secret at all: another one gives the same", () => {
  const hex = word("0123456789abcdef", 16, 64);
  fc.assert(
    fc.property(around, hex, hex, (line, a, b) => {
      const of = (value: string) => signatureOf({ symptom: "crash", lines: [line.replaceAll("§", value)] });
      expect(of(a)).toEqual(of(b));
    }),
    { seed: 12, numRuns: 1000 },
  );
});

test("SYN-12 a signature is short and made quickly, whatever is printed", () => {
  const line = fc.oneof(fc.string({ maxLength: 300, unit: "binary" }), fc.constant(`error ${"x ".repeat(50_000)}`));
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.array(line, { maxLength: 60 }), (symptom, lines) => {
      const { id, text } = signatureOf({ symptom, code: 7, lines });
      expect(id).toMatch(/^[0-9a-f]{12}$/);
      expect(text.length).toBeLessThanOrEqual(240);
    }),
    { seed: 12, numRuns: seedsOr(100).length },
  );
});

test("the list of words is clean: lower case, letters only, and what is alarming is on it", () => {
  expect([...vocabulary].filter((one) => !/^[a-z]+$/.test(one))).toEqual([]);
  expect([...alarming].filter((one) => !vocabulary.has(one))).toEqual([]);
});
