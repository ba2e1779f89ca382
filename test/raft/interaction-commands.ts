/** The commands of interaction scripts, by name: etcd's, and `read-index`, `restart` and some options of our own. */

import type { Transition } from "../../src/raft/membership.ts";
import { InvariantViolation } from "../../src/sql/invariant.ts";
import {
  booleanOf,
  idOf,
  idsOf,
  Misuse,
  numberOf,
  option,
  pairOf,
} from "./interaction-arguments.ts";
import { parseSteps } from "./interaction-describe.ts";
import { InteractionEnv } from "./interaction-env.ts";
import { MESSAGE_TYPES } from "./interaction-parcel.ts";
import { propose, transferLeadership } from "./interaction-proposal.ts";
import {
  type Argument,
  type Command,
  type Directive,
  parseCommand,
  parseScript,
  ScriptError,
} from "./interaction-script.ts";
import { setupOf } from "./interaction-setup.ts";

type Run = (env: InteractionEnv, args: readonly Argument[]) => void;

function eachUnderTitle(
  env: InteractionEnv,
  args: readonly Argument[],
  doing: string,
  run: (id: number) => void,
): void {
  const ids = idsOf(args);
  for (const id of ids) {
    if (ids.length === 1) run(id);
    else {
      env.output.write(`> ${id} ${doing}\n`);
      env.output.indented(() => run(id));
    }
  }
}

function deliverMessages(env: InteractionEnv, args: readonly Argument[]): void {
  const type = option(args, "type").at(-1) ?? null;
  if (type !== null && !MESSAGE_TYPES.includes(type)) throw new Misuse(`no message type ${type}`);
  const delivered = idsOf(args);
  const dropped = args.flatMap(({ key, values }) => (key === "drop" ? values.map(numberOf) : []));
  const both = dropped.find((id) => delivered.includes(id));
  if (both !== undefined) throw new Misuse(`can't both deliver and drop msgs to ${both}`);
  let count = 0;
  for (const { key, values } of args) {
    if (values.length === 0) count += env.deliver(numberOf(key), type, "deliver");
    if (key === "drop") {
      for (const value of values) count += env.deliver(numberOf(value), type, "drop");
    }
  }
  if (count === 0) env.output.write("no messages\n");
}

function tick(env: InteractionEnv, id: number, count: number): void {
  for (let i = 0; i < count; i++) env.act(id, ({ raft }) => raft.step({ kind: "tick" }));
}

function campaign(env: InteractionEnv, id: number): void {
  const before = env.node(id).raft.status();
  env.act(id, ({ raft }) => raft.step({ kind: "campaign" }));
  const { role } = env.node(id).raft.status();
  if (role === "leader" && before.role === "leader") {
    env.output.log("DEBUG", `${id} ignoring MsgHup because already leader`);
  } else if (role === "follower" && before.role === "follower") {
    env.output.log("WARN", `${id} is unpromotable and can not campaign`);
  }
}

