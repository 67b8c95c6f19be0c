/**
 * Unix datagram sockets, which Node does not have: socket, bind, sendto and recvmsg of libc, called through koffi's prebuilt
 * addon. Constants and structures are those of 64-bit Linux.
 */
import { errnoName, type Koffi, koffi, type Native } from "../libc.driver.ts";

const unix = 1;
/** SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK: no workload inherits it, and no call on it ever waits. */
const datagram = 0x2 | 0x80000 | 0x800;
const solSocket = 1;
const soPassCred = 16;
const setOwner = 8;
const setFlags = 4;
/** O_NONBLOCK | O_ASYNC: a SIGIO for each message that comes. */
const signalled = 0x800 | 0x2000;
/** struct pollfd of poll(2): the file, what is asked, what is so. */
const pollBytes = 8;
const pollIn = 1;
const scmRights = 1;
const scmCredentials = 2;
/** MSG_DONTWAIT | MSG_CMSG_CLOEXEC */
const receiveNow = 0x40 | 0x40000000;
/** MSG_DONTWAIT | MSG_NOSIGNAL */
const sendNow = 0x40 | 0x4000;

/** Where the parts of a msghdr lie in one piece of memory, which does not move. */
const layout = { header: 0, vector: 64, control: 128, bytes: 512 } as const;
/** Credentials, and as many passed files as a sane sender passes; the kernel closes what does not fit. */
const controlBytes = 32 + 16 + 4 * 32;

/** One message, and what the kernel says of who sent it. */
export interface Datagram {
  readonly pid: number;
  readonly uid: number;
  /** Valid during the call that hands it over; longer than the limit asked for, by one byte, when it was cut. */
  readonly bytes: Buffer;
  /** Files that came with it. They are the receiver's to close. */
  readonly files: readonly number[];
}

let tried: { readonly sockets: UnixDatagrams | undefined } | undefined;

/** Undefined where C functions cannot be called, or are not there. */
export function unixDatagrams(): UnixDatagrams | undefined {
  tried ??= { sockets: make() };
  return tried.sockets;
}

function make(): UnixDatagrams | undefined {
  try {
    const addon = koffi();
    return addon && new UnixDatagrams(addon);
  } catch {
    return undefined; // a libc without one of the functions
  }
}

/** The calls. Each returns 0 or a file number, or throws with the name of the error. Made by {@link unixDatagrams}. */
export class UnixDatagrams {
  readonly #addon: Koffi;
  readonly #c: Readonly<Record<"socket" | "bind" | "option" | "control" | "send" | "receive" | "poll", Native>>;

