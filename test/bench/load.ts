import http2 from "node:http2";
import { setTimeout as pause } from "node:timers/promises";
import { linkPath } from "./echo.ts";
import { round, spread } from "./measure.ts";

/** PEM texts of one client. */
export interface Pems {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** One agent as the server sees it: a connection of its own with one stream. */
export interface Line {
  readonly session: http2.ClientHttp2Session;
  readonly stream: http2.ClientHttp2Stream;
}

/**
 * Opens a connection and its stream by hand: a generator on grpc-js would be as slow as what it measures. Resolves with the first
 * answer to `hello`, so that a server which refuses is noticed.
 */
export function openLine(address: string, pems: Pems | undefined, hello: Uint8Array): Promise<Line> {
  const session = http2.connect(`${pems ? "https" : "http"}://${address}`, {
    ...pems,
    // The address is an IP and the certificates are the bench's own; that the CA signed them is still checked.
    checkServerIdentity: () => undefined,
  });
  const stream = session.request({
    ":method": "POST",
    ":path": linkPath,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.write(frame(hello));
  return new Promise((resolve, reject) => {
    session.once("error", reject);
    stream.once("error", reject);
    stream.once("close", () => reject(new Error(`the server closed the stream: ${stream.rstCode}`)));
    stream.once("data", () => {
      stream.resume();
      resolve({ session, stream });
    });
  });
}

/** Opens them at a rate that every server under test admits. */
export async function openLines(count: number, open: (index: number) => Promise<Line>): Promise<Line[]> {
  const lines: Line[] = [];
  for (let i = 0; i < count; i += 10) {
    const few = Array.from({ length: Math.min(10, count - i) }, (_, n) => open(i + n));
    lines.push(...(await Promise.all(few)));
    await pause(100);
  }
  return lines;
}

export function closeLines(lines: readonly Line[]): void {
  for (const { session, stream } of lines) {
    for (const one of [session, stream]) one.on("error", () => {}); // it is being torn down
    session.destroy();
  }
}

/** What a server bears: the highest rate of beats at which 99 of 100 were taken in within 100 ms. */
export interface Capacity {
  readonly beatsPerSecond: number;
  readonly p99Ms: number;
}

const stepMs = 4_000;
const growth = 1.25;
const p99MaxMs = 100;

/** Raises the rate until the server is late. `beat` is sent on all lines in turn. */
export async function capacity(lines: readonly Line[], beat: Uint8Array, from = 1_000): Promise<Capacity> {
  let best: Capacity = { beatsPerSecond: 0, p99Ms: Number.NaN };
  const bytes = frame(beat);
  await offer(lines, bytes, from / 2); // warm: the first seconds are the compiler's
  for (let rate = from; rate < 200_000; rate *= growth) {
    // A second try: one hiccup of a shared machine is not the server's limit.
    const first = await offer(lines, bytes, rate);
    const { sent, p99Ms, kept } = first.kept && first.p99Ms <= p99MaxMs ? first : await offer(lines, bytes, rate);
    if (!kept || p99Ms > p99MaxMs) break;
    best = { beatsPerSecond: Math.round(sent), p99Ms: round(p99Ms) };
  }
  return best;
}

/**
 * Offers `rate` beats a second. A ping behind a beat on the same connection is answered after the server's loop has come to that
 * beat: its time is the beat's. `kept` is false when the generator fell behind or bytes were left waiting.
 */
async function offer(lines: readonly Line[], bytes: Buffer, rate: number) {
  const late: number[] = [];
  const pings: Promise<void>[] = [];
  const began = performance.now();
  let sent = 0;
  let next = 0;
  let burst = false;
  for (let now = began; now < began + stepMs; now = performance.now()) {
    const due = ((now - began) / 1000) * rate;
    // Two beats of one agent in one go would share their cost: then it is the generator that is late, and the step says nothing.
    if (due - sent > lines.length) burst = true;
    for (; sent < due; sent += 1) {
      const line = lines[next++ % lines.length];
      if (line === undefined) continue;
      line.stream.write(bytes);
      if (sent % Math.ceil(rate / 250) === 0) pings.push(ping(line, late));
    }
    await pause(2);
  }
  const tookMs = performance.now() - began;
  await Promise.race([Promise.all(pings), pause(2_000)]);
  const waiting = lines.reduce((sum, { stream }) => sum + stream.writableLength, 0);
  const answered = late.length === pings.length;
  const kept = answered && !burst && waiting <= bytes.length * lines.length && sent >= rate * (stepMs / 1000) * 0.97;
  return { sent: (sent / tookMs) * 1000, p99Ms: late.length > 0 ? spread(late).p99 : Number.POSITIVE_INFINITY, kept };
}

function ping(line: Line, late: number[]): Promise<void> {
  return new Promise((resolve) => {
    const sent = line.session.ping((error, tookMs) => {
      if (!error) late.push(tookMs);
      resolve();
    });
    if (!sent) resolve();
  });
}

/** gRPC's five bytes before a message: not compressed, and how long. */
function frame(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}
