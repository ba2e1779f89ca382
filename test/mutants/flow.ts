/** Mutants of what bounds a leader and its followers: traps D7, D8, D12 and D13, and limits (P10). */

import { edit, type Mutant, script, test } from "./mutant.ts";

const trap = (name: string) => test("raft/traps-replication", name);
const transfer = (name: string) => test("raft/transfer-and-snapshots", name);

const RAFT = "src/raft/raft.ts";
const CORE = "src/raft/core.ts";
const LEADER = "src/raft/leader.ts";
const FOLLOWER = "src/raft/follower.ts";
const PROGRESS = "src/raft/progress.ts";
const REPLICATION = "src/raft/replication.ts";
const DRAINS = "drains before a handover: what was executed commits, what waits goes on waiting";

const FLOW: readonly Mutant[] = [
  {
    name: "late-refusal-believed",
    guards: ["D7"],
    removes: "a refusal of what was acknowledged since sends a follower back",
    edits: [edit(PROGRESS, ["      if (rejected <= this.matchIndex) return false;", ""], "")],
    killedBy: [trap("a rejection of what was overtaken is ignored")],
  },
  {
    name: "late-probe-believed",
    guards: ["D7"],
    removes: "a probe is moved by the answer to an earlier one",
    edits: [edit(PROGRESS, ["    if (this.nextIndex - 1 !== rejected) return false;", ""], "")],
    killedBy: [trap("a probe is not moved by the answer to an earlier one")],
  },
  {
    name: "full-window-for-ever",
    guards: ["D7"],
    removes: "a window whose messages were all lost never opens again",
    edits: [edit(LEADER, ["  peer.resume();", ""], "")],
    killedBy: [
      trap("a full window lets an empty append through after a heartbeat was answered"),
      script("inflight-window"),
    ],
  },
  {
    name: "caught-up-probe-waits",
    guards: ["D7"],
    removes: "a probe that has everything gets nothing to answer",
    edits: [
      edit(
        LEADER,
        'if (peer.matchIndex < core.log.lastIndex || peer.state === "probe") peer.wish = "always";',
        'if (peer.matchIndex < core.log.lastIndex) peer.wish = "always";',
      ),
    ],
    killedBy: [trap("a probe that is caught up gets an empty append and replicates again")],
  },
  {
    name: "probe-floods",
    guards: ["D7"],
    removes: "a probe sends on without an answer",
    edits: [edit(PROGRESS, ["      if (count > 0) this.#flowPaused = true;", ""], "")],
    killedBy: [trap("a probe has one append under way until it is answered")],
  },
  {
    name: "window-without-messages",
    guards: ["D7", "P10"],
    removes: "any number of messages is under way to a follower",
    edits: [
      edit(
        "src/raft/inflights.ts",
        "return this.count >= this.#maxMessages || this.#bytes >= this.#maxBytes;",
        "return this.count >= this.#maxMessages + 1e9 || this.#bytes >= this.#maxBytes;",
      ),
    ],
    killedBy: [
      trap("a full window lets an empty append through after a heartbeat was answered"),
      script("inflight-window"),
    ],
  },
  {
    name: "window-without-bytes",
    guards: ["D7", "P10"],
    removes: "any number of bytes is under way to a follower",
    edits: [
      edit(
        "src/raft/inflights.ts",
        "|| this.#bytes >= this.#maxBytes;",
        "|| this.#bytes >= this.#maxBytes + 1e12;",
      ),
    ],
    killedBy: [trap("the window is measured in bytes, too")],
  },
  {
    name: "message-without-bound",
    guards: ["D7", "P10"],
    removes: "one message carries the whole log",
    edits: [
      edit(
        REPLICATION,
        "log.slice(peer.nextIndex, log.lastIndex, options.maxMessageBytes);",
        "log.slice(peer.nextIndex, log.lastIndex, options.maxMessageBytes + 1e12);",
      ),
    ],
    killedBy: [trap("a long log goes in messages of bounded size, as many as the window takes")],
  },
  {
    name: "lost-appends-built-on",
    guards: ["D7"],
    removes: "a peer to which messages are lost is sent only what comes next",
    edits: [edit(LEADER, ['  if (peer?.state === "replicate") peer.becomeProbe();', ""], "")],
    killedBy: [trap("a probe that is caught up gets an empty append and replicates again")],
  },
  {
    name: "an-answer-each",
    guards: ["D8"],
    removes: "each append of a turn is acknowledged by itself",
    edits: [
      edit(
        CORE,
        ["      previous.to === message.to &&", ""],
        ["      previous.to === message.to + 1 &&", ""],
      ),
    ],
    killedBy: [
      trap("many appends in one turn become one write and one acknowledgement of the last"),
    ],
  },
  {
    name: "acknowledged-to-the-old-leader",
    guards: ["D8", "D11"],
    removes: "an acknowledgement leaves although its entry was replaced before it was stored",
    edits: [
      edit(
        CORE,
        "if (this.options.eager !== true && this.thenSend.length > 0) {",
        "if (this.options.eager !== true && this.thenSend.length > 1e9) {",
      ),
    ],
    killedBy: [
      trap(
        "an entry acknowledged to an old leader, but replaced before it was stored, is not attested",
      ),
    ],
  },
  {
    name: "one-write-an-append",
    guards: ["D8"],
    removes: "the log writes what waits one by one",
    edits: [
      edit(
        "src/log/batch-writer.ts",
        "if (batch !== null && batch.records > 0 && batch.length + bytes > capacity) {",
        "if (batch !== null && batch.records > 0 && batch.length + bytes > 0 * capacity) {",
      ),
    ],
    killedBy: [test("log/log", "takes one write for all that waits while another is under way")],
  },
];

