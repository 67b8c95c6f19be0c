import { get as httpGet } from "node:http";
import { get as httpsGet } from "node:https";
import { connect, type Socket } from "node:net";
import { codeOf } from "@blueflame/shared/errors/code.ts";
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

/** Why a command or a call is given up; without a reason each one would make an error with its stack. */
const over = "answered";

/** Ends what is left of a question; called once, when it is settled. */
type GiveUp = () => void;

/** Asks one probe once. Resolves at the deadline at the latest, also when `signal` aborts; never rejects. */
export function runProbe(spec: ProbeSpec, signal: AbortSignal): Promise<ProbeVerdict> {
  return ask(spec, signal).verdict;
}

/** As {@link runProbe}, and says when the last of it is gone. */
export function ask(spec: ProbeSpec, signal: AbortSignal): Asked {
  const startedMs = performance.now();
  const gone = Promise.withResolvers<void>();
  const verdict = new Promise<ProbeVerdict>((resolve) => {
    let giveUp: GiveUp | undefined;
    let settled = false;
    const settle = ({ ok, because, unasked }: Outcome) => {
      if (settled) return;
      settled = true;
      clearTimeout(deadline);
      signal.removeEventListener("abort", cancel);
      const tookMs = performance.now() - startedMs;
      resolve({ ok, because: clause(because), tookMs, ...(unasked && { unasked }) });
      giveUp?.();
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
      giveUp = begin(spec, settle, gone.resolve);
      if (settled) giveUp();
    } catch (error) {
      settle(failure(error, textOf(error)));
      gone.resolve();
    }
  });
  return { verdict, gone: gone.promise };
}

/** Starts the question; `settle` may be called more than once, the first counts. */
function begin(spec: ProbeSpec, settle: (outcome: Outcome) => void, gone: () => void): GiveUp {
  const { ask: question } = spec;
  if (question.by === "exec") {
    const stop = new AbortController();
    runCommand(question.command, question.cwd, stop.signal, settle, gone);
    return () => stop.abort(over);
  }
  const giveUp = connected(question, spec.timeoutMs, settle);
  return () => {
    giveUp();
    gone();
  };
}

function connected(
  question: Exclude<ProbeSpec["ask"], { by: "exec" }>,
  timeoutMs: number,
  settle: (outcome: Outcome) => void,
): GiveUp {
  switch (question.by) {
    case "tcp":
      return askTcp(question, settle);
    case "http":
      return askHttp(question.url, settle);
    case "grpc":
      // The deadline above is the one that counts; this one only bounds what the library keeps.
      return askGrpc(question.address, question.service, 2 * timeoutMs, settle);
  }
}

type TcpQuestion = Extract<ProbeSpec["ask"], { by: "tcp" }>;

function askTcp({ host, port, send, expect }: TcpQuestion, settle: (outcome: Outcome) => void): GiveUp {
  const socket = connect({ host, port });
  socket.on("connect", () => {
    if (send) socket.write(send);
    if (!expect) settle({ ok: true, because: "connected" });
  });
  socket.on("error", (error) => settle(failure(error, textOf(error))));
  if (expect) readAnswer(socket, expect, settle);
  else socket.pause(); // nothing is read that nobody looks at
  return () => socket.destroy();
}

function readAnswer(socket: Socket, expect: string, settle: (outcome: Outcome) => void): void {
  let answer = Buffer.alloc(0);
  socket.on("data", (bytes) => {
    answer = Buffer.concat([answer, bytes]);
    if (answer.includes(expect)) settle({ ok: true, because: "answered as expected" });
    else if (answer.length > answerMax) settle({ ok: false, because: `no "${expect}" in ${answerMax} bytes` });
  });
  // What the peer said may be a banner with secrets: only how much of it came is told.
  socket.on("end", () => settle({ ok: false, because: `closed after ${answer.length} bytes, without "${expect}"` }));
}

function askHttp(url: string, settle: (outcome: Outcome) => void): GiveUp {
  // A connection of its own: a kept-alive one would be answered by whoever accepted it earlier. The question is whether
  // something answers, not who: health pages mostly have a certificate that nobody signed.
  const options = { agent: false as const, headers: { "user-agent": "blueflame-probe", connection: "close" } };
  const request = url.startsWith("https:")
    ? httpsGet(url, { ...options, rejectUnauthorized: false })
    : httpGet(url, options);
  request.on("response", (response) => {
    const status = response.statusCode ?? 0;
    settle({ ok: status >= 200 && status <= 399, because: `HTTP ${status}` });
  });
  request.on("error", (error) => settle(failure(error, textOf(error))));
  return () => request.destroy();
}

function askGrpc(address: string, service: string, timeoutMs: number, settle: (outcome: Outcome) => void): GiveUp {
  const stop = new AbortController();
  const health = client(Health, address, grpc.credentials.createInsecure(), clientOptions);
  health.check({ service }, { timeoutMs, signal: stop.signal }).then(
    ({ status }) => {
      const ok = status === HealthCheckResponse_ServingStatus.SERVING;
      settle({ ok, because: HealthCheckResponse_ServingStatus[status] ?? `status ${status}` });
    },
    // What the peer says beside the code is its own.
    (error: unknown) => settle(failure(error, statusOf(error))),
  );
  return () => {
    stop.abort(over);
    health.close();
  };
}

function statusOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return (typeof code === "number" && grpc.status[code]) || codeOf(error);
}

function textOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(textOf).join("; ");
  if (!(error instanceof Error)) return String(error);
  return error.message || ("code" in error ? String(error.code) : error.name);
}