function forgetLeader(env: InteractionEnv, id: number): void {
  const { raft, setup } = env.node(id);
  const { role, leader, currentTerm } = raft.status();
  if (role === "follower" && setup.hasLease) {
    env.output.log("ERROR", "ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
    return;
  }
  env.act(id, () => raft.step({ kind: "forgetLeader" }));
  if (raft.status().leader === leader) return;
  if (role === "follower") {
    env.output.log("INFO", `${id} forgetting leader ${leader} at term ${currentTerm}`);
  }
}

function stabilize(env: InteractionEnv, args: readonly Argument[]): void {
  const before = env.output.level;
  for (const level of option(args, "log-level")) env.output.setLevel(level);
  const ids = idsOf(args);
  env.stabilize(ids.length > 0 ? ids : env.nodes.map(({ id }) => id));
  env.output.setLevel(before);
}

function proposeCommand(env: InteractionEnv, args: readonly Argument[]): void {
  const [id, text] = args;
  if (args.length !== 2 || id === undefined || text === undefined || text.values.length > 0) {
    throw new Misuse("propose takes a node and one word");
  }
  propose(env, numberOf(id.key), { kind: "command", text: text.key });
}

const COMMANDS: { readonly [name: string]: Run } = {
  _breakpoint: () => {},
  "add-nodes": (env, args) => {
    const count = idOf(args);
    env.addNodes(
      count,
      setupOf(args.slice(1), (text) => env.notes.push(text)),
    );
  },
  campaign: (env, args) => campaign(env, idOf(args)),
  propose: proposeCommand,
  "deliver-msgs": deliverMessages,
  "process-ready": (env, args) =>
    eachUnderTitle(env, args, "handling Ready", (id) => env.processReady(id)),
  "process-append-thread": (env, args) =>
    eachUnderTitle(env, args, "processing append thread", (id) => env.processAppendThread(id)),
  "process-apply-thread": (env, args) =>
    eachUnderTitle(env, args, "processing apply thread", (id) => env.processApplyThread(id)),
  stabilize,
  "tick-election": (env, args) => {
    const id = idOf(args);
    tick(env, id, env.node(id).electionTicks);
  },
  "tick-heartbeat": (env, args) => {
    const id = idOf(args);
    tick(env, id, env.node(id).heartbeatTicks);
  },
  tick: (env, args) => {
    const [id, count] = pairOf(args, "tick takes a node and a number of ticks");
    tick(env, id, count);
  },
  "set-randomized-election-timeout": (env, args) =>
    env.node(idOf(args)).raft.setElectionTimeout(numberOf(option(args, "timeout")[0])),
  compact: (env, args) => {
    env.node(idOf(args)).log.compact(numberOf(args[1]?.key));
    env.raftLog(idOf(args));
  },
  "forget-leader": (env, args) => forgetLeader(env, idOf(args)),
  "report-unreachable": (env, args) => {
    const [id, peer] = pairOf(args, "report-unreachable takes a node and whom it cannot reach");
    env.node(peer);
    env.act(id, ({ raft }) => raft.step({ kind: "unreachable", peer }));
  },
  "transfer-leadership": (env, args) => {
    const to = env.node(numberOf(option(args, "to")[0])).id;
    transferLeadership(env, numberOf(option(args, "from")[0]), to);
  },
  "send-snapshot": (env, args) =>
    env.sendSnapshot(...pairOf(args, "send-snapshot takes two nodes: from, to")),
  "raft-log": (env, args) => env.raftLog(idOf(args)),
  "raft-state": (env) => env.raftState(),
  status: (env, args) => env.status(idOf(args)),
  "log-level": (env, args) => env.output.setLevel(args[0]?.key ?? ""),
  "read-index": (env, args) => {
    const context = numberOf(args[1]?.key);
    env.act(idOf(args), ({ raft }) => env.output.write(`${raft.readIndex(context)}\n`));
  },
  restart: (env, args) => env.node(idOf(args)).restart(),
};

function proposeChange(env: InteractionEnv, { command, input }: Directive): void {
  const [id, ...args] = command.args;
  let transition: Transition = "auto";
  let isV1 = false;
  for (const { key, values } of args) {
    const value = values[0];
    if (key === "v1") isV1 = booleanOf(value);
    else if (key !== "transition") throw new Error(`unknown command ${key}`);
    else if (isTransition(value)) transition = value;
    else throw new Error(`unknown transition ${value}`);
  }
  const steps = parseSteps(input.join(" "));
  if (isV1 && (steps.length !== 1 || transition !== "auto")) {
    throw new Error("v1 conf change can only have one operation and no transition");
  }
  propose(env, numberOf(id?.key), { kind: "change", change: { transition, steps }, isV1 });
}

function isTransition(text: string | undefined): text is Transition {
  return text === "auto" || text === "implicit" || text === "explicit";
}

/** Null if all went well, else what to print: errors of nodes and storage are part of the transcript. */
function errorOf(line: number, run: () => void): string | null {
  try {
    run();
    return null;
  } catch (error) {
    if (error instanceof InvariantViolation) {
      throw new ScriptError(line, `a node halted: ${error.message}`, { cause: error });
    }
    if (error instanceof Misuse) throw new ScriptError(line, error.message);
    if (!(error instanceof Error)) throw error;
    return error.message;
  }
}

function runCommand(env: InteractionEnv, { name, args }: Command): void {
  const run = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (run === undefined) {
    env.notes.push(`unknown command: ${name}`);
    throw new Error("unknown command");
  }
  run(env, args);
}

/** What one directive prints. */
export function runDirective(env: InteractionEnv, directive: Directive): string {
  const { line, command, input } = directive;
  const isChange = command.name === "propose-conf-change";
  const first = errorOf(line, () => {
    if (isChange) proposeChange(env, directive);
    else runCommand(env, command);
  });
  let error = first;
  // More commands may stand between the first one and the line; an error in the first ends them all.
  for (const [at, each] of (isChange ? [] : input).entries()) {
    if (error !== null && (first !== null || env.output.isQuiet)) break;
    if (error !== null) env.output.write(`${error}\n`);
    error = errorOf(line + 1 + at, () => runCommand(env, parseCommand(each)));
  }
  const text = [env.output.take(), error ?? ""].filter((part) => part !== "").join("\n");
  return text === "" ? "ok" : text;
}

/** A directive that was run. */
export interface Outcome {
  readonly directive: Directive;
  readonly output: string;
}

export interface ScriptRun {
  /** The script again, with what it printed now; up to the error if there was one. */
  readonly transcript: string;
  readonly outcomes: readonly Outcome[];
  readonly errors: readonly ScriptError[];
}

/** Never throws for what a script says. */
export function runScript(script: string): ScriptRun {
  const env = new InteractionEnv();
  const outcomes: Outcome[] = [];
  const errors: ScriptError[] = [];
  let transcript = "";
  try {
    for (const part of parseScript(script)) {
      transcript += part.text;
      if (part.kind === "text") continue;
      const { directive } = part;
      const output = runDirective(env, directive);
      outcomes.push({ directive, output });
      transcript += `${output}\n`;
      for (const note of env.notes.splice(0)) errors.push(new ScriptError(directive.line, note));
    }
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    errors.push(error);
  }
  return { transcript, outcomes, errors };
}