const BOUNDS: readonly Mutant[] = [
  {
    name: "proposals-during-transfer",
    guards: ["D12"],
    removes: "a leader that hands over takes proposals",
    edits: [
      edit(
        REPLICATION,
        [
          '  if (leadership.transferee !== NOBODY) return { kind: "refused", reason: "transferring" };',
          "",
        ],
        "",
      ),
    ],
    killedBy: [
      transfer("to who lags waits until it has everything, and proposals are refused meanwhile"),
      script("transfer"),
    ],
  },
  {
    name: "transfer-without-end",
    guards: ["D12"],
    removes: "a transfer whose target does not take over is never given up",
    edits: [
      edit(
        RAFT,
        "      if (leadership.transferee !== NOBODY) {",
        "      if (leadership.transferee < NOBODY) {",
      ),
    ],
    killedBy: [transfer("D12: is given up after an election timeout")],
  },
  {
    name: "transfer-not-called-off",
    guards: ["D12"],
    removes: "a transfer to the leader itself leaves the one under way as it is",
    edits: [
      edit(
        "src/raft/transfer.ts",
        ["  abortTransfer(leadership);", "  if (to === core.id) return;", ""],
        ["  if (to === core.id) return;", ""],
      ),
    ],
    killedBy: [transfer("to itself calls off the one under way, and what waited for it goes on")],
  },
  {
    name: "transfer-to-a-laggard",
    guards: ["D12"],
    removes: "the target is told to take over before it has everything",
    edits: [
      edit(
        "src/raft/transfer.ts",
        "if (peer.matchIndex === core.log.lastIndex) sendTimeoutNow(core, to);",
        "if (peer.matchIndex >= 0) sendTimeoutNow(core, to);",
      ),
    ],
    killedBy: [
      transfer("to who lags waits until it has everything, and proposals are refused meanwhile"),
    ],
  },
  {
    name: "handover-without-draining",
    guards: ["D12"],
    removes: "a node that stops hands over while writes are under way",
    edits: [
      edit(
        "src/node/handover.ts",
        "    this.#parts.drain(() => {",
        "    ((then: () => void) => then())(() => {",
      ),
    ],
    killedBy: [test("node/handover", "D12: drains before it tells the best follower to take over")],
  },
  {
    name: "handover-drops-what-waits",
    guards: ["D12"],
    removes: "what waits during a handover is refused before anybody knows who leads",
    edits: [
      edit(
        "src/node/writer-driver.ts",
        "...(keepsWaiting ? [] : this.#waiting.drain())",
        "...this.#waiting.drain()",
      ),
    ],
    killedBy: [test("node/writer-driver", DRAINS)],
  },
  {
    name: "handover-keeps-what-waits",
    guards: ["D12"],
    removes: "what waited during a handover waits for ever",
    edits: [
      edit(
        "src/node/handover.ts",
        ['    if (this.#parts.status().role !== "leader") this.#parts.refuse();', ""],
        "",
      ),
    ],
    killedBy: [
      test("node/handover", "what waits is refused in time, though nobody is known to lead"),
    ],
  },
  {
    name: "reads-without-bound",
    guards: ["D13", "P10"],
    removes: "any number of reads waits on a leader",
    edits: [
      edit(LEADER, ['  if (leadership.reads.isFull) return "refused";', ""], ""),
      edit(
        "src/raft/read-index.ts",
        ['    invariant(!this.isFull, "reads beyond the limit are refused before");', ""],
        "",
      ),
    ],
    killedBy: [
      test(
        "raft/traps-reads",
        "D13: reads beyond the limit are refused, on a leader and on a follower",
      ),
    ],
  },
  {
    name: "questions-without-bound",
    guards: ["D13", "P10"],
    removes: "any number of reads waits on a follower",
    edits: [
      edit(
        FOLLOWER,
        "if (leader === NOBODY || forwarded.isFull) return",
        "if (leader === NOBODY) return",
      ),
    ],
    killedBy: [
      test(
        "raft/traps-reads",
        "D13: reads beyond the limit are refused, on a leader and on a follower",
      ),
    ],
  },
  {
    name: "uncommitted-without-bound",
    guards: ["D13", "P10"],
    removes: "a leader without a majority takes proposals until memory ends",
    edits: [
      edit(
        REPLICATION,
        "if (uncommitted.total > 0 && bytes > 0 && tooMuch) {",
        "if (uncommitted.total > 1e15 && bytes > 0 && tooMuch) {",
      ),
    ],
    killedBy: [trap("D13: proposals beyond the uncommitted bytes are refused, but never all")],
  },
  {
    name: "applying-without-bound",
    guards: ["D13", "P10"],
    removes: "everything committed is handed to a slow machine at once",
    edits: [
      edit(
        RAFT,
        "const room = options.maxApplyBytes - this.#applyingBytes;",
        "const room = options.maxApplyBytes - this.#applyingBytes + 1e15;",
      ),
    ],
    killedBy: [trap("what is offered and not yet applied is bounded")],
  },
  {
    name: "writes-without-bound",
    guards: ["P10", "D13"],
    removes: "a node takes any number of writes",
    edits: [
      edit(
        "src/node/admission.ts",
        ["    if (count > this.#limits[limit]) return this.#overloaded[limit];", ""],
        "",
      ),
    ],
    killedBy: [test("node/admission", "one write more than the limit is refused")],
  },
];

export const FLOW_AND_BOUNDS: readonly Mutant[] = [...FLOW, ...BOUNDS];
