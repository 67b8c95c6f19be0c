import { expect, test } from "vitest";
import { lastKnownWords } from "./known.ts";

test("of what a command printed the known words of its last line are told: a token, a banner or a name stood there whole", () => {
  const told = (tail: string, cut = false) => lastKnownWords(tail, cut);
  expect(told("starting\ncurl: (7) Failed to connect to db.example port 5432: Connection refused\n")).toBe(
    "… failed to connect to … port … connection refused",
  );
  expect(told("Error: disk is full\n    at Object.open (node:fs:601:3)\n\nNode.js v24.1.0\n")).toBe(
    "error disk is full",
  );
  expect(told("fatal: password is open file\r\n")).toBe("fatal …");
  expect(told("hunter2secret\n")).toBe("");
  expect(told("")).toBe("");
  // The first line of a tail that was cut may have begun with "password".
  expect(told("open file\n", true)).toBe("");
  expect(told("open file\nno disk", true)).toBe("no disk");
});
