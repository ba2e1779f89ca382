/**
 * Who the other nodes are: what each said of itself in its last hello, where it can be reached, and whether what comes
 * from it may be heard at all. Tells the transport whom to keep a connection to. Knows nothing of Raft's rules.
 */

import type { Configuration, LogIndex, NodeId } from "../raft/entry.ts";
import { memberIds } from "../raft/quorum.ts";
import type { FormAnswer, Identity, PeerHello, Phase } from "./ports.ts";

/** What a peer said of itself, as long as it is connected. */
export interface PeerView {
  readonly phase: Phase;
  readonly clusterId: string;
  readonly incarnation: string;
  readonly address: string;
}

export interface PeerBookOptions {
  readonly id: NodeId;
  readonly advertise: string;
  /** HOST:PORT by id, as this node was started with. */
  readonly peers: ReadonlyMap<NodeId, string>;
}

export class PeerBook {
  readonly #options: PeerBookOptions;
  readonly #setPeers: (peers: ReadonlyMap<NodeId, string>) => void;
  readonly #views = new Map<NodeId, PeerView>();
  /** As each said last; kept when it is gone: a disk is replaced while its node is away. */
  readonly #incarnations = new Map<NodeId, string>();
  /** By incarnation: the entry from which on it votes. */
  readonly #admittedAt = new Map<string, LogIndex>();
  /** The highest of these that any directory of an id named. */
  readonly #latest = new Map<NodeId, LogIndex>();
  /** Where each said that clients reach it; kept when it is gone. */
  readonly #addresses = new Map<NodeId, string>();
  /** What each said that it runs; kept when it is gone. */
  readonly #machineVersions = new Map<NodeId, string>();
  /** Nodes that an operator wants to add: they are called before they are members. */
  readonly #invited = new Map<NodeId, string>();
  #configuration: Configuration | null = null;
  #dialed = "";

  /** `setPeers`: whom the transport is to keep a connection to, and where; told when that changes. */
  constructor(options: PeerBookOptions, setPeers: (peers: ReadonlyMap<NodeId, string>) => void) {
    this.#options = options;
    this.#setPeers = setPeers;
    this.#addresses.set(options.id, options.advertise);
  }

  /** True if another incarnation answers there than before. */
  hello(peer: PeerHello): boolean {
    const { phase, clusterId, incarnation, address } = peer;
    const before = this.#incarnations.get(peer.id);
    this.#incarnations.set(peer.id, incarnation);
    if (clusterId === "" || phase === "formed") this.#learn(peer.id, incarnation, peer.votesFrom);
    this.#views.set(peer.id, { phase, clusterId, incarnation, address });
    this.#addresses.set(peer.id, address);
    this.#machineVersions.set(peer.id, peer.machineVersion);
    this.#dial();
    return before !== undefined && before !== incarnation;
  }

  /** Its phase may have changed since its hello. */
  formResult(peer: NodeId, { phase, clusterId, votesFrom }: FormAnswer): void {
    const view = this.#views.get(peer);
    if (view === undefined) return;
    this.#views.set(peer, { ...view, phase, clusterId });
    this.#learn(peer, view.incarnation, votesFrom);
  }

  /** Its core runs: only then does it send messages. */
  takesPart(peer: NodeId, incarnation: string, clusterId: string): void {
    const view = this.#views.get(peer);
    if (view === undefined || view.phase === "formed" || view.incarnation !== incarnation) return;
    this.#views.set(peer, { ...view, phase: "formed", clusterId });
  }

  gone(peer: NodeId): void {
    this.#views.delete(peer);
    this.#dial();
  }

  /** null while it is not connected, or if only a directory that was replaced answers there. */
  view(peer: NodeId): PeerView | null {
    const view = this.#views.get(peer);
    if (view === undefined || (view.phase === "formed" && this.#isReplaced(peer, view)))
      return null;
    return view;
  }

  /**
   * Whether messages of this sender mean anything here: not those of another cluster, nor those of a directory that was
   * replaced under its id (trap A12).
   */
  admits(peer: NodeId, incarnation: string, { clusterId }: Identity): boolean {
    const said = this.#views.get(peer)?.clusterId ?? "";
    if (said !== "" && said !== clusterId) return false;
    return !this.#isReplaced(peer, { incarnation });
  }

  /**
   * Of two directories of one id the later one was admitted later. What the configuration names may be out of date here, but
   * then what replaced it was admitted behind that configuration.
   */
  #isReplaced(peer: NodeId, { incarnation }: { readonly incarnation: string }): boolean {
    const votesFrom = this.#admittedAt.get(incarnation) ?? 0;
    if (votesFrom < (this.#latest.get(peer) ?? 0)) return true;
    const expected = this.#configuration?.records.find(({ id }) => id === peer)?.incarnation ?? "";
    if (expected === "" || expected === incarnation) return false;
    return votesFrom <= (this.#configuration?.index ?? 0);
  }

  #learn(peer: NodeId, incarnation: string, votesFrom: LogIndex): void {
    this.#admittedAt.set(incarnation, votesFrom);
    this.#latest.set(peer, Math.max(votesFrom, this.#latest.get(peer) ?? 0));
  }

  /** The machine version that it named last; empty: none. */
  versionOf(id: NodeId): string {
    return this.#machineVersions.get(id) ?? "";
  }

  /** Where clients reach it; empty if that is not known. */
  addressOf(id: NodeId): string {
    const record = this.#configuration?.records.find((one) => one.id === id);
    return this.#addresses.get(id) ?? record?.address ?? this.#options.peers.get(id) ?? "";
  }

  /** Where this node reaches it: what the operator said here counts most, as there may be a proxy between. */
  routeTo(id: NodeId): string {
    const record = this.#configuration?.records.find((one) => one.id === id);
    const { peers: given } = this.#options;
    const route = given.get(id) ?? this.#invited.get(id) ?? record?.address;
    return route ?? this.#addresses.get(id) ?? "";
  }

  /** The members, once the node takes part; those it was given, before. */
  follow(configuration: Configuration): void {
    this.#configuration = configuration;
    this.#dial();
  }

  invite(id: NodeId, address: string): void {
    this.#invited.set(id, address);
    this.#dial();
  }

  uninvite(id: NodeId): void {
    if (this.#invited.delete(id)) this.#dial();
  }

  #dial(): void {
    const configuration = this.#configuration;
    const ids = new Set(
      configuration === null ? this.#options.peers.keys() : memberIds(configuration),
    );
    for (const id of this.#invited.keys()) ids.add(id);
    // It may have a vote that this node does not know of yet, or not know that it has none any more.
    for (const [id, view] of this.#views) if (view.phase === "formed") ids.add(id);
    ids.delete(this.#options.id);
    const routes = [...ids].map((id) => [id, this.routeTo(id)] as const);
    const peers = new Map(routes.filter(([, address]) => address !== ""));
    const told = JSON.stringify([...peers]);
    if (told === this.#dialed) return;
    this.#dialed = told;
    this.#setPeers(peers);
  }
}
