/**
 * `balsa member`, `balsa transfer` and `balsa upgrade`: who belongs to a running cluster, and who leads it. Shows progress on
 * standard error while a new member catches up; the leader goes on with it also when this command is stopped.
 */

import { ClusterAdmin, type MemberStatus, type NodeStatus } from "../client/index.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import type { Output } from "./output.ts";
import { type Column, formatTable } from "./table.ts";

export interface AdminOptions {
  readonly endpoints: readonly string[];
  readonly deadlineMs: number;
}

export interface AddOptions extends AdminOptions {
  readonly id: number;
  readonly address: string;
  readonly learner?: boolean;
}

export interface MemberOptions extends AdminOptions {
  readonly id: number;
}

const POLL_MS = 200;

const COLUMNS: readonly Column[] = [
  { title: "ID", align: "right" },
  { title: "ADDRESS" },
  { title: "ROLE" },
  { title: "CONNECTED" },
  { title: "LOG", align: "right" },
  { title: "BEHIND", align: "right" },
];

export async function listMembers(
  options: AdminOptions & { readonly json?: boolean },
  output: Output,
): Promise<ExitCode> {
  return withAdmin(options, async (admin) => {
    const leader = await admin.leader();
    const { members, configurationIndex } = leader;
    if (options.json === true) {
      const facts = { configurationIndex, leader: leader.id, members };
      output.out(`${JSON.stringify(facts, null, 2)}\n`);
    } else {
      output.out(
        formatTable(
          COLUMNS,
          members.map((member) => rowOf(member, leader)),
        ),
      );
    }
    return EXIT.ok;
  });
}

function rowOf(member: MemberStatus, leader: NodeStatus): string[] {
  const { id, address, role, awaitsVote, connected, matchIndex } = member;
  const leads = id === leader.id ? `${role}, leader` : role;
  return [
    `${id}`,
    address === "" ? "?" : address,
    awaitsVote ? `${leads}, becomes voter` : leads,
    connected ? "yes" : "no",
    `${matchIndex}`,
    `${Math.max(0, leader.lastIndex - matchIndex)}`,
  ];
}

export async function addMember(options: AddOptions, output: Output): Promise<ExitCode> {
  const { id, address, learner = false } = options;
  return withAdmin(options, async (admin) => {
    output.err(`adding node ${id} at ${address} as a learner\n`);
    await admin.changeMembers({ steps: [{ kind: "add", id, address, learner }] });
    if (learner) {
      output.out(`node ${id} is a learner\n`);
      return EXIT.ok;
    }
    await untilVoter(admin, options, output);
    output.out(`node ${id} is a voter\n`);
    return EXIT.ok;
  });
}

/** The leader gives it the vote; this only waits and shows how far it is. */
async function untilVoter(
  admin: ClusterAdmin,
  { id, deadlineMs }: MemberOptions,
  output: Output,
): Promise<void> {
  let deadline = Date.now() + deadlineMs;
  let shown = "";
  let furthest = -1;
  for (;;) {
    const { members, lastIndex } = await admin.leader();
    const member = members.find((one) => one.id === id);
    if (member === undefined) {
      throw new CliError(EXIT.failed, `node ${id} was removed before it had caught up`);
    }
    if (member.role === "voter") return;
    if (member.matchIndex > furthest) deadline = Date.now() + deadlineMs;
    furthest = Math.max(furthest, member.matchIndex);
    const progress = member.connected
      ? `node ${id} has ${member.matchIndex} of ${lastIndex} log entries`
      : `node ${id} is not connected`;
    if (progress !== shown) output.err(`${progress}\n`);
    shown = progress;
    if (Date.now() >= deadline) {
      const message =
        `node ${id} has not caught up: no progress for ${deadlineMs} ms. It stays a learner and becomes a voter by ` +
        "itself when it has; see balsa member list, or take it back with balsa member remove";
      throw new CliError(EXIT.failed, message);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export async function promoteMember(options: MemberOptions, output: Output): Promise<ExitCode> {
  const { id } = options;
  return withAdmin(options, async (admin) => {
    await admin.changeMembers({ steps: [{ kind: "promote", id }] });
    output.out(`node ${id} is a voter\n`);
    return EXIT.ok;
  });
}

export async function removeMember(options: MemberOptions, output: Output): Promise<ExitCode> {
  const { id } = options;
  return withAdmin(options, async (admin) => {
    await admin.changeMembers({ steps: [{ kind: "remove", id }] });
    output.out(`node ${id} is no member any more; stop it, and keep or delete its directory\n`);
    return EXIT.ok;
  });
}

export async function transferLeadership(
  options: AdminOptions & { readonly to?: number },
  output: Output,
): Promise<ExitCode> {
  return withAdmin(options, async (admin) => {
    const leader = await admin.transferLeadership(options.to ?? 0);
    output.out(`node ${leader} leads\n`);
    return EXIT.ok;
  });
}

/** From here on only nodes of that machine version lead. */
export async function upgradeMachine(
  options: AdminOptions & { readonly to?: string; readonly majority?: boolean },
  output: Output,
): Promise<ExitCode> {
  const { to: version = "", majority = false } = options;
  return withAdmin(options, async (admin) => {
    const now = await admin.upgrade({ version, majority });
    const was = now.before === now.version ? "as before" : `before: ${now.before || "none"}`;
    output.out(`machine version ${now.version} (${was})\n`);
    return EXIT.ok;
  });
}

async function withAdmin<T>(
  options: AdminOptions,
  run: (admin: ClusterAdmin) => Promise<T>,
): Promise<T> {
  const admin = new ClusterAdmin(options);
  try {
    return await run(admin);
  } finally {
    admin.close();
  }
}
