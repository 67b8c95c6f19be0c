import { availableParallelism, cpus, hostname, release, totalmem, type } from "node:os";

/** What the machine is. */
export interface InventoryOf {
  readonly hostName: string;
  readonly os: string;
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
}

let known: Promise<InventoryOf> | undefined;

/** What this machine is, asked once per process and within 5 s. Never rejects. */
export function inventory(): Promise<InventoryOf> {
  known ??= readInventory(5000);
  return known;
}

/**
 * As {@link inventory}, asked now. The library that knows the names starts some processes, so it is given `waitMs`; what it
 * has not said by then stays in the plain words of the built-in module. Never rejects.
 */
export async function readInventory(waitMs: number, ask = named): Promise<InventoryOf> {
  const plain = plainInventory();
  const late = Promise.withResolvers<InventoryOf>();
  const timer = setTimeout(() => late.resolve(plain), waitMs);
  try {
    return await Promise.race([ask(plain), late.promise]);
  } catch {
    return plain; // Names are for people; the machine works without them.
  } finally {
    clearTimeout(timer);
  }
}

function plainInventory(): InventoryOf {
  return {
    hostName: hostname(),
    os: type(),
    kernel: release(),
    cpu: cpus()[0]?.model.trim() ?? "",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
  };
}

async function named(plain: InventoryOf): Promise<InventoryOf> {
  const { default: system } = await import("systeminformation");
  const [os, cpu] = await Promise.all([system.osInfo(), system.cpu()]);
  const words = (...parts: string[]) => parts.filter(Boolean).join(" ");
  return {
    ...plain,
    os: words(os.distro, os.release) || plain.os,
    cpu: words(cpu.manufacturer, cpu.brand) || plain.cpu,
  };
}
