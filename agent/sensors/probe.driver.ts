import { get as httpGet } from "node:http";
import { get as httpsGet } from "node:https";
import { connect } from "node:net";
import { Health, HealthCheckResponse_ServingStatus } from "@blueflame/shared/gen/grpc/health/v1/health_pb.ts";
import { client, clientOptions } from "@blueflame/shared/rpc/definition.ts";
import * as grpc from "@grpc/grpc-js";
import type { ProbeSpec } from "../supervise/spec.ts";
import { runCommand } from "./exec.driver.ts";
import { clause, failure, type ProbeVerdict } from "./verdict.ts";

/** A probe under way. */
export interface Asked {
  /** Comes at the probe's deadline at the latest; when the agent itself was away, at twice that. Never rejects. */
  readonly verdict: Promise<ProbeVerdict>;
  /** When nothing of the question is left. Later than the verdict only for a command that cannot be killed (state D). */
  readonly gone: Promise<void>;
}

type Outcome = Pick<ProbeVerdict, "ok" | "because" | "unasked">;

/** Read from a TCP answer at most; a server that sends more without saying what is expected has failed. */
const answerMax = 65_536;

/** A deadline that is noticed this much too late was missed by the agent, not by the workload. */
const awayFromMs = 50;

/** Why a question that is answered is given up; without a reason each one would make an error with its stack. */
const over = "answered";

/** Asks one probe once. Resolves at the deadline at the latest, also when `signal` aborts; never rejects. */
export function runProbe(spec: ProbeSpec, signal: AbortSignal): Promise<ProbeVerdict> {
  return ask(spec, signal).verdict;
}

/** As {@link runProbe}, and says when the last of it is gone. */
export function ask(spec: ProbeSpec, signal: AbortSignal): Asked {
  const startedMs = performance.now();
  const stop = new AbortController();
  const gone = Promise.withResolvers<void>();
  const verdict = new Promise<ProbeVerdict>((resolve) => {
    const settle = ({ ok, because, unasked }: Outcome) => {
      clearTimeout(deadline);
      signal.removeEventListener("abort", cancel);
      const tookMs = performance.now() - startedMs;
      resolve({ ok, because: clause(because), tookMs, ...(unasked && { unasked }) });
      stop.abort(over);
    };
    const cancel = () => settle({ ok: false, because: "cancelled" });
    const expire = () => settle({ ok: false, because: `no answer within ${spec.timeoutMs}ms` });
    let deadline = setTimeout(() => {
      const awayMs = performance.now() - startedMs - spec.timeoutMs;
      if (awayMs < awayFromMs) expire();
      // The agent itself was away: the answer may lie there unread. It gets that time back, once, and not more than it had.
      else deadline = setTimeout(expire, Math.min(awayMs, spec.timeoutMs));
    }, spec.timeoutMs);
    if (signal.aborted) {
      cancel();
      gone.resolve();
      return;
    }
    signal.addEventListener("abort", cancel, { once: true });
    try {
      begin(spec, stop.signal, settle, gone.resolve);
    } catch (error) {
      settle(failure(error, textOf(error)));
      gone.resolve();
    }
  });
  return { verdict, gone: gone.promise };
}

/** Starts the question; `settle` may be called more than once, the first counts. `stop` aborts when it is settled. */
function begin(spec: ProbeSpec, stop: AbortSignal, settle: (outcome: Outcome) => void, gone: () => void): void {
  const { ask: question } = spec;
  switch (question.by) {
    case "exec":
      runCommand(question.command, question.cwd, stop, settle, gone);
      return;
    case "tcp":
      askTcp(question, stop, settle);
      break;
    case "http":
      askHttp(question.url, stop, settle);
      break;
    case "grpc":
      // The deadline above is the one that counts; this one only bounds what the library keeps.
      askGrpc(question.address, question.service, 2 * spec.timeoutMs, stop, settle);
      break;
  }
  stop.addEventListener("abort", gone, { once: true });
}

type TcpQuestion = Extract<ProbeSpec["ask"], { by: "tcp" }>;

function askTcp(
  { host, port, send, expect }: TcpQuestion,
  stop: AbortSignal,
  settle: (outcome: Outcome) => void,
): void {
  const socket = connect({ host, port });
  stop.addEventListener("abort", () => socket.destroy(), { once: true });
  let answer = Buffer.alloc(0);
  socket.on("connect", () => {
    if (send) socket.write(send);
    if (!expect) settle({ ok: true, because: "connected" });
  });
  socket.on("data", (bytes) => {
    if (!expect) return;
    answer = Buffer.concat([answer, bytes]);
    if (answer.includes(expect)) settle({ ok: true, because: "answered as expected" });
    else if (answer.length > answerMax) settle({ ok: false, because: `no "${expect}" in ${answerMax} bytes` });
  });
  // What the peer said may be a banner with secrets: only how much of it came is told.
  socket.on("end", () => settle({ ok: false, because: `closed after ${answer.length} bytes, without "${expect}"` }));
  socket.on("error", (error) => settle(failure(error, textOf(error))));
}

function askHttp(url: string, stop: AbortSignal, settle: (outcome: Outcome) => void): void {
  // A connection of its own: a kept-alive one would be answered by whoever accepted it earlier. The question is whether
  // something answers, not who: health pages mostly have a certificate that nobody signed.
  const options = { agent: false as const, headers: { "user-agent": "blueflame-probe", connection: "close" } };
  const request = url.startsWith("https:")
    ? httpsGet(url, { ...options, rejectUnauthorized: false })
    : httpGet(url, options);
  stop.addEventListener("abort", () => request.destroy(), { once: true });
  request.on("response", (response) => {
    const status = response.statusCode ?? 0;
    settle({ ok: status >= 200 && status <= 399, because: `HTTP ${status}` });
  });
  request.on("error", (error) => settle(failure(error, textOf(error))));
}

function askGrpc(
  address: string,
  service: string,
  timeoutMs: number,
  stop: AbortSignal,
  settle: (outcome: Outcome) => void,
): void {
  const health = client(Health, address, grpc.credentials.createInsecure(), clientOptions);
  stop.addEventListener("abort", () => health.close(), { once: true });
  health.check({ service }, { timeoutMs, signal: stop }).then(
    ({ status }) => {
      const ok = status === HealthCheckResponse_ServingStatus.SERVING;
      settle({ ok, because: HealthCheckResponse_ServingStatus[status] ?? `status ${status}` });
    },
    (error: unknown) => settle(failure(error, textOf(error))),
  );
}

function textOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(textOf).join("; ");
  if (!(error instanceof Error)) return String(error);
  return error.message || ("code" in error ? String(error.code) : error.name);
}
