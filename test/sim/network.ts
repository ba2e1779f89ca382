/**
 * The simulated network: links between nodes that lose, double, reorder, delay, clog, replay and cut messages, and
 * connections that break when a process dies or when the network resets them. A connection belongs to two processes'
 * directories: what was sent to one that lost its disk never reaches its successor. Messages are copied by value on the
 * way (they are immutable), never shared state.
 */

import type {
  FormAnswer,
  FormRequest,
  PeerFinding,
  PeerHello,
  Transport,
  TransportEvents,
} from "../../src/node/ports.ts";
import type { NodeId } from "../../src/raft/entry.ts";
import type { Message } from "../../src/raft/message.ts";
import type { Coverage } from "./coverage.ts";
import { type Delivery, Link } from "./link.ts";
import type { Prng } from "./prng.ts";
import type { Scheduler } from "./scheduler.ts";

const REDIAL_MS = 100;
const IDS_MAX = 256;

export interface Weather {
  loss: number;
  duplicate: number;
  /** Chance that a message takes much longer than others. */
  straggle: number;
  latencyMs: number;
}

export const FAIR: Weather = { loss: 0, duplicate: 0, straggle: 0, latencyMs: 1 };

export class SimNetwork {
  weather: Weather = FAIR;
  /** Every message sent, for the checkers. */
  onSend: (from: NodeId, to: NodeId, message: Message) => void = () => {};
  onDelivered: (from: NodeId, to: NodeId, message: Message) => void = () => {};
  readonly #scheduler: Scheduler;
  readonly #dice: Prng;
  readonly #coverage: Coverage;
  readonly #up = new Map<NodeId, SimTransport>();
  readonly #links = new Map<number, Link>();
  /** Whose links nobody mends. */
  readonly givenUp = new Set<NodeId>();
  /** Pairs whose hello has arrived, as long as both processes live. */
  readonly #greeted = new Set<number>();

  constructor(scheduler: Scheduler, dice: Prng, coverage: Coverage) {
    this.#scheduler = scheduler;
    this.#dice = dice;
    this.#coverage = coverage;
    this.#redial();
  }

  transport(id: NodeId, incarnation: string): SimTransport {
    return new SimTransport(id, incarnation, this);
  }

  link(from: NodeId, to: NodeId): Link {
    const key = from * IDS_MAX + to;
    let found = this.#links.get(key);
    if (found === undefined) {
      found = new Link();
      this.#links.set(key, found);
    }
    return found;
  }

  cutBothWays(a: NodeId, b: NodeId): void {
    this.link(a, b).isCut = true;
    this.link(b, a).isCut = true;
  }

  connects(a: NodeId, b: NodeId): boolean {
    return !this.link(a, b).isCut && !this.link(b, a).isCut;
  }

  clog(from: NodeId, to: NodeId): void {
    this.link(from, to).held ??= [];
  }

  unclog(from: NodeId, to: NodeId): void {
    const link = this.link(from, to);
    const held = link.held ?? [];
    link.held = null;
    for (const delivery of held) this.#later(link, delivery);
  }

  mend(from: NodeId, to: NodeId): void {
    if (this.givenUp.has(from) || this.givenUp.has(to)) return;
    const link = this.link(from, to);
    link.isCut = false;
    link.extraMs = 0;
    this.unclog(from, to);
  }

  heal(): void {
    for (const key of this.#links.keys()) this.mend(Math.floor(key / IDS_MAX), key % IDS_MAX);
    this.#greetAll();
  }

  /** Old messages of this link arrive once more, up to some seconds from now. */
  replay(from: NodeId, to: NodeId): void {
    for (const delivery of this.link(from, to).recent) {
      if (!this.#dice.chance(0.4)) continue;
      this.#coverage.add("messages replayed");
      this.#scheduler.after(this.#dice.next() * 4_000, delivery);
    }
  }

  /** Both ends hear that the connection broke, and dial anew. */
  reset(a: NodeId, b: NodeId): void {
    for (const [at, other] of [
      [a, b],
      [b, a],
    ] as const) {
      this.#greeted.delete(at * IDS_MAX + other);
      const end = this.#up.get(at);
      if (end !== undefined) this.#lose(end, other, "crashed");
    }
  }

  up(transport: SimTransport): void {
    this.#up.set(transport.id, transport);
    this.#greetAll();
  }

  /** The process is gone: the kernel closes its connections, and the others hear of it unless they are cut off. */
  down(transport: SimTransport, how: "crashed" | "goodbye"): void {
    const { id } = transport;
    if (this.#up.get(id) !== transport) return;
    this.#up.delete(id);
    for (const [other, end] of this.#up) {
      this.#greeted.delete(id * IDS_MAX + other);
      this.#greeted.delete(other * IDS_MAX + id);
      if (!this.link(id, other).isCut) this.#lose(end, id, how);
    }
    this.#refuse(id);
  }

  /**
   * Faults apply; `deliver` runs at the receiver if it is up by then. What was sent before a `barrier` never comes behind
   * it: connections keep the order, and what a node does not understand before it is admitted it must not hear after.
   */
  carry(
    from: SimTransport,
    to: NodeId,
    deliver: (end: SimTransport) => void,
    kind: "message" | "hello" | "barrier" = "message",
  ): void {
    const link = this.link(from.id, to);
    link.sent += 1;
    const number = link.sent;
    const addressee = this.#up.get(to)?.incarnation;
    if (addressee === undefined && kind !== "hello") return;
    const delivery = (): void => {
      const end = this.#up.get(to);
      const sender = this.#up.get(from.id);
      const isSame = addressee === undefined || end?.incarnation === addressee;
      const isPast = sender !== undefined && sender.incarnation !== from.incarnation;
      if (end === undefined || link.isCut || !isSame || isPast || number < link.floor) {
        return this.#coverage.add("messages lost");
      }
      if (kind === "barrier") link.floor = number;
      deliver(end);
    };
    link.remember(delivery);
    const { loss, duplicate } = this.weather;
    if (this.#dice.chance(loss)) return this.#coverage.add("messages lost");
    this.#later(link, delivery);
    if (!this.#dice.chance(duplicate)) return;
    this.#coverage.add("messages doubled");
    this.#later(link, delivery);
  }

  #later(link: Link, delivery: Delivery): void {
    if (link.held !== null) return link.hold(delivery);
    const { latencyMs, straggle } = this.weather;
    const slow = this.#dice.chance(straggle) ? 50 : 1;
    const delayMs = latencyMs * slow * (0.2 + this.#dice.next()) + link.extra(this.#dice);
    this.#scheduler.after(delayMs, delivery);
  }

  /** Behind a connection that broke there is always another hello, also where one has come before the break was noticed. */
  #lose(end: SimTransport, peer: NodeId, how: "crashed" | "goodbye"): void {
    this.#tell(end, (events) => {
      events.disconnected(peer, how);
      this.#greeted.delete(peer * IDS_MAX + end.id);
    });
  }

  #tell(end: SimTransport, say: (events: TransportEvents) => void): void {
    const { latencyMs } = this.weather;
    this.#scheduler.after(latencyMs * (0.2 + this.#dice.next()), () => {
      if (this.#up.get(end.id) === end) end.receive(say);
    });
  }

