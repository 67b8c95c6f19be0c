import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { Level } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { afterAll, afterEach, beforeAll, beforeEach, expect, type TestOptions, test } from "vitest";
import { type BrowserPage, openChromium } from "../../../test/support/chromium.ts";
import { type MemoryFleet, memoryFleet } from "../../../test/support/fleet.ts";
import { findTool, requireTool } from "../../../test/tools.ts";
import { type HttpDoor, serveHttp } from "../http.driver.ts";
import { html, Markup } from "./html.ts";
import { rowsMost, statusPage } from "./page.ts";

const evil = `<script>window.owned=1</script>"'><img src=x onerror="window.owned=2">`;
const log = { warn: () => {} };

test("whatever a node calls itself is text on the page, in attributes too", () => {
  expect(html`<b title="${evil}">${evil}</b>`.text).not.toMatch(/<script|<img|"'>/);
  expect(html`${"a\u202eb\u0000c\nd"}`.text).toBe("a\ufffdb\ufffdc d");
  expect(html`${[new Markup("<i>"), new Markup("</i>")]}${undefined}${7}`.text).toBe("<i></i>7");
});

test("the page without its script shows the fleet, the worst first, and says what it leaves out", () => {
  const fleet = memoryFleet();
  for (let at = 0; at < rowsMost + 20; at++) fleet.putNode({ id: `edge-${at}` });
  fleet.putNode({ id: "worst", level: Level.RED, because: evil });
  const page = statusPage(fleet.hub(), fleet.nodes(), []);
  expect(page.indexOf('data-key="worst"')).toBeLessThan(page.indexOf('data-key="edge-0"'));
  expect(page.match(/<tr role="row" class/g)).toHaveLength(rowsMost);
  expect(page).toContain("21 more nodes, none worse, are not shown");
  expect(page).not.toContain("<img src=x");
});

test("SYN-4 the page shows cause and remedy of an incident, and what is special about a workload", () => {
  const fleet = memoryFleet();
  const web = { name: "web", phase: 3, health: 2, safeMode: true, rolledBack: true, atWork: "config_rollback" };
  fleet.putNode({ id: "edge-1", workloads: [web] });
  const diagnosis = { cause: evil, confidence: 0.75, root: evil };
  const incident = fleet.putIncident({ id: "i-1", nodeId: "edge-1", diagnosis, attempts: [{ rung: 3 }] });
  const page = statusPage(fleet.hub(), fleet.nodes(), [incident]);
  expect(page).toContain(
    "</b> running · <i>config rollback at work</i> · <i>SAFE MODE</i> · <i>rolled back</i></span>",
  );
  expect(page).toMatch(/ · <i>&lt;script&gt;.*\(0\.75, began in .*\)<\/i> · <i>config rollback at work<\/i>/);
  expect(page).not.toContain("<img src=x");
});

/** Without the browser the test is skipped, and says what to do. */
const inBrowser = (name: string, options: TestOptions, run: () => Promise<void>) =>
  test(name, options, async (context) => {
    requireTool(context, "chromium");
    await run();
  });
let browser: BrowserPage;
let fleet: MemoryFleet;
let door: HttpDoor;

beforeAll(async () => {
  const chromium = findTool("chromium");
  if (chromium !== undefined) browser = await openChromium(chromium);
});
afterAll(() => browser?.close());
beforeEach(async () => {
  fleet = memoryFleet();
  fleet.putNode({ id: "edge-1" });
  fleet.putNode({ id: evil, because: evil, site: evil, labels: { [evil]: evil } });
  fleet.putIncident({
    id: "i-1",
    nodeId: evil,
    summary: evil,
    detectedAt: timestampFromMs(0),
    timeline: [{ what: evil, because: evil }],
  });
  door = await serveHttp({ fleet, host: "127.0.0.1", port: 0, log });
});
afterEach(() => door.close());

const text = (selector: string) => `document.querySelector(${JSON.stringify(selector)}).textContent`;
const rows = `[...document.querySelectorAll("#nodes tr")].map((row) => row.dataset.key)`;

inBrowser(
  "a browser shows changes as they happen, in place, and a hostile node runs nothing",
  { timeout: 60_000 },
  async () => {
    await browser.look({ width: 1280 });
    await browser.goto(door.url);
    await browser.until(`document.body.classList.contains("live")`);
    expect(await browser.evaluate("window.owned")).toBeUndefined();
    expect(await browser.evaluate(rows)).toEqual([evil, "edge-1"].sort());
    fleet.putNode({ id: "edge-9", level: Level.RED, because: "silent for 61 s" });
    fleet.putNode({ id: "edge-1", level: Level.YELLOW });
    await browser.until(`${rows}.length === 3 && ${rows}[0] === "edge-9" && ${rows}[1] === "edge-1"`);
    expect(await browser.evaluate(text("#nodes tr .level"))).toBe("RRED");
    expect(await browser.evaluate(text("#counts"))).toMatch(/RRED 1.*YYELLOW 1.*GGREEN 1/s);
    fleet.putIncident({ id: "i-1", nodeId: evil, needsPerson: true, summary: "look" });
    await browser.until(`document.title === "1 of 3 need you; 0 healing · Blue Flame"`);
    expect(await browser.evaluate(text("#verdict"))).toBe("1 of 3 need you; 0 healing");
    fleet.putIncident({ id: "i-1", nodeId: evil, state: IncidentState.CLOSED, summary: "over" });
    await browser.until(`document.querySelector(".incident").dataset.open === "no"`);
    expect(await browser.evaluate("window.owned")).toBeUndefined();
    expect(browser.errors).toEqual([]);
  },
);

inBrowser("the age of a beat goes on counting between two events", { timeout: 60_000 }, async () => {
  await browser.goto(door.url);
  await browser.until(`document.body.classList.contains("live")`);
  const age = `Number.parseFloat(document.querySelector('[data-key="edge-1"] [data-age-ms]').textContent)`;
  await browser.until(`${age} >= 3`);
});

inBrowser(
  "a page whose hub is gone greys itself and says since when, and recovers by itself",
  { timeout: 90_000 },
  async () => {
    await browser.goto(door.url);
    await browser.until(`document.body.classList.contains("live")`);
    const port = Number(new URL(door.url).port);
    await door.close();
    await browser.until(`document.body.classList.contains("stale")`);
    expect(await browser.evaluate(text("#link"))).toMatch(/^Stale since \d\d:\d\d:\d\dZ/);
    const other = memoryFleet();
    other.putNode({ id: "edge-1" });
    door = await serveHttp({ fleet: other, host: "127.0.0.1", port, log });
    await browser.until(`document.body.classList.contains("live")`);
    // What the new hub does not know has left the page.
    await browser.until(`${rows}.length === 1`);
    expect(await browser.evaluate(`document.querySelectorAll(".incident").length`)).toBe(0);
  },
);

inBrowser(
  "at 390 px nothing is cut off sideways, in both colour schemes, and the table stays a table",
  { timeout: 60_000 },
  async () => {
    for (const scheme of ["light", "dark"] as const) {
      await browser.look({ width: 390, height: 800, scheme });
      await browser.goto(door.url);
      expect(await browser.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(390);
      expect(await browser.evaluate(`getComputedStyle(document.body).backgroundColor`)).toBe(
        scheme === "dark" ? "rgb(12, 17, 24)" : "rgb(245, 247, 250)",
      );
      expect(
        await browser.evaluate(`document.querySelectorAll('[role="table"] [role="row"] [role="cell"]').length`),
      ).toBe(10);
    }
    await browser.look({ width: 1280 });
  },
);

/** WCAG's contrast of text on its ground, computed from what the browser painted. */
const contrasts = `(() => {
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colors) => { canvas.clearRect(0, 0, 1, 1); for (const c of colors) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); } return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const grounds = (element) => element ? [...grounds(element.parentElement), getComputedStyle(element).backgroundColor] : [];
  return [...document.querySelectorAll("body *")].filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && e.checkVisibility() && e.tagName !== "NOSCRIPT")
    .map((e) => { const ground = paint(grounds(e)), ink = paint([...grounds(e), getComputedStyle(e).color]); const [a, b] = [luminance(ground), luminance(ink)].sort((x, y) => y - x);
      return { what: e.className + " " + e.textContent.slice(0, 30), contrast: (a + 0.05) / (b + 0.05) }; })
    .filter(({ contrast }) => contrast < 4.5);
})()`;

inBrowser("every text reaches contrast AA in light and dark", { timeout: 60_000 }, async () => {
  for (const level of [Level.YELLOW, Level.ORANGE, Level.RED, Level.UNSPECIFIED]) {
    fleet.putNode({
      id: `at-${level}`,
      level,
      missed: 2,
      workloads: [
        { name: "a", health: 1 },
        { name: "b", health: 3 },
      ],
    });
  }
  fleet.putIncident({
    id: "i-2",
    needsPerson: true,
    summary: "look",
    timeline: [{ what: "symptom", because: "silent" }],
  });
  for (const scheme of ["light", "dark"] as const) {
    await browser.look({ width: 1280, scheme });
    await browser.goto(door.url);
    await browser.until(`document.body.classList.contains("live")`);
    expect(await browser.evaluate(contrasts)).toEqual([]);
  }
});
