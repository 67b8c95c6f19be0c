import type { Socket } from "node:net";
import { encode, Lines, type Message } from "./wire.ts";

/** A peer that reads nothing is not written to for ever. */
const unreadBytesMax = 64 * 1024;

/** One connection between two that guard each other, as messages. Whoever got it ends it. */
export class Line {
  readonly #socket: Socket;
  #heard: (message: Message) => void = () => undefined;
  #ended: () => void = () => undefined;
  #over = false;
  /** What came before anybody listened. */
  #early: Message[] = [];
  #listening = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    const lines = new Lines();
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      try {
        for (const message of lines.push(chunk)) this.#take(message);
      } catch {
        this.end();
      }
    });
    socket.on("error", () => undefined); // "close" follows
    socket.on("close", () => {
      this.#over = true;
      this.#ended();
    });
  }

  #take(message: Message): void {
    if (this.#listening) this.#heard(message);
    else if (this.#early.length < 16) this.#early.push(message);
  }

  /** Replaces who listens. `ended` is called once, also when it has ended already. */
  listen(heard: (message: Message) => void, ended: () => void): void {
    this.#heard = heard;
    this.#ended = ended;
    this.#listening = true;
    for (const message of this.#early.splice(0)) heard(message);
    if (this.#over) setImmediate(ended);
  }

  send(message: Message): void {
    if (this.#over) return;
    if (this.#socket.writableLength > unreadBytesMax) this.#socket.destroy();
    else this.#socket.write(encode(message));
  }

  /** After what was sent is on its way. */
  end(): void {
    this.#socket.end();
    this.#socket.destroySoon();
  }
}
