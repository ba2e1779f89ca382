/**
 * A node inside an app (DESIGN D12): it runs on a thread of its own, so that what keeps the app busy never costs a
 * heartbeat, and gives the app a client of the cluster and a synchronous view of its own file. It takes no signals and
 * never ends the process.
 */

import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { type CallOptions, connect, type Database } from "../client/index.ts";
import { readExtensions } from "../machine/extension-files.ts";
import { formatAddress, parseAddress } from "../rpc/addresses.ts";
import { BalsaError, toError } from "../sql/errors.ts";
import type { Extension } from "../sql/extension.ts";
import { checkEmbeddedOptions, type EmbeddedNodeOptions } from "./embedded-options.ts";
import { LocalDatabase } from "./local-database.ts";
import { LocalFile } from "./local-file.ts";
import { type Addresses, checkAddresses } from "./serve-node.ts";
import { type FromThread, STOP, type ThreadData } from "./thread-messages.ts";

/** Beside this file: TypeScript when run from the sources, JavaScript when built. */
const IS_SOURCE = import.meta.url.endsWith(".ts");
const THREAD = new URL(IS_SOURCE ? "./node-thread.ts" : "./node-thread.js", import.meta.url);
/** A thread that does not end by then is terminated: its SQLite processes end with it. */
const CLOSE_MS_MAX = 12_000;

/**
 * Opens a node in this process. Resolves once it listens and its files are open; the cluster may not be there yet:
 * `await node.db.ready()`.
 *
 * @throws BalsaError INVALID_ARGUMENT that names a bad or misspelt option; REFUSED beyond the loopback without `insecure`;
 *   UNAVAILABLE if the port or the directory cannot be had.
 */
export async function openNode(options: EmbeddedNodeOptions): Promise<EmbeddedNode> {
  checkEmbeddedOptions(options);
  const { listen, advertise, insecure = false, logLevel = "warn", ...rest } = options;
  const addresses = checkAddresses(listen, advertise, insecure);
  const peers = peersOf(options.peers);
  const extensions = readExtensions(options.extensions ?? []);
  const data: ThreadData = { options: { ...rest, peers, extensions }, addresses, logLevel };
  const thread = new Worker(THREAD, {
    workerData: data,
    name: `balsa node ${options.id}`,
    // The app's own flags are not for it: some forbid a thread of a file.
    ...(IS_SOURCE ? {} : { execArgv: [] }),
  });
  const port = await opened(thread);
  return new EmbeddedNode({ thread, options, addresses, port, peers, extensions });
}

/** Resolves to the port. @throws what the thread failed with. */
function opened(thread: Worker): Promise<number> {
  return new Promise((resolve, reject) => {
    thread.once("message", (message: FromThread) => {
      if (message.kind === "open") resolve(message.port);
      else if (message.kind === "failed") reject(toError(message.failure));
    });
    thread.once("error", reject);
    thread.once("exit", () => reject(new BalsaError("INTERNAL", "the node's thread ended")));
  });
}

interface Opened {
  readonly thread: Worker;
  readonly options: EmbeddedNodeOptions;
  readonly addresses: Addresses;
  readonly port: number;
  readonly peers: ReadonlyMap<number, string>;
  readonly extensions: readonly Extension[];
}

/** A node that runs in this process; see `openNode`. */
export class EmbeddedNode {
  readonly id: number;
  /** HOST:PORT at which this process reaches the node. */
  readonly address: string;
  /** A client of the cluster, this node first. Closed with the node. */
  readonly db: Database;
  /**
   * This node's file, read here and now: stale by what the node has not applied yet. After `await barrier()` it has all
   * that was acknowledged before.
   */
  readonly local: LocalDatabase;
  /**
   * Resolves if the node stops by itself, with the reason: a failed disk, a broken invariant. It then serves no more, here
   * or to others; the app should close it, and may go on as a client.
   */
  readonly halted: Promise<Error>;
  readonly #thread: Worker;
  readonly #file: LocalFile;
  /** Asks this node alone. */
  readonly #own: Database;
  readonly #ended: Promise<void>;
  #closing: Promise<void> | null = null;

  /** Made by `openNode`. */
  constructor({ thread, options, addresses, port, peers, extensions }: Opened) {
    this.id = options.id;
    this.#thread = thread;
    const { host } = addresses.listen;
    const isWildcard = host === "0.0.0.0" || host === "::";
    this.address = formatAddress({ host: isWildcard ? "localhost" : host, port });
    const others = [...peers].filter(([id]) => id !== this.id).map(([, address]) => address);
    this.db = connect({ endpoints: [this.address, ...others] });
    this.#own = connect({ endpoints: [this.address], discover: false });
    this.#file = new LocalFile(join(options.dir, "main.db"), extensions);
    this.local = new LocalDatabase(this.#file);
    this.#ended = new Promise((resolve) => thread.once("exit", () => resolve()));
    this.halted = new Promise((resolve) => {
      thread.on("message", (message: FromThread) => {
        if (message.kind === "halted") resolve(new Error(message.message));
      });
      thread.on("error", (error) => resolve(error));
    });
  }

  /**
   * Waits until `local` sees everything that any client of the cluster was told of before this call (a linearizable read
   * of this node), at the cost of a round to a majority. Fails as a read does, at `deadlineMs` at the latest.
   */
  async barrier(options: Pick<CallOptions, "deadlineMs" | "signal"> = {}): Promise<void> {
    await this.#own
      .prepare("SELECT 1")
      .with({ ...options, consistency: "linearizable" })
      .get();
    this.#file.look();
  }

  /**
   * Ends in order, as `balsa serve` does at SIGTERM: leadership is handed over, peers are told goodbye, all that this
   * process had open of the node is closed. Can be called more than once.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    await Promise.all([this.db.close(), this.#own.close()]);
    this.#file.close();
    this.#thread.postMessage(STOP);
    const timer = setTimeout(() => void this.#thread.terminate(), CLOSE_MS_MAX);
    await this.#ended;
    clearTimeout(timer);
  }
}

function peersOf(given: EmbeddedNodeOptions["peers"]): ReadonlyMap<number, string> {
  if (given === undefined) return new Map();
  const entries =
    given instanceof Map ? [...given] : Object.entries(given as { [id: string]: string });
  return new Map(
    entries.map(([id, address]: [number | string, string]) => {
      return [Number(id), formatAddress(parseAddress(address))];
    }),
  );
}
