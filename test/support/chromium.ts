import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** One page of a real browser, driven over its own debugging protocol; needs no package. */
export interface BrowserPage {
  goto(url: string): Promise<void>;
  /** The value of an expression in the page; throws what it throws. */
  evaluate(expression: string): Promise<unknown>;
  /** Evaluates until the value is true; throws after 10 s with what was asked. */
  until(expression: string): Promise<void>;
  look(options: { width: number; height?: number; scheme?: "light" | "dark" }): Promise<void>;
  screenshot(): Promise<Buffer>;
  /** Messages of level error and uncaught exceptions so far. */
  readonly errors: readonly string[];
  close(): Promise<void>;
}

const flags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--hide-scrollbars",
  "--remote-debugging-port=0",
];

/** Starts a browser of its own with an empty profile; `close` ends it and removes the profile. */
export async function openChromium(path: string): Promise<BrowserPage> {
  const profile = await mkdtemp(join(tmpdir(), "bf-chromium-"));
  const browser = spawn(path, [...flags, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = new Promise<void>((resolve) => browser.once("exit", () => resolve()));
  const endpoint = await new Promise<string>((resolve, reject) => {
    let said = "";
    browser.stderr.on("data", (text) => {
      said += String(text);
      const found = /DevTools listening on ws:\/\/([^/\s]+)/.exec(said)?.[1];
      if (found !== undefined) resolve(found);
    });
    browser.once("exit", () => reject(new Error(`the browser did not start: ${said.slice(-500)}`)));
  });
  const targets = (await (await fetch(`http://${endpoint}/json`)).json()) as {
    type: string;
    webSocketDebuggerUrl: string;
  }[];
  const target = targets.find(({ type }) => type === "page");
  if (target === undefined) throw new Error("the browser has no page");
  const { send, errors, socket } = await session(target.webSocketDebuggerUrl);
  for (const domain of ["Page", "Runtime", "Log"]) await send(`${domain}.enable`);
  const evaluate = async (expression: string): Promise<unknown> => {
    const answer = (await send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true })) as {
      result: { value?: unknown };
      exceptionDetails?: { exception?: { description?: string } };
    };
    if (answer.exceptionDetails) throw new Error(answer.exceptionDetails.exception?.description ?? "the page threw");
    return answer.result.value;
  };
  const until = async (expression: string): Promise<void> => {
    const endMs = performance.now() + 10_000;
    while ((await evaluate(expression)) !== true) {
      if (performance.now() > endMs) throw new Error(`never true in the page: ${expression}`);
      await new Promise((next) => setTimeout(next, 50));
    }
  };
  return {
    errors,
    evaluate,
    until,
    async goto(url) {
      await send("Page.navigate", { url });
      await until(`location.href !== "about:blank" && document.readyState === "complete"`);
    },
    async look({ width, height = 900, scheme = "light" }) {
      await send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
      await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    },
    async screenshot() {
      const { data } = (await send("Page.captureScreenshot", { format: "png", captureBeyondViewport: true })) as {
        data: string;
      };
      return Buffer.from(data, "base64");
    },
    async close() {
      socket.close();
      browser.kill("SIGTERM");
      await ended;
      await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
}

async function session(url: string) {
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", reject);
  });
  const errors: string[] = [];
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(String(data)) as {
      id?: number;
      method?: string;
      params?: { entry?: { level: string; text: string }; exceptionDetails?: { text: string } };
      result?: unknown;
      error?: { message: string };
    };
    const asked = waiting.get(message.id ?? 0);
    waiting.delete(message.id ?? 0);
    if (message.error) asked?.reject(new Error(message.error.message));
    else asked?.resolve(message.result);
    if (message.method === "Log.entryAdded" && message.params?.entry?.level === "error")
      errors.push(message.params.entry.text);
    if (message.method === "Runtime.exceptionThrown")
      errors.push(message.params?.exceptionDetails?.text ?? "exception");
  });
  const send = (method: string, params: object = {}): Promise<unknown> => {
    lastId += 1;
    const id = lastId;
    socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  };
  return { socket, send, errors };
}
