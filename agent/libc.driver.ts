/**
 * C functions of this process's own libc, called through koffi's prebuilt addon: nothing is compiled on the user's machine.
 * Undefined where the addon is missing or does not load (other systems); whoever asks goes on without it, and says so.
 */
import { createRequire } from "node:module";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

/** A C function that returns a number; pointers are given as Buffers, out-parameters as arrays of one. */
export type Native = (...args: unknown[]) => number;

/** As much of the addon as we use. */
export interface Koffi {
  /** `null` is what this process has loaded already. The declaration is C; throws for a function that is not there. */
  load(path: string | null): { func(declaration: string): Native };
  /** Where a Buffer lies. Holds while the Buffer lives; only for those of more than 64 bytes, which do not move. */
  address(memory: Buffer): bigint;
  /** Of the last call that failed. */
  errno(): number;
}

let tried: { readonly koffi: Koffi | undefined } | undefined;

/** The one addon of this process. */
export function koffi(): Koffi | undefined {
  tried ??= { koffi: loadAddon() };
  return tried.koffi;
}

/** `ENOENT` for 2, and so on. */
export function errnoName(error: number): string {
  return Object.entries(constants.errno).find(([, number]) => number === error)?.[0] ?? `errno ${error}`;
}

/** Beside the bundle, inside the packaged binary, or in node_modules; undefined when it is nowhere or does not load. */
function loadAddon(): Koffi | undefined {
  if (process.platform !== "linux" || (process.arch !== "x64" && process.arch !== "arm64")) return undefined;
  const name = `linux_${process.arch}`;
  // The addon writes into the object that it is given, and only there.
  const found = { exports: {} };
  try {
    process.dlopen(found, fileURLToPath(new URL(`./native/koffi.linux-${process.arch}.node`, import.meta.url)));
    return found.exports as Koffi;
  } catch {
    try {
      return createRequire(import.meta.url)(`@koromix/koffi-linux-${process.arch}/${name}/koffi.node`) as Koffi;
    } catch {
      return undefined;
    }
  }
}
