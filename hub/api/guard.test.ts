import { expect, test } from "vitest";
import { isLoopback, type Knock, refusal } from "./guard.ts";

const good: Knock = { method: "GET", host: "127.0.0.1:7480", origin: undefined, contentLength: undefined };
const status = (knock: Partial<Knock>, bound = "127.0.0.1") => refusal({ ...good, ...knock }, bound)?.status;

test.each(["localhost", "LOCALHOST:7480", "127.0.0.1", "[::1]:7480", "localhost:1"])(
  "Host %s is this machine",
  (host) => {
    expect(status({ host })).toBeUndefined();
  },
);

test.each([
  ["evil.example", 403],
  ["localhost.evil.example:7480", 403],
  ["127.0.0.1.evil.example", 403],
  ["evil@127.0.0.1", 400],
  ["127.0.0.1:7480, evil.example", 400],
  ["", 400],
  [undefined, 400],
])("Host %s is refused: a page may have resolved its own name to us", (host, code) => {
  expect(status({ host })).toBe(code);
});

test("pages of other origins are refused, our own is not", () => {
  expect(status({ origin: "http://localhost:7480" })).toBeUndefined();
  for (const origin of ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
    expect(status({ origin })).toBe(403);
});

test("only GET and POST, and no large bodies", () => {
  for (const method of ["PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", undefined]) expect(status({ method })).toBe(405);
  expect(status({ method: "POST", contentLength: "65536" })).toBeUndefined();
  expect(status({ method: "POST", contentLength: "65537" })).toBe(413);
});

test("loopback is what no other machine can reach", () => {
  expect(["localhost", "127.0.0.1", "127.1.2.3", "::1"].every(isLoopback)).toBe(true);
  expect(["0.0.0.0", "::", "10.0.0.1", "127.evil.example", "localhost.example"].some(isLoopback)).toBe(false);
});
