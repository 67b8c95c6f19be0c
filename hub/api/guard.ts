/** What a request must look like before anything else reads it. */
export interface Knock {
  readonly method: string | undefined;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  readonly contentLength: string | undefined;
}

/** Why a request is refused: an HTTP status and one sentence. */
export interface Refusal {
  readonly status: 400 | 403 | 405 | 413;
  readonly because: string;
}

/** A request to read the fleet is small. */
export const bodyBytesMax = 64 * 1024;

const loopback = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** True for addresses that only this machine can reach; plain HTTP listens on no other. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/**
 * Lets in what a person or tool on this machine sends. A page of another site that resolves its own name to 127.0.0.1 (DNS
 * rebinding) still sends that name as Host; a page that posts across sites sends its Origin: both are refused. The port is
 * free, since tunnels change it.
 */
export function refusal(knock: Knock, boundHost: string): Refusal | undefined {
  if (knock.method !== "GET" && knock.method !== "POST") {
    return { status: 405, because: "Only GET and POST are answered here." };
  }
  const name = hostName(knock.host);
  if (name === undefined) return { status: 400, because: "The Host header is missing or no host." };
  if (!isOurs(name, boundHost)) {
    return {
      status: 403,
      because: "The Host header names another host. Use localhost or the address the hub listens on.",
    };
  }
  if (knock.origin !== undefined && !isOurs(originName(knock.origin), boundHost)) {
    return { status: 403, because: "Pages of other origins may not call the hub." };
  }
  if (Number(knock.contentLength ?? 0) > bodyBytesMax) {
    return { status: 413, because: `A request has at most ${bodyBytesMax} bytes.` };
  }
  return undefined;
}

function isOurs(name: string, boundHost: string): boolean {
  return loopback.has(name) || name === boundHost || name === `[${boundHost}]`;
}

function hostName(host: string | undefined): string | undefined {
  return /^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::\d{1,5})?$/i.exec(host ?? "")?.[1]?.toLowerCase();
}

function originName(origin: string): string {
  return hostName(origin.replace(/^https?:\/\//, "")) ?? "";
}
