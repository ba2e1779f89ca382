/**
 * The network between processes: a TCP proxy for every directed link, which can be cut, slowed down or reset. It
 * understands nothing of what it carries and loses nothing of a connection: what a cut holds back arrives late when the
 * link is healed, as retransmitted packets do, unless the connection is reset.
 */

import { once } from "node:events";
import { createServer, type Server, Socket } from "node:net";

/** What `from` sends to `to`, and the answers on the same connections. */
export class LinkProxy {
  readonly #server: Server;
  /** Where dialers connect instead of the target. */
  readonly port: number;
  readonly #connections = new Set<Connection>();
  #target = 0;
  #isCut = false;
  /** Milliseconds that every byte takes. May be set at any time; what is on its way keeps its order. */
  delayMs = 0;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
    server.on("connection", (near) => {
      const connection = new Connection(near, this, () => this.#connections.delete(connection));
      this.#connections.add(connection);
      connection.update();
    });
  }

  static async listen(): Promise<LinkProxy> {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    return new LinkProxy(server, typeof address === "object" ? (address?.port ?? 0) : 0);
  }

  /** Where connections go; set before the first one comes. */
  get target(): number {
    return this.#target;
  }

  set target(port: number) {
    this.#target = port;
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  /** Nothing passes either way and nobody is told. New connections are accepted and stay silent. */
  cut(): void {
    this.#isCut = true;
    for (const connection of this.#connections) connection.update();
  }

  /** What was held back passes now. */
  heal(): void {
    this.#isCut = false;
    for (const connection of this.#connections) connection.update();
  }

  /** Breaks all connections; both ends see a reset, also during a cut. */
  reset(): void {
    for (const connection of this.#connections) connection.destroy();
    this.#connections.clear();
  }

  /** Refuses new connections, as the kernel does for a process that is gone. Those that exist are left alone. */
  refuse(): void {
    this.#server.close();
  }

  /** The opposite of `refuse`. */
  async accept(): Promise<void> {
    if (this.#server.listening) return;
    this.#server.listen(this.port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  async close(): Promise<void> {
    this.reset();
    if (!this.#server.listening) return;
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

class Connection {
  readonly #near: Socket;
  readonly #link: LinkProxy;
  readonly #gone: () => void;
  /** null until the link was whole for the first time. */
  #far: Socket | null = null;
  /** What came due during a cut. */
  #held: (() => void)[] = [];

  constructor(near: Socket, link: LinkProxy, gone: () => void) {
    this.#near = near;
    this.#link = link;
    this.#gone = gone;
    near.on("error", () => {});
  }

  update(): void {
    const sockets = [this.#near, this.#far];
    if (this.#link.isCut) {
      for (const socket of sockets) socket?.pause();
      return;
    }
    if (this.#far === null) this.#join();
    for (const deliver of this.#held.splice(0)) deliver();
    for (const socket of sockets) socket?.resume();
  }

  destroy(): void {
    this.#held = [];
    reset(this.#near);
    if (this.#far !== null) reset(this.#far);
  }

  #join(): void {
    const far = new Socket({ allowHalfOpen: true });
    this.#far = far;
    far.setNoDelay(true);
    far.on("error", () => {});
    this.#carry(this.#near, far);
    this.#carry(far, this.#near);
    far.connect(this.#link.target, "127.0.0.1");
  }

  /** Bytes, ends and resets, in order. A process that was killed breaks its side, and the other must hear of it. */
  #carry(source: Socket, sink: Socket): void {
    const late: { readonly dueAt: number; readonly deliver: () => void }[] = [];
    const deliverDue = () => {
      for (let next = late[0]; next !== undefined; next = late[0]) {
        const waitMs = next.dueAt - performance.now();
        if (waitMs > 0) return void setTimeout(deliverDue, waitMs);
        late.shift();
        this.#deliver(next.deliver);
      }
    };
    const later = (deliver: () => void) => {
      const { delayMs } = this.#link;
      if (delayMs === 0 && late.length === 0) return this.#deliver(deliver);
      const dueAt = Math.max(late.at(-1)?.dueAt ?? 0, performance.now() + delayMs);
      // Whoever is first sets the timer; it serves those behind too.
      if (late.push({ dueAt, deliver }) === 1) setTimeout(deliverDue, delayMs);
    };
    source.on("data", (bytes) => later(() => void (sink.destroyed || sink.write(bytes))));
    source.on("end", () => later(() => void sink.end()));
    source.on("close", (failed) => {
      later(() => (failed ? reset(sink) : void sink.end()));
      if (sink.destroyed) this.#gone();
    });
  }

  #deliver(deliver: () => void): void {
    if (this.#link.isCut || this.#held.length > 0) this.#held.push(deliver);
    else deliver();
  }
}

function reset(socket: Socket): void {
  if (socket.destroyed) return;
  // A socket that is still connecting cannot be reset.
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}

/** Stands for all clients where the id of a node is asked for: they too reach the nodes through links. */
export const CLIENTS = 0;

/** Every directed link between some nodes, and from the clients to each. */
export class Network {
  readonly #links: ReadonlyMap<string, LinkProxy>;
  readonly #ids: readonly number[];

  private constructor(ids: readonly number[], links: ReadonlyMap<string, LinkProxy>) {
    this.#ids = ids;
    this.#links = links;
  }

  /** For nodes 1 to `count`. */
  static async open(count: number): Promise<Network> {
    const ids = Array.from({ length: count }, (_, at) => at + 1);
    const links = new Map<string, LinkProxy>();
    for (const from of [CLIENTS, ...ids]) {
      for (const to of ids) {
        if (from !== to) links.set(`${from} ${to}`, await LinkProxy.listen());
      }
    }
    return new Network(ids, links);
  }

  link(from: number, to: number): LinkProxy {
    const link = this.#links.get(`${from} ${to}`);
    if (link === undefined) throw new RangeError(`no link from ${from} to ${to}`);
    return link;
  }

  /** Where `from` is told that `to` is; `endpoint` is where it is in truth. */
  route(from: number, to: number, endpoint: string): string {
    const link = this.link(from, to);
    link.target = Number(endpoint.split(":").at(-1));
    return `127.0.0.1:${link.port}`;
  }

  /** Cuts every link between the two sides, both ways. */
  partition(side: readonly number[], other: readonly number[]): void {
    for (const a of side) {
      for (const b of other) {
        this.link(a, b).cut();
        this.link(b, a).cut();
      }
    }
  }

  /** Nobody hears of `id`, and it hears of nobody. */
  isolate(id: number): void {
    this.partition(
      [id],
      this.#ids.filter((other) => other !== id),
    );
  }

  /** `id` hears the others, and they do not hear it; or the other way round. */
  cutOneWay(id: number, way: "from" | "to"): void {
    for (const other of this.#ids.filter((each) => each !== id)) {
      (way === "from" ? this.link(id, other) : this.link(other, id)).cut();
    }
  }

  /** Between nodes; clients are not slowed down. */
  delayAll(delayMs: number): void {
    for (const from of this.#ids) this.delayFrom(from, delayMs);
  }

  delayFrom(from: number, delayMs: number): void {
    for (const to of this.#ids) if (to !== from) this.link(from, to).delayMs = delayMs;
  }

  /** Breaks every connection between nodes. */
  resetAll(): void {
    for (const from of this.#ids) this.resetFrom(from);
  }

  resetFrom(from: number): void {
    for (const to of this.#ids) if (to !== from) this.link(from, to).reset();
  }

  /** Ends all cuts and delays. */
  heal(): void {
    for (const link of this.#links.values()) {
      link.delayMs = 0;
      link.heal();
    }
  }

  /** New connections to `id` are refused from now on: its process is gone. */
  gone(id: number): void {
    for (const from of [CLIENTS, ...this.#ids]) if (from !== id) this.link(from, id).refuse();
  }

  async back(id: number): Promise<void> {
    for (const from of [CLIENTS, ...this.#ids]) if (from !== id) await this.link(from, id).accept();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#links.values()].map((link) => link.close()));
  }
}
