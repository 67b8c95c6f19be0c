import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Alert } from "./alert.ts";
import { openAlerts } from "./alerts.driver.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-alerts-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

const alert = (id: string): Alert => ({
  id,
  at: "2026-06-01T00:00:00.000Z",
  kind: "red",
  node: "edge-1",
  site: "here",
  because: "silent for 61 s",
  incidentId: "i1",
});

test("an alert is a file of its own that only this user reads, and telling it twice leaves one", () => {
  const alerts = openAlerts(join(dir, "alerts"));
  alerts.tell(alert("a1"));
  alerts.tell(alert("a1"));
  expect(readdirSync(join(dir, "alerts"))).toEqual(["a1.json"]);
  expect(JSON.parse(readFileSync(join(dir, "alerts", "a1.json"), "utf8"))).toEqual(alert("a1"));
  expect(statSync(join(dir, "alerts", "a1.json")).mode & 0o777).toBe(0o600);
});

test("the newest thousand alerts stay", () => {
  const alerts = openAlerts(dir);
  for (let n = 0; n < 1_003; n++) alerts.tell(alert(`a${String(n).padStart(4, "0")}`));
  const files = readdirSync(dir).sort();
  expect([files.length, files[0], files.at(-1)]).toEqual([1_000, "a0003.json", "a1002.json"]);
});
