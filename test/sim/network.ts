/**
 * The simulated network: links between nodes that lose, double, reorder, delay and cut messages, and connections that
 * break when a process dies. Messages are copied by value on the way (through the wire codec's own types they are
 * immutable), never shared state.
 */

import type {
  FormAnswer,
  FormRequest,
  PeerHello,
  Transport,
  TransportEvents,
} from "../../src/node/ports.ts";
import type { NodeId } from "../../src/raft/entry.ts";
import type { Message } from "../../src/raft/message.ts";
import type { Prng } from "./prng.ts";
import type { Scheduler } from "./scheduler.ts";

const REDIAL_MS = 100;

export interface NetworkFaults {
  loss: number;
  duplicate: number;
  /** Chance that a message takes much longer than others. */
  straggle: number;
  latencyMs: number;
}

export class SimNetwork {
  faults: NetworkFaults = { loss: 0, duplicate: 0, straggle: 0, latencyMs: 1 };
  /** "from>to" pairs that carry nothing. */
  readonly cut = new Set<string>();
  delivered = 0;
  lost = 0;
  readonly #scheduler: Scheduler;
  readonly #dice: Prng;
  readonly #up = new Map<NodeId, SimTransport>();
  /** Every message sent, for the checkers. */
  onSend: (from: NodeId, to: NodeId, message: Message) => void = () => {};

  constructor(scheduler: Scheduler, dice: Prng) {
    this.#scheduler = scheduler;
    this.#dice = dice;
  }

  transport(id: NodeId): SimTransport {
    return new SimTransport(id, this);
  }

  cutBothWays(a: NodeId, b: NodeId): void {
    this.cut.add(`${a}>${b}`).add(`${b}>${a}`);
  }

  heal(): void {
    this.cut.clear();
    for (const from of this.#up.keys()) {
      for (const to of this.#up.keys()) if (from !== to) this.connect(from, to);
    }
  }

  up(transport: SimTransport): void {
    const { id } = transport;
    for (const other of this.#up.keys()) {
      this.connect(id, other);
      this.connect(other, id);
    }
    this.#up.set(id, transport);
  }

  /** The process is gone: the kernel closes its connections, and the others hear of it unless they are cut off. */
  down(transport: SimTransport, how: "crashed" | "goodbye"): void {
    const { id } = transport;
    if (this.#up.get(id) !== transport) return;
    this.#up.delete(id);
    for (const [other, end] of this.#up) {
      if (this.cut.has(`${id}>${other}`)) continue;
      this.#later(() => {
        if (this.#up.get(other) === end) end.events?.disconnected(id, how);
      });
    }
    this.#refuse(id);
  }

  /** While nothing listens there, the others' dials are refused. */
  #refuse(id: NodeId): void {
    this.#scheduler.after(REDIAL_MS, () => {
      if (this.#up.has(id)) return;
      for (const [other, end] of this.#up) {
        if (!this.cut.has(`${other}>${id}`)) end.events?.unreachable(id, "refused");
      }
      this.#refuse(id);
    });
  }

  /** Dials: the hello of `from` reaches `to`. */
  connect(from: NodeId, to: NodeId): void {
    this.carry(from, to, (end) => {
      const hello = this.#up.get(from)?.hello?.();
      if (hello !== undefined) end.events?.hello(hello);
    });
  }

  /** Faults apply; `deliver` runs at the receiver if it is up by then. */
  carry(from: NodeId, to: NodeId, deliver: (end: SimTransport) => void): void {
    const { loss, duplicate } = this.faults;
    const copies = this.#dice.chance(loss) ? 0 : this.#dice.chance(duplicate) ? 2 : 1;
    if (copies === 0) this.lost += 1;
    for (let copy = 0; copy < copies; copy += 1) {
      this.#later(() => {
        const end = this.#up.get(to);
        if (end === undefined || this.cut.has(`${from}>${to}`)) {
          this.lost += 1;
          return;
        }
        this.delivered += 1;
        deliver(end);
      });
    }
  }

  #later(run: () => void): void {
    const { latencyMs, straggle } = this.faults;
    const slow = this.#dice.chance(straggle) ? 50 : 1;
    this.#scheduler.after(latencyMs * slow * (0.2 + this.#dice.next()), run);
  }
}

export class SimTransport implements Transport {
  readonly id: NodeId;
  events: TransportEvents | null = null;
  hello: (() => PeerHello) | null = null;
  /** A paused process neither sends nor receives; what arrives waits, as in a socket's buffer. */
  held: (() => void)[] | null = null;
  readonly #network: SimNetwork;

  constructor(id: NodeId, network: SimNetwork) {
    this.id = id;
    this.#network = network;
  }

  start(events: TransportEvents, hello: () => PeerHello): void {
    this.events = events;
    this.hello = hello;
    this.#network.up(this);
  }

  send(to: NodeId, messages: readonly Message[], clockMs: number): void {
    for (const message of messages) {
      this.#network.onSend(this.id, to, message);
      this.#network.carry(this.id, to, (end) => {
        end.receive(() => end.events?.messages(this.id, [message], clockMs));
      });
    }
  }

  receive(deliver: () => void): void {
    if (this.held === null) deliver();
    else this.held.push(deliver);
  }

  sendForm(to: NodeId, request: FormRequest): void {
    this.#network.carry(this.id, to, (end) => end.events?.form(this.id, request));
  }

  sendFormResult(to: NodeId, answer: FormAnswer): void {
    this.#network.carry(this.id, to, (end) => end.events?.formResult(this.id, answer));
  }

  stop(done: () => void): void {
    this.#network.down(this, "goodbye");
    done();
  }
}
