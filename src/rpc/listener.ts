/**
 * The one port of a node. Looks at the first bytes of a connection: HTTP/2 goes to gRPC, our magic to the peers,
 * anything else gets a line that says what listens here. Speaks neither protocol itself.
 */

import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "../node/ports.ts";
import { BalsaError } from "../sql/errors.ts";
import { PEER_MAGIC } from "../wire/peer-codec.ts";
import { SNAPSHOT_MAGIC } from "../wire/snapshot-codec.ts";
import { type Address, formatAddress } from "./addresses.ts";

const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** Begins a request of HTTP/1. */
const HTTP1_START = /^[A-Z]{3,7} /;
const GREETING = "This is a Balsa node: it speaks gRPC (HTTP/2) and the protocol of its peers.\n";
/** Connections that have not said enough yet; more are turned away. */
const UNDECIDED_MAX = 1024;
const TURNED_AWAY_GRACE_MS = 1000;

export interface ListenerOptions {
  readonly listen: Address;
  readonly logger: Logger;
  /** Silence allowed before the first bytes are complete. Default 10,000. */
  readonly silenceMs?: number;
}

/** Where connections go. The socket is paused, and what was looked at is unread again (the magic excepted). */
export interface Doors {
  http2(socket: Socket): void;
  peer(socket: Socket): void;
  /** A node that fetches a snapshot; absent: it is cut off. */
  snapshot?(socket: Socket): void;
}

export class Listener {
  readonly #server: Server;
  readonly #options: ListenerOptions;
  readonly #sockets = new Set<Socket>();
  #undecided = 0;
  #doors: Doors | null = null;
  /** Bound: the port is the real one, also if 0 was asked for. */
  readonly address: Address;

  private constructor(server: Server, options: ListenerOptions) {
    this.#server = server;
    this.#options = options;
    const bound = server.address();
    const port = bound !== null && typeof bound === "object" ? bound.port : options.listen.port;
    this.address = { host: options.listen.host, port };
    server.on("connection", (socket) => this.#meet(socket));
    server.on("error", (error) => {
      options.logger.error({ error: error.message }, "the listening socket failed");
    });
  }

  /**
   * Binds the port. Connections that come before `open` are closed.
   * @throws BalsaError UNAVAILABLE if it is in use, REFUSED if it is not permitted, INVALID_ARGUMENT if the
   * host is not this machine's; facts name the address and the system's code.
   */
  static bind(options: ListenerOptions): Promise<Listener> {
    const { host, port } = options.listen;
    const server = createServer({ noDelay: true });
    return new Promise((resolve, reject) => {
      server.once("error", (error) => reject(listenError(error, options.listen)));
      server.listen({ host, port, backlog: 511 }, () => {
        server.removeAllListeners("error");
        resolve(new Listener(server, options));
      });
    });
  }

  get connections(): number {
    return this.#sockets.size;
  }

  open(doors: Doors): void {
    this.#doors = doors;
  }

  /** Takes no new connection; those that are open stay. */
  stopAccepting(): void {
    this.#doors = null;
    this.#server.close();
  }

  /** Cuts off whatever is still open. Resolves when the port is free again. */
  close(): Promise<void> {
    this.#doors = null;
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => {
      // An error means that it was closed before.
      this.#server.close(() => resolve());
    });
  }

  #meet(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    // Its owner adds a listener of its own; until then a reset must not be an uncaught error.
    socket.on("error", () => {});
    if (this.#doors === null || this.#undecided >= UNDECIDED_MAX) {
      socket.destroy();
      return;
    }
    this.#undecided += 1;
    let seen: Buffer = Buffer.alloc(0);
    const decided = () => {
      this.#undecided -= 1;
      clearTimeout(timer);
      socket.off("data", look);
      socket.off("close", decided);
    };
    const look = (chunk: Buffer) => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
      const found = judge(seen);
      if (found === "more") return;
      decided();
      this.#pass(socket, found, seen);
    };
    const timer = setTimeout(() => {
      decided();
      this.#options.logger.debug({ remote: socket.remoteAddress ?? "" }, "a silent connection");
      socket.destroy();
    }, this.#options.silenceMs ?? 10_000);
    socket.on("data", look);
    socket.once("close", decided);
  }

  #pass(socket: Socket, found: Exclude<Protocol, "more">, seen: Buffer): void {
    const doors = this.#doors;
    if (doors === null) {
      socket.destroy();
      return;
    }
    socket.pause();
    switch (found) {
      case "http2":
        socket.unshift(seen);
        doors.http2(socket);
        return;
      case "peer":
        if (seen.length > PEER_MAGIC.length) socket.unshift(seen.subarray(PEER_MAGIC.length));
        doors.peer(socket);
        return;
      case "snapshot":
        if (seen.length > SNAPSHOT_MAGIC.length) {
          socket.unshift(seen.subarray(SNAPSHOT_MAGIC.length));
        }
        if (doors.snapshot === undefined) socket.destroy();
        else doors.snapshot(socket);
        return;
      case "http1":
        turnAway(socket, http1Answer());
        return;
      case "other":
        turnAway(socket, GREETING);
        return;
    }
  }
}

type Protocol = "more" | "http2" | "peer" | "snapshot" | "http1" | "other";

/** Decides as soon as the bytes allow it. */
function judge(seen: Buffer): Protocol {
  if (agrees(seen, HTTP2_PREFACE)) return seen.length >= HTTP2_PREFACE.length ? "http2" : "more";
  if (agrees(seen, PEER_MAGIC)) return seen.length >= PEER_MAGIC.length ? "peer" : "more";
  if (agrees(seen, SNAPSHOT_MAGIC)) {
    return seen.length >= SNAPSHOT_MAGIC.length ? "snapshot" : "more";
  }
  return HTTP1_START.test(seen.subarray(0, 8).toString("latin1")) ? "http1" : "other";
}

/** As far as both go. */
function agrees(seen: Buffer, expected: Buffer): boolean {
  const length = Math.min(seen.length, expected.length);
  return seen.compare(expected, 0, length, 0, length) === 0;
}

function http1Answer(): string {
  const length = Buffer.byteLength(GREETING);
  const headers = `Content-Type: text/plain\r\nContent-Length: ${length}\r\nConnection: close`;
  return `HTTP/1.1 400 Bad Request\r\n${headers}\r\n\r\n${GREETING}`;
}

/** What is still coming is read and thrown away: closing on unread bytes would take the answer with it. */
function turnAway(socket: Socket, answer: string): void {
  const timer = setTimeout(() => socket.destroy(), TURNED_AWAY_GRACE_MS);
  socket.once("close", () => clearTimeout(timer));
  socket.on("data", () => {});
  socket.resume();
  socket.end(answer);
}

function listenError(error: Error, listen: Address): BalsaError {
  const system = (error as NodeJS.ErrnoException).code ?? "";
  const address = formatAddress(listen);
  const options = { facts: { address, system }, cause: error };
  switch (system) {
    case "EADDRINUSE": {
      const message = `${address} is in use by another process: stop it, or listen on another port`;
      return new BalsaError("UNAVAILABLE", message, options);
    }
    case "EACCES": {
      const message = `no permission to listen on ${address}: ports below 1024 need a privilege`;
      return new BalsaError("REFUSED", message, options);
    }
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN": {
      const message = `cannot listen on ${address}: ${listen.host} is no address of this machine`;
      return new BalsaError("INVALID_ARGUMENT", message, options);
    }
    default:
      return new BalsaError(
        "UNAVAILABLE",
        `cannot listen on ${address}: ${error.message}`,
        options,
      );
  }
}