  constructor(addon: Koffi) {
    const libc = addon.load(null);
    this.#addon = addon;
    this.#c = {
      socket: libc.func("int socket(int domain, int type, int protocol)"),
      bind: libc.func("int bind(int fd, void *address, uint32_t bytes)"),
      option: libc.func("int setsockopt(int fd, int level, int name, void *value, uint32_t bytes)"),
      control: libc.func("int fcntl(int fd, int command, int value)"),
      send: libc.func("int64_t sendto(int fd, void *bytes, uint64_t length, int flags, void *address, uint32_t size)"),
      receive: libc.func("int64_t recvmsg(int fd, void *header, int flags)"),
      poll: libc.func("int poll(void *fds, uint64_t count, int timeout)"),
    };
  }

  /** A new socket; closed with `closeSync`. Throws. */
  open(): number {
    return this.#ok("socket", this.#c.socket(unix, datagram, 0));
  }

  /** Takes messages at `address`, each with its sender's credentials. Throws. */
  bind(fd: number, address: Buffer): void {
    const on = Buffer.from([1, 0, 0, 0]);
    this.#ok("setsockopt", this.#c.option(fd, solSocket, soPassCred, on, on.length));
    this.#ok("bind", this.#c.bind(fd, address, address.length));
  }

  /** From now on each message that comes makes a SIGIO, whose default is to end the process: its listener comes before. Throws. */
  signalOnMessage(fd: number): void {
    this.#ok("fcntl", this.#c.control(fd, setOwner, process.pid));
    this.#ok("fcntl", this.#c.control(fd, setFlags, signalled));
  }

  /** Sends and does not wait. False when nobody takes it now: nobody is there, or the queue is full. */
  send(fd: number, address: Buffer, bytes: Buffer): boolean {
    return this.#c.send(fd, bytes, bytes.length, sendNow, address, address.length) === bytes.length;
  }

  /** Memory for {@link receive}, for messages of up to `bytesMax` bytes. */
  room(bytesMax: number): Room {
    return new Room(bytesMax + 1, (memory) => this.#addon.address(memory));
  }

  /** The next message; undefined when there is none now. */
  receive(fd: number, room: Room): Datagram | undefined {
    const length = this.#c.receive(fd, room.ready(), receiveNow);
    return length < 0 ? undefined : room.read(length);
  }

  /** Those of `fds` that have something to receive. One call for all, and it does not wait. */
  readable(fds: readonly number[]): number[] {
    const asked = Buffer.alloc(pollBytes * fds.length);
    for (const [n, fd] of fds.entries()) {
      asked.writeInt32LE(fd, n * pollBytes);
      asked.writeInt16LE(pollIn, n * pollBytes + 4);
    }
    if (this.#c.poll(asked, fds.length, 0) <= 0) return [];
    return fds.filter((_, n) => asked.readInt16LE(n * pollBytes + 6) !== 0);
  }

  #ok(what: string, result: number): number {
    if (result < 0) throw new Error(`${what}: ${errnoName(this.#addon.errno())}`);
    return result;
  }
}

/** A msghdr with all it points to, used again for each message. */
class Room {
  readonly #memory: Buffer;
  readonly #bytesMax: number;

  constructor(bytesMax: number, addressOf: (memory: Buffer) => bigint) {
    this.#bytesMax = bytesMax;
    this.#memory = Buffer.alloc(layout.bytes + bytesMax);
    const at = addressOf(this.#memory);
    const { header, vector, control, bytes } = layout;
    this.#memory.writeBigUInt64LE(at + BigInt(bytes), vector);
    this.#memory.writeBigUInt64LE(BigInt(bytesMax), vector + 8);
    this.#memory.writeBigUInt64LE(at + BigInt(vector), header + 16);
    this.#memory.writeBigUInt64LE(1n, header + 24);
    this.#memory.writeBigUInt64LE(at + BigInt(control), header + 32);
  }

  /** The kernel writes over what it was given; set anew before each call. */
  ready(): Buffer {
    this.#memory.writeBigUInt64LE(BigInt(controlBytes), layout.header + 40);
    return this.#memory;
  }

  read(length: number): Datagram {
    const memory = this.#memory;
    let [pid, uid] = [0, -1];
    const files: number[] = [];
    // Control messages: length, level, kind, and data, each aligned to 8 bytes.
    const end = layout.control + Number(memory.readBigUInt64LE(layout.header + 40));
    for (let at: number = layout.control; at + 16 <= end; ) {
      const size = Number(memory.readBigUInt64LE(at));
      const [level, kind] = [memory.readInt32LE(at + 8), memory.readInt32LE(at + 12)];
      if (size < 16) break;
      if (level === solSocket && kind === scmCredentials)
        [pid, uid] = [memory.readInt32LE(at + 16), memory.readInt32LE(at + 20)];
      if (level === solSocket && kind === scmRights)
        for (let file = at + 16; file + 4 <= Math.min(at + size, end); file += 4) files.push(memory.readInt32LE(file));
      at += Math.ceil(size / 8) * 8;
    }
    return { pid, uid, files, bytes: memory.subarray(layout.bytes, layout.bytes + Math.min(length, this.#bytesMax)) };
  }
}
