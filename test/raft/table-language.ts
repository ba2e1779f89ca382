/**
 * Tables of membership changes and of quorums, in the language of etcd's raft (`confchange/testdata`, `quorum/testdata`).
 * Each file begins with nobody. `simple`, `enter-joint autoleave=BOOL` and `leave-joint` take steps as `v1 l2 r3 u4`;
 * `committed` and `vote` take `cfg=(…)`, `cfgj=(…)` or `cfgj=zero`, and one `idx=` or `votes=` for each voter.
 */

import { type Configuration, votersOnly } from "../../src/raft/entry.ts";
import { Leadership } from "../../src/raft/leadership.ts";
import {
  type ChangeResult,
  changeConfiguration,
  changeSimply,
  isJoint,
  LEAVE_JOINT,
} from "../../src/raft/membership.ts";
import { quorumTally, quorumValue, type Tally, voterIds } from "../../src/raft/quorum.ts";
import { DEFAULT_RAFT_OPTIONS } from "../../src/raft/raft.ts";
import { describeConfiguration, describeProgress, parseSteps } from "./interaction-describe.ts";
import { type Argument, type Directive, parseScript } from "./interaction-script.ts";

const UNKNOWN = "_";
const TALLIES: Record<Tally, string> = { won: "VoteWon", lost: "VoteLost", pending: "VotePending" };

/** The members, and what a leader would know of them: each command is one entry of its log. */
class Members {
  #configuration = votersOnly([]);
  #lastIndex = 0;
  readonly #leadership = new Leadership(
    { ...DEFAULT_RAFT_OPTIONS, id: 1, random: () => 0 },
    { index: 1, term: 1 },
  );

  run({ command, input }: Directive): string {
    const result = this.#change(command.name, command.args, input.join(" "));
    const nextIndex = Math.max(this.#lastIndex++, 1);
    if (result.kind === "invalid") return result.reason;
    this.#configuration = result.configuration;
    this.#leadership.follow(result.configuration, { nextIndex, isActive: true });
    const peers = this.#leadership.peers.map((peer) => describeProgress(peer.view()));
    return `${describeConfiguration(result.configuration)}\n${peers.join("")}`.trimEnd();
  }

  #change(name: string, args: readonly Argument[], text: string): ChangeResult {
    const steps = parseSteps(text);
    const configuration = this.#configuration;
    if (name === "leave-joint") return changeConfiguration(configuration, LEAVE_JOINT);
    if (name === "enter-joint") {
      const isAuto = args.some(({ key, values }) => key === "autoleave" && values[0] === "true");
      const transition = isAuto ? "implicit" : "explicit";
      return changeConfiguration(configuration, { transition, steps });
    }
    if (name !== "simple") throw new Error(`unknown command ${name}`);
    if (isJoint(configuration)) return { kind: "invalid", reason: "the configuration is joint" };
    return changeSimply(configuration, { transition: "auto", steps });
  }
}

function valuesOf(args: readonly Argument[], key: string): readonly string[] {
  return args.find((arg) => arg.key === key)?.values ?? [];
}

function quorum({ command }: Directive): string {
  const { name, args } = command;
  const outgoing = valuesOf(args, "cfgj").filter((value) => value !== "zero");
  const configuration: Configuration = {
    ...votersOnly(valuesOf(args, "cfg").map(Number)),
    outgoing: outgoing.map(Number),
  };
  const { voters } = configuration;
  // In the order in which the voters are named, each once.
  const ids = [...new Set([...voters, ...configuration.outgoing])];
  const told = valuesOf(args, name === "vote" ? "votes" : "idx");
  if (told.length !== ids.length) throw new Error(`${told.length} values for ${ids.length} voters`);
  const known = new Map<number, string>();
  for (const [at, id] of ids.entries()) known.set(id, told[at] ?? UNKNOWN);
  const swapped = { ...configuration, voters: configuration.outgoing, outgoing: voters };
  const both = [configuration, swapped].map((each) =>
    name === "vote" ? vote(each, known) : committed(each, known),
  );
  if (both[0] !== both[1]) throw new Error(`the halves are not equal: ${both.join(", ")}`);
  return both[0] ?? "";
}

function vote(configuration: Configuration, known: ReadonlyMap<number, string>): string {
  const votes = new Map<number, boolean>();
  for (const [id, value] of known) if (value !== UNKNOWN) votes.set(id, value === "y");
  return TALLIES[quorumTally(configuration, votes)];
}

function committed(configuration: Configuration, known: ReadonlyMap<number, string>): string {
  const reached = new Map<number, number>();
  for (const [id, value] of known) if (value !== UNKNOWN) reached.set(id, Number(value));
  const index = quorumValue(configuration, (id) => reached.get(id) ?? 0);
  return chart(configuration, reached) + (index === Number.POSITIVE_INFINITY ? "∞" : `${index}`);
}

/** A line for each voter: as many x as voters have reached less. */
function chart(configuration: Configuration, reached: ReadonlyMap<number, number>): string {
  const ids = voterIds(configuration);
  if (ids.length === 0) return "<empty majority quorum>";
  const width = ids.length;
  const values = ids.map((id) => reached.get(id) ?? 0);
  const lines = ids.map((id, at) => {
    const value = values[at] ?? 0;
    const less = values.filter((other) => other < value).length;
    const bar = reached.has(id) ? `${"x".repeat(less)}>`.padEnd(width + 1) : "?".padEnd(width + 1);
    return `${bar} ${String(value).padStart(5)}    (id=${id})\n`;
  });
  return `${" ".repeat(width + 4)}idx\n${lines.join("")}`;
}

/** The table again, with what came out now. */
export function runTable(table: string): string {
  const members = new Members();
  let text = "";
  for (const part of parseScript(table)) {
    text += part.text;
    if (part.kind === "text") continue;
    const isQuorum = part.directive.command.name in { committed: 0, vote: 0 };
    text += `${isQuorum ? quorum(part.directive) : members.run(part.directive)}\n`;
  }
  return text;
}
