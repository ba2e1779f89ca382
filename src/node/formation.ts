/**
 * Forms a cluster once (DESIGN D7, docs/decisions/0004-formation.md). The lowest id proposes a cluster id when every
 * listed peer says that it is blank; a peer stores it as `forming` and answers; when all have answered, the proposer
 * becomes `formed` and tells the others. Nobody votes before it is formed, so a blank node that meets a formed one
 * is new, or has lost its disk: it waits until that cluster admits it (docs/decisions/0008-membership.md). Knows nothing
 * of Raft.
 */

import type { NodeId } from "../raft/entry.ts";
import type {
  Admittance,
  Environment,
  FormAnswer,
  FormRequest,
  Identity,
  Logger,
  PeerHello,
  Phase,
  Timer,
  Transport,
} from "./ports.ts";

export interface FormationParts {
  readonly environment: Environment;
  readonly logger: Logger;
  /** Empty for a node that waits to be added and forms nothing. */
  readonly members: readonly NodeId[];
  identity(): Identity;
  store(identity: Identity, done: () => void): void;
  readonly transport: Pick<Transport, "sendForm" | "sendFormResult">;
  /** This node is formed: the core may start. Called once. */
  formed(): void;
  /** Why this node cannot take part; empty when that has passed. */
  trouble(text: string): void;
}

/** What a peer said last. */
interface PeerView {
  readonly phase: Phase;
  readonly clusterId: string;
  /** On who the members are, and on what the database begins with. */
  readonly agrees: boolean;
}

const REPEAT_MS = 200;

export class Formation {
  readonly #parts: FormationParts;
  readonly #peers = new Map<NodeId, PeerView>();
  #storing = false;
  #timer: Timer | null = null;
  #announced = false;
  #hasLeader = false;
  #hasMetStranger = false;

  constructor(parts: FormationParts) {
    this.#parts = parts;
  }