  /** While nothing listens there, the others' dials are refused. */
  #refuse(id: NodeId): void {
    this.#scheduler.after(REDIAL_MS, () => {
      if (this.#up.has(id)) return;
      for (const [other, end] of this.#up) {
        if (!this.link(other, id).isCut) end.receive((events) => events.unreachable(id, "refused"));
      }
      this.#refuse(id);
    });
  }

  /** Whoever is not connected tries again. */
  #redial(): void {
    this.#scheduler.after(5 * REDIAL_MS, () => {
      this.#greetAll();
      this.#redial();
    });
  }

  #greetAll(): void {
    for (const from of this.#up.values()) {
      for (const to of this.#up.keys()) if (from.id !== to) this.#greet(from, to);
    }
  }

  /** Dials: the hello of `from` reaches `to`. */
  #greet(from: SimTransport, to: NodeId): void {
    const key = from.id * IDS_MAX + to;
    if (this.#greeted.has(key)) return;
    this.carry(
      from,
      to,
      (end) => {
        if (this.#up.get(from.id) !== from) return;
        const hello = from.hello?.();
        if (hello === undefined) return;
        this.#greeted.add(key);
        end.receive((events) => events.hello(hello));
      },
      "hello",
    );
  }
}

export class SimTransport implements Transport {
  readonly id: NodeId;
  readonly incarnation: string;
  events: TransportEvents | null = null;
  hello: (() => PeerHello) | null = null;
  /** A paused process neither sends nor receives; what arrives waits, as in a socket's buffer. */
  held: (() => void)[] | null = null;
  readonly #network: SimNetwork;

  constructor(id: NodeId, incarnation: string, network: SimNetwork) {
    this.id = id;
    this.incarnation = incarnation;
    this.#network = network;
  }

  start(events: TransportEvents, hello: () => PeerHello): void {
    this.events = events;
    this.hello = hello;
    this.#network.up(this);
  }

  /** Everybody reaches everybody here, unless they are cut off. */
  setPeers(): void {}

  send(to: NodeId, messages: readonly Message[], clockMs: number, lowSpace = false): void {
    const about = { clockMs, lowSpace, incarnation: this.incarnation };
    for (const message of messages) {
      this.#network.onSend(this.id, to, message);
      this.#network.carry(this, to, (end) => {
        end.receive((events) => {
          this.#network.onDelivered(this.id, to, message);
          events.messages(this.id, [message], about);
        });
      });
    }
  }

  receive(say: (events: TransportEvents) => void): void {
    const { events } = this;
    if (events === null) return;
    if (this.held === null) say(events);
    else this.held.push(() => say(events));
  }

  sendForm(to: NodeId, request: FormRequest): void {
    const deliver = (end: SimTransport): void => {
      end.receive((events) => events.form(this.id, request));
    };
    this.#network.carry(this, to, deliver, "barrier");
  }

  sendFormResult(to: NodeId, answer: FormAnswer): void {
    this.#network.carry(this, to, (end) => {
      end.receive((events) => events.formResult(this.id, answer));
    });
  }

  sendFinding(to: NodeId, finding: PeerFinding): void {
    this.#network.carry(this, to, (end) => {
      end.receive((events) => events.finding(this.id, finding, this.incarnation));
    });
  }

  stop(done: () => void): void {
    this.#network.down(this, "goodbye");
    done();
  }
}