  start(): void {
    if (this.#parts.identity().phase === "formed") this.#announce();
    this.#advance();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#storing = true;
  }

  hello(peer: PeerHello): void {
    const mine = this.#parts.members;
    const membersAgree =
      peer.members.length === mine.length && peer.members.every((id, at) => id === mine[at]);
    const agrees = membersAgree && peer.seed === this.#parts.identity().seed;
    this.#peers.set(peer.id, { phase: peer.phase, clusterId: peer.clusterId, agrees });
    this.#judge(peer, membersAgree);
    this.#advance();
  }

  form(from: NodeId, request: FormRequest): void {
    const identity = this.#parts.identity();
    const { clusterId, phase, members } = request;
    if (this.#storing) return;
    const own = identity.clusterId === clusterId;
    if (identity.phase === "formed") {
      if (own) this.#answer(from);
      return;
    }
    if (request.admission !== null) return this.#admitted(from, request, request.admission);
    if (identity.phase === "lost" || this.#knowsAnother) return;
    const agrees = this.#peers.get(from)?.agrees === true;
    const proposed = phase === "forming" && from === this.#parts.members[0] && agrees;
    const listed = members.length === this.#parts.members.length;
    if (proposed && listed && members.every((id, at) => id === this.#parts.members[at])) {
      this.#become({ ...identity, clusterId, phase: "forming", members }, () => this.#answer(from));
    } else if (phase === "formed" && own && identity.phase === "forming") {
      this.#become({ ...identity, phase: "formed" }, () => this.#answer(from));
    }
  }

  /** The cluster has made this node a member: it takes part, but votes only when it knows what it has to keep. */
  #admitted(from: NodeId, request: FormRequest, { incarnation, votesFrom }: Admittance): void {
    const identity = this.#parts.identity();
    const { clusterId, members } = request;
    const isOther = identity.clusterId !== "" && identity.clusterId !== clusterId;
    if (incarnation !== identity.incarnation || identity.phase === "forming" || isOther) return;
    // Its log begins behind a state that this cluster never had.
    if (identity.phase === "blank" && identity.seed !== "") return;
    this.#become({ ...identity, clusterId, phase: "formed", members, votesFrom }, () =>
      this.#answer(from),
    );
  }

  formResult(from: NodeId, answer: FormAnswer): void {
    const view = { phase: answer.phase, clusterId: answer.clusterId, agrees: true };
    this.#peers.set(from, view);
    this.#advance();
  }

  /** Says what stands in the way, in words that name the way out. */
  #judge(peer: PeerHello, membersAgree: boolean): void {
    const { clusterId, phase, seed } = this.#parts.identity();
    const told = `node ${peer.id} at ${peer.address}`;
    if (phase === "blank" && peer.phase === "formed" && seed !== "") {
      this.#parts.trouble(
        `this node's directory was prepared by balsa import, but ${told} belongs to the formed cluster ` +
          `${peer.clusterId}: a file can only begin a new cluster. To join this one, start with an empty directory`,
      );
    } else if (phase === "blank" && peer.phase === "formed") {
      this.#parts.trouble(
        `this node's directory is empty, and ${told} belongs to the formed cluster ${peer.clusterId}: waiting ` +
          "until its leader admits this node, by itself if the node was a member, else by balsa member add",
      );
    } else if (
      phase === "lost" &&
      peer.phase === "formed" &&
      ["", peer.clusterId].includes(clusterId)
    ) {
      this.#parts.trouble("this node's log was set aside: waiting until the leader admits it anew");
    } else if (phase === "formed" && peer.clusterId !== "" && peer.clusterId !== clusterId) {
      this.#meetStranger(
        `WRONG_CLUSTER: this directory belongs to cluster ${clusterId}, but ${told} to ${peer.clusterId}. ` +
          "Check --dir and --peers of both",
      );
    } else if (this.#mayForm && peer.phase !== "formed" && !membersAgree) {
      this.#parts.trouble(
        `${told} was started with --peers ${peer.members.join(",")}, this one with ` +
          `${this.#parts.members.join(",")}: a cluster forms only when all lists agree`,
      );
    } else if (this.#mayForm && peer.phase !== "formed" && peer.seed !== seed) {
      this.#parts.trouble(
        `${told} begins with ${describeSeed(peer.seed)}, this one with ${describeSeed(seed)}: a cluster forms only when ` +
          "all founders were prepared by balsa import from the same file, or none was",
      );
    }
  }

  /** Who has a leader is among its own, whoever else calls. */
  #meetStranger(text: string): void {
    if (this.#hasLeader) return this.#parts.logger.warn({}, text);
    this.#hasMetStranger = true;
    this.#parts.trouble(text);
  }

  /** Told when that changes: another cluster's nodes are no trouble to who has found its own. */
  leader(isKnown: boolean): void {
    this.#hasLeader = isKnown;
    if (!isKnown || !this.#hasMetStranger) return;
    this.#hasMetStranger = false;
    this.#parts.trouble("");
  }

  #advance(): void {
    if (this.#storing) return;
    const identity = this.#parts.identity();
    const others = this.#parts.members.filter((id) => id !== identity.nodeId);
    if (identity.phase === "formed") return this.#spread(others);
    const formedPeer = [...this.#peers.values()].some(
      (peer) => peer.phase === "formed" && peer.clusterId === identity.clusterId,
    );
    if (identity.phase === "forming" && formedPeer) {
      return this.#become({ ...identity, phase: "formed" }, () => {});
    }
    if (this.#mayForm && identity.nodeId === this.#parts.members[0]) {
      this.#propose(identity, others);
    }
  }

  get #mayForm(): boolean {
    const { phase } = this.#parts.identity();
    return phase === "blank" || phase === "forming";
  }

  /** Whoever has met a formed cluster that is not the own forms none beside it, whatever its list says. */
  get #knowsAnother(): boolean {
    const { clusterId } = this.#parts.identity();
    const views = [...this.#peers.values()];
    return views.some((peer) => peer.phase === "formed" && peer.clusterId !== clusterId);
  }

  /** As the proposer. */
  #propose(identity: Identity, others: readonly NodeId[]): void {
    if (this.#knowsAnother) return;
    const views = others.map((id) => this.#peers.get(id));
    const willing = (view: PeerView | undefined) =>
      view?.agrees === true && (view.phase === "blank" || view.phase === "forming");
    if (!views.every(willing)) return;
    if (identity.phase === "blank") {
      const clusterId = this.#mint();
      const { members } = this.#parts;
      return this.#become({ ...identity, clusterId, phase: "forming", members }, () => {});
    }
    const stored = (view: PeerView | undefined) =>
      view?.phase === "forming" && view.clusterId === identity.clusterId;
    if (views.every(stored)) return this.#become({ ...identity, phase: "formed" }, () => {});
    const behind = others.filter((_, at) => !stored(views[at]));
    this.#tell(behind, identity);
  }

  /** As a formed node: until every forming peer has heard of it. */
  #spread(others: readonly NodeId[]): void {
    const identity = this.#parts.identity();
    const behind = others.filter((id) => {
      const view = this.#peers.get(id);
      return view?.phase === "forming" && view.clusterId === identity.clusterId;
    });
    this.#tell(behind, identity);
  }

  /** Tells, and again until it is answered. */
  #tell(peers: readonly NodeId[], { clusterId, phase, members }: Identity): void {
    if (peers.length === 0 || phase === "blank" || phase === "lost") return;
    const request = { clusterId, phase, members, admission: null };
    for (const peer of peers) this.#parts.transport.sendForm(peer, request);
    this.#timer ??= this.#parts.environment.after(REPEAT_MS, () => {
      this.#timer = null;
      this.#advance();
    });
  }

  #become(identity: Identity, then: () => void): void {
    this.#storing = true;
    this.#parts.store(identity, () => {
      this.#storing = false;
      const { clusterId, phase } = identity;
      this.#parts.logger.info({ clusterId, phase }, "cluster formation");
      then();
      if (phase === "formed") this.#announce();
      this.#advance();
    });
  }

  #announce(): void {
    if (this.#announced) return;
    this.#announced = true;
    // What each was told when it connected is past: a leader would take this node for one that lost its disk.
    for (const peer of this.#peers.keys()) this.#answer(peer);
    this.#parts.trouble("");
    this.#parts.formed();
  }

  #answer(to: NodeId): void {
    const { clusterId, phase, votesFrom } = this.#parts.identity();
    this.#parts.transport.sendFormResult(to, { clusterId, phase, removedAt: 0, votesFrom });
  }

  #mint(): string {
    let id = "";
    while (id.length < 32) {
      id += Math.floor(this.#parts.environment.random() * 2 ** 32)
        .toString(16)
        .padStart(8, "0");
    }
    return id;
  }
}

function describeSeed(seed: string): string {
  return seed === "" ? "an empty database" : `the file of SHA-256 ${seed}`;
}
